"""Measure other systems beside ours: `python -m benchmarks.peers -o DIR`, with the extra `peers` installed.

A system that is not installed, fails or takes too long is reported as such, with the reason. Results are
written after each case. Started again, the command keeps the cases that were measured on this machine with
the same versions and code, and measures the others. A case holds the other system and ours, and is measured
as a whole, so that its ratios belong to one run. docs/peers.md says how to add a system.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import UNUSABLE, directory, entry, say, warn
from benchmarks.peers.cases import CASES, SYSTEMS, Case
from benchmarks.peers.record import Record, conditions
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.busy import Watch, load
from proofcompute.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def measured(part: str, name: str, limit: float) -> list[dict[str, Any]]:
    """Return the rows of one part of a case: figures with status "measured", or another and the reason."""

    def none(status: str, reason: str) -> list[dict[str, Any]]:
        return [{"system": part, "status": status, "reason": reason}]

    system = SYSTEMS[part]
    missing = [m for m in system.needs if importlib.util.find_spec(m) is None]
    if missing:
        packages = " ".join(system.needs[m] for m in missing)
        return none("missing", f"not installed: {', '.join(missing)} (pip install {packages})")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.peers.case", system.module, name, str(result)]
        # the new process imports the caller's own systems from where this one found them
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return none("too long", f"not finished after {limit:.0f} s")
        if done.returncode or not result.is_file():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            return none("failed", lines[-1][:300] if lines else f"exit status {done.returncode}")
        return [{**row, "status": "measured"} for row in json.loads(result.read_text())]


def _added(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Import the modules that register systems of the caller's own, before the other options are read."""
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that registers a system of yours",
    )
    for module in parser.parse_known_args([a for a in argv if a not in ("-h", "--help")])[0].add:
        sys.path[:0] = [os.getcwd()] * (os.getcwd() not in sys.path)
        try:
            importlib.import_module(module)
        except (ImportError, ValueError) as e:
            parser.exit(UNUSABLE, f"{parser.prog}: error: --add {module}: {e}\n")


def _asked(case: Case, only: Sequence[str] | None) -> bool:
    return not only or bool({case.name, *case.parts} & set(only))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    _added(parser, sys.argv[1:] if argv is None else argv)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for peers.json")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*(s for s in SYSTEMS if s != "ours"), *(c.name for c in CASES)],
        help="a system, or one case; may be repeated; all other results stay as they are",
    )
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds for one measurement (default %(default)s)"
    )
    parser.add_argument("--note", default="", help="a remark about the machine, kept in the results")
    options = parser.parse_args(argv)
    try:
        record = Record(directory(parser, options.output) / "peers.json")
    except InputError as e:
        parser.error(str(e))
    kernels = kernels_for("auto")
    asked = [case for case in CASES if _asked(case, options.only)]
    for number, case in enumerate(asked, 1):
        under, at = conditions(case, kernels), f"{number}/{len(asked)} {case.name}"
        if record.has(case, under) and not options.again:
            say(f"{at}: measured already, kept (--again measures it anew)")
            continue
        before, watch, rows = load(), Watch(), []
        warn(before, f"before {case.name}")
        for part in case.parts:
            say(f"{at}: {part} ...")
            rows += measured(part, case.name, options.limit)
            say(f"  {rows[-1]['status']} {rows[-1].get('reason', '')}")
        during, after = watch.busy(), load()
        others = max(x.others for x in (before, during, after) if x is not None)
        record.put(case, rows, under, others, options.note)
    say(f"wrote {record.path}")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
