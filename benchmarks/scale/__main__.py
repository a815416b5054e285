"""Measure all of it and write scale.json: `python -m benchmarks.scale -o DIR`.

Takes about four minutes and 3 GB. Where OPENBLAS_CORETYPE is set, unset it: the comparison with BLAS would be
unfair.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.scale.bandwidth import all_layers, bandwidths
from benchmarks.scale.block import Block, committing
from proofcompute.bench.machine import load, machine
from proofcompute.devices import kernels_for
from proofcompute.files import write_atomic

MODEL = "Llama-3.1-8B"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for scale.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    before, start, k = load(), time.perf_counter(), kernels_for("cpu")
    command = [sys.executable, "-m", "benchmarks.scale.key", "--model", MODEL]
    key = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    audits: list[dict[str, Any]] = []
    for precision in ("w8a8", "w8a16"):
        block = Block(MODEL, precision, k, 32)
        audits += [block.checks(1, 3 * args.rounds), block.checks(16, args.rounds)]
        audits += [block.cell(args.rounds)[0], block.prefill(args.rounds)[0]]
        print(json.dumps(audits[-4:]), file=sys.stderr, flush=True)
    results = {
        "schema": 1,
        "command": "python -m benchmarks.scale -o DIR",
        "note": args.note,
        "rounds": args.rounds,
        "key": key,
        "bandwidths": bandwidths(k, args.rounds),
        "audits": audits,
        "layers": [all_layers("Llama-3.1-70B", n, k, args.rounds) for n in (1, 16)],
        "commits": committing(MODEL, "w8a16", k, args.rounds),
        "machine": machine(k, max(before, load())).__dict__,
        "seconds": time.perf_counter() - start,
    }
    text = json.dumps(_rounded(results), indent=1)
    write_atomic(args.output / "scale.json", f"{text}\n".encode())
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
