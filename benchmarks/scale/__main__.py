"""Measure all of it and write scale.json: `python -m benchmarks.scale -o DIR`.

Takes about four minutes and 3 GB. Where OPENBLAS_CORETYPE is set, unset it: the comparison with BLAS would be
unfair.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.scale.bandwidth import all_layers, bandwidths
from benchmarks.scale.block import PEAK, Block, committing
from proofcompute.bench.machine import load, machine
from proofcompute.bench.results import rounded
from proofcompute.devices import kernels_for
from proofcompute.files import write_atomic
from proofcompute.kernels import Kernels

MODEL = "Llama-3.1-8B"


def _key() -> dict[str, Any]:
    """In a process of its own, for its peak memory."""
    command = [sys.executable, "-m", "benchmarks.scale.key", "--model", MODEL]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
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


PARTS: dict[str, Callable[[Kernels, int], Any]] = {
    "key": lambda k, rounds: _key(),
    "bandwidths": bandwidths,
    "layers": lambda k, rounds: [all_layers("Llama-3.1-70B", n, k, rounds) for n in (1, 16)],
    "audits w8a8": partial(_audits, "w8a8"),
    "audits w8a16": partial(_audits, "w8a16"),
    "commits": partial(committing, MODEL, "w8a16"),
}
"""Each takes less than a minute."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory of scale.json")
    parser.add_argument(
        "--part", action="append", choices=[*PARTS], help="measure this part, keep the others"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)  # before minutes of measuring
    path, k = args.output / "scale.json", kernels_for("cpu")
    results = json.loads(path.read_text("utf-8")) if args.part and path.exists() else {}
    before = load()
    results |= {part: PARTS[part](k, args.rounds) for part in args.part or PARTS}
    results |= {
        "command": "python -m benchmarks.scale -o DIR",
        "note": args.note,
        "rounds": args.rounds,
        "machine": machine(k, max(before, load())).__dict__,
    }
    write_atomic(path, f"{json.dumps(rounded(results), indent=1)}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
