"""Keeps the file of results, which is written after each case so that an interrupted run can continue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.kept import read_kept, stamped
from benchmarks.peers.cases import CASES, SYSTEMS, Case
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.machine import code, machine
from proofcompute.encoding.files import write_atomic

__all__ = ["Record", "conditions"]

SCHEMA = 3
HERE = Path(__file__).parent


def conditions(case: Case, kernels: Kernels) -> dict[str, Any]:
    """The conditions of a case: machine, versions, and a digest of the code that runs."""
    needs = [package for part in case.parts for package in SYSTEMS[part].needs.values()]
    packages = {package: _version(package) for package in needs}
    return {"machine": asdict(machine(kernels)), "packages": packages, "code": _code()}


class Record:
    """The cases measured so far, in one file.

    Raises InputError if what stands at ``path`` is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cases: dict[str, dict[str, Any]] = {}
        kept = read_kept(path, SCHEMA, "cases")
        if kept is not None:
            self.cases = {x["case"]: x for x in kept}

    def has(self, case: Case, under: dict[str, Any]) -> bool:
        """Return whether a whole case was measured under these conditions."""
        kept = self.cases.get(case.name)
        return (
            kept is not None
            and all(row["status"] == "measured" for row in kept["rows"])
            and all(kept[name] == value for name, value in under.items())
        )

    def put(
        self, case: Case, rows: Sequence[dict[str, Any]], under: dict[str, Any], load: float, note: str
    ) -> None:
        """Add a case, or replace its earlier measurement, and write the file."""
        self.cases[case.name] = {
            "case": case.name,
            "table": case.table,
            **stamped(rows, under, load, note),
        }
        results = {
            "schema": SCHEMA,
            "command": "python -m benchmarks.peers -o DIR",
            "cases": sorted(self.cases.values(), key=lambda c: _place(c["case"])),
        }
        write_atomic(self.path, f"{json.dumps(results, indent=1)}\n".encode())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _code() -> str:
    """Return a digest of the sources that are measured and of those that measure."""
    here = (*HERE.glob("*case.py"), HERE / "networks.py")
    return code((p.relative_to(HERE.parent).as_posix(), p) for p in here)


def _place(name: str) -> int:
    """Return the place of a case; cases that others registered come last."""
    names = [c.name for c in CASES]
    return names.index(name) if name in names else len(names)
