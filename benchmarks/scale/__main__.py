"""Measures audits at the sizes of large models and writes scale.json: `python -m benchmarks.scale -o DIR`.

It takes about four minutes and 3 GB. The file is written after each part; when started again, the command
keeps the parts that were measured on this machine with the same code, packages and rounds. Unset
OPENBLAS_CORETYPE, because the comparison with BLAS would be unfair.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import directory, entry, positive, read_json, say, warn
from benchmarks.scale.bandwidth import all_layers, bandwidths
from benchmarks.scale.block import PEAK, Block, committing
from benchmarks.scale.page import PARTS
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.busy import Watch, load
from proofcompute.bench.machine import code, machine
from proofcompute.bench.results import rounded
from proofcompute.encoding.files import write_atomic
from proofcompute.errors import ExecutionError

MODEL = "Llama-3.1-8B"
HERE = Path(__file__).parent


def _key() -> dict[str, Any]:
    """Run in a process of its own, to measure its peak memory."""
    command = [sys.executable, "-m", "benchmarks.scale.key", "--model", MODEL]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ExecutionError(f"the key of {MODEL}: {(done.stderr.splitlines() or ['no reason'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _audits(precision: str, k: Kernels, rounds: int) -> list[dict[str, Any]]:
    block = Block(MODEL, precision, k, 32)
    found = []
    for peak in (0.0, PEAK) if block.sites[0].x_limbs == 2 else (0.0,):
        found += [
            block.checks(1, 3 * rounds, peak),
            block.row_through_blocks(rounds, peak),
            block.checks(16, rounds, peak),
        ]
    return [
        *found,
        block.cell(rounds)[0],
        block.prefill(rounds)[0],
    ]


MEASURES: dict[str, Callable[[Kernels, int], Any]] = {
    "key": lambda k, rounds: _key(),
    "bandwidths": bandwidths,
    "layers": lambda k, rounds: [all_layers("Llama-3.1-70B", n, k, rounds) for n in (1, 16)],
    "audits w8a8": partial(_audits, "w8a8"),
    "audits w8a16": partial(_audits, "w8a16"),
    "commits": partial(committing, MODEL, "w8a16"),
}
"""Functions by the names of :data:`PARTS`; each takes less than a minute."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory of scale.json")
    parser.add_argument(
        "--part",
        action="append",
        choices=PARTS,
        help="measure this part anew, keep the others; may be repeated",
    )
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--rounds", type=positive, default=5, help="behind each median (default %(default)s)")
    parser.add_argument("--note", default="", help="a remark about the machine, kept in the results")
    options = parser.parse_args(argv)
    path, k = directory(parser, options.output) / "scale.json", kernels_for("cpu")
    results = read_json(parser, path, ("machine",)) if path.exists() else {}
    facts = asdict(machine(k))
    under = {"machine": facts, "code": code((p.name, p) for p in HERE.glob("*.py")), "rounds": options.rounds}
    results.setdefault("under", {})
    for number, part in enumerate(PARTS, 1):
        same = {name: results["under"].get(part, {}).get(name) for name in under} == under
        if options.part and part not in options.part:
            continue
        if same and not options.again and not options.part:
            say(f"{number}/{len(PARTS)} {part}: kept")
            continue
        say(f"{number}/{len(PARTS)} {part} ...")
        before, watch = load(), Watch()
        warn(before, f"before {part}")
        found = MEASURES[part](k, options.rounds)
        during, after = watch.busy(), load()
        others = max(x.others for x in (before, during, after) if x is not None)
        results |= {part: found, "command": "python -m benchmarks.scale -o DIR", "note": options.note}
        results["under"][part] = {**under, "load": others}
        loads = [x["load"] for x in results["under"].values()]
        results |= {"rounds": options.rounds, "machine": {**facts, "load": max(loads)}}
        write_atomic(path, f"{json.dumps(rounded(results), indent=1)}\n".encode())
    say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
