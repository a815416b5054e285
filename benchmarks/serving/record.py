"""Keeps the file of results, which is written after each part so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.kept import read_kept, stamped
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.machine import code, machine
from proofcompute.encoding.files import write_atomic

__all__ = ["FILE", "PARTS", "SCHEMA", "Record", "conditions"]

SCHEMA: Final = 1
FILE: Final = "serving.json"
PARTS: Final = (
    "engine",
    "receipts",
    "loops",
    "bursts",
    "prefixes",
    "delay",
    "opening",
    "whole",
    "client",
    "flood",
    "soak",
)
"""Names of the parts, in the order of measurement."""
HERE: Final = Path(__file__).parent


def conditions(kernels: Kernels, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same for a part to be kept: machine, settings, and a digest of the code."""
    sources = ((p.name, p) for p in HERE.glob("*.py") if p.name not in ("page.py", "tables.py"))
    return {"machine": asdict(machine(kernels)), "settings": settings, "code": code(sources)}


class Record:
    """The parts measured so far, in one file.

    Raises InputError if what stands at ``path`` is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, dict[str, Any]] = {}
        kept = read_kept(path, SCHEMA, "parts")
        if kept is not None:
            self.parts = dict(kept)

    def has(self, part: str, under: dict[str, Any]) -> bool:
        """Return whether a part was measured under these conditions, with no system that failed."""
        kept = self.parts.get(part)
        return (
            kept is not None
            and all(row.get("status") != "failed" for row in kept["rows"])
            and all(kept[name] == value for name, value in under.items())
        )

    def put(
        self, part: str, rows: Sequence[dict[str, Any]], under: dict[str, Any], load: float, note: str
    ) -> None:
        """Add a part, or replace its earlier measurement, and write the file."""
        self.parts[part] = stamped(rows, under, load, note)
        results = {
            "schema": SCHEMA,
            "command": "python -m benchmarks.serving -o DIR",
            "parts": {name: self.parts[name] for name in PARTS if name in self.parts},
        }
        write_atomic(self.path, f"{json.dumps(results, indent=1)}\n".encode())
