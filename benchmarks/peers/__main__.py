"""Measure other systems beside ours: `python -m benchmarks.peers -o DIR`, with the extra `peers` installed.

A system that is not installed, fails or takes too long is reported as such, with the reason. Results are
written after each case. Started again, the command keeps the cases that were measured on this machine with
the same versions and code, and measures the others. A case holds the other system and ours, and is measured
as a whole, so that its ratios belong to one run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.cases import CASES, NEEDS, SYSTEMS, Case
from benchmarks.peers.record import Record, conditions
from proofcompute.bench.machine import load
from proofcompute.devices import kernels_for
from proofcompute.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def measured(part: str, name: str, limit: float) -> list[dict[str, Any]]:
    """The rows of one part of a case: figures with status "measured", or another status and the reason."""

    def none(status: str, reason: str) -> list[dict[str, Any]]:
        return [{"system": part, "status": status, "reason": reason}]

    missing = [m for m in NEEDS[part] if importlib.util.find_spec(m) is None]
    if missing:
        return none("missing", f"not installed: {', '.join(missing)} (pip install 'proofcompute[peers]')")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.peers.case", part, name, str(result)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return none("too long", f"not finished after {limit:.0f} s")
        if done.returncode or not result.is_file():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            return none("failed", lines[-1][:300] if lines else f"exit status {done.returncode}")
        return [{**row, "status": "measured"} for row in json.loads(result.read_text())]


def _asked(case: Case, only: Sequence[str] | None) -> bool:
    return not only or bool({case.name, *case.parts} & set(only))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for peers.json")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*SYSTEMS, *(c.name for c in CASES)],
        help="a system, or one case; may be repeated; all other results stay as they are",
    )
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one measurement")
    parser.add_argument("--note", default="", help="a remark about the machine, kept in the results")
    options = parser.parse_args(argv)
    if not options.output.parent.is_dir() or options.output.is_file():
        parser.error(f"{options.output} cannot be made a directory")
    options.output.mkdir(exist_ok=True)
    try:
        record = Record(options.output / "peers.json")
    except InputError as e:
        parser.error(str(e))
    kernels = kernels_for("auto")
    for case in CASES:
        if not _asked(case, options.only):
            continue
        under = conditions(case, kernels)
        if record.has(case, under) and not options.again:
            print(f"{case.name}: measured already, kept (--again measures it anew)", flush=True)
            continue
        before, rows = load(), []
        for part in case.parts:
            print(f"{case.name}: {part} ...", flush=True)
            rows += measured(part, case.name, options.limit)
            print(f"  {rows[-1]['status']} {rows[-1].get('reason', '')}", flush=True)
        record.put(case, rows, under, max(before, load()), options.note)
    print(f"wrote {record.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
