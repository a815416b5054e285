"""Measures, writes a file and draws it: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.environment import environment
from benchmarks.gpu.kernels import FULL, QUICK, Sizes, freivalds, hashing_rates, products, vendor
from benchmarks.gpu.plot import draw
from benchmarks.gpu.runs import Runner, requests
from benchmarks.gpu.timing import Measurement
from benchmarks.model import Bench
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import ProofcomputeError

FORMAT = 1
"""Version of the file."""


def measure(k: Kernels, size: Sizes, runner: Callable[[], Runner] | None) -> Iterator[Measurement]:
    """Measure everything, in order."""
    yield from hashing_rates(k, size)
    yield from products(k, size)
    if isinstance(k, CudaKernels):
        yield from vendor(k, size)
    yield from freivalds(k, size)
    if runner is not None:
        quick = size == QUICK
        yield from requests(runner(), 24 if quick else 512, (8, 6) if quick else (64, 192), 1 if quick else 7)


def main(argv: Sequence[str] | None = None, runner: Callable[[], Runner] | None = None) -> int:
    """Run the command; ``runner`` replaces the demo model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to see that everything works")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--no-model", action="store_true", help="leave the whole requests out")
    parser.add_argument("--plot", type=Path, help="a PNG to draw; needs the extra bench")
    parser.add_argument(
        "--cuda", action="store_true", help="only print the CUDA version for the driver: 12 or 13"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-bench.json"))
    options = parser.parse_args(argv)
    if options.cuda:
        return _cuda()
    try:
        k = kernels_for(options.device)
    except ProofcomputeError as error:
        print(f"cannot measure: {error}")
        return 2
    chosen = None if options.no_model else runner or (lambda: Bench(options.device))
    rows: list[dict[str, Any]] = []
    for found in measure(k, QUICK if options.quick else FULL, chosen):
        print(f"{found.name:<32} {found.value:12,.3f} {found.unit}", flush=True)
        rows.append(found.plain())
    # after the measurements: clocks are then those of a busy device
    report = {"format": FORMAT, "environment": environment(options.device), "measurements": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot is not None:
        draw(report, options.plot)
    return 0


def _cuda() -> int:
    """Print the CUDA version to install packages for; return 2 if there is no device to use them."""
    from proofcompute.arithmetic.backends.cuda.probe import extra, probe

    found = probe()
    if not found.devices:
        print(f"nothing to measure or test: {found.problem}", file=sys.stderr)
        return 2
    print(extra(found.driver).removeprefix("cuda"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
