"""Writes the tables of ``docs/gpu-cost.md`` again: ``python -m benchmarks.cost``."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.cost.document import TABLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "gpu-cost.md"


def renewed(text: str) -> str:
    """Return the document with the tables that the model gives now."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- table {name} -->\n)(?:\|[^\n]*\n)*(<!-- end -->)")
        made = table()
        text, found = place.subn(rf"\g<1>{made}\n\g<2>", text)
        if found != 1:
            raise SystemExit(f"{DOCUMENT} has {found} places for the table {name}")
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
