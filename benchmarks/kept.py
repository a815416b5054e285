"""Keeps results that are measured in parts: reads a file of them, and stamps what was measured now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proofcompute.bench.results import rounded
from proofcompute.errors import InputError

__all__ = ["read_kept", "stamped"]


def read_kept(path: Path, schema: int, field: str) -> Any:
    """Return a field of the results in a file; None if there is no file.

    Raises InputError if the file holds something else, or results of another version.
    """
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        version, kept = found["schema"], found.get(field)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} holds no results; choose another directory") from None
    if version != schema:
        raise InputError(f"{path} is of version {version}, not {schema}; choose another directory")
    return kept


def stamped(
    rows: Sequence[dict[str, Any]], under: Mapping[str, Any], load: float, note: str
) -> dict[str, Any]:
    """Return rows with the time, the load of the machine, a note, and the conditions they hold under."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "note": note,
        "load": round(load, 2),
        **under,
        "rows": rounded(list(rows)),
    }
