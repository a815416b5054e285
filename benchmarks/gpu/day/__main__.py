"""Runs the steps of the package: ``python -m benchmarks.gpu.day``.

Exit status 0 means that all steps ran and agree; 1 that something differs or failed; 3 that there is no
device (the output states what is missing); 4 that there was no time for all steps (run it again to continue).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.day.plan import STEPS, Settings
from benchmarks.gpu.day.run import one, run

NAMES = [step.name for step in STEPS]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.day",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--out", type=Path, default=Path("build/gpu-day"), help="where results go")
    parser.add_argument("--budget", type=float, default=470.0, help="seconds for all steps (470)")
    parser.add_argument("--only", default="", help=f"steps, separated by commas, of: {', '.join(NAMES)}")
    parser.add_argument(
        "--device",
        default="cuda",
        choices=("cuda", "emulated"),
        help="emulated: the correctness steps on the host, with g++ and without a GPU",
    )
    parser.add_argument("--few", action="store_true", help="only as much as shows that everything works")
    parser.add_argument("--again", action="store_true", help="repeat what ended well before")
    parser.add_argument(
        "--prepare", action="store_true", help="without a GPU: only compute the receipts to compare with"
    )
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    settings = Settings(options.device, options.few, options.out.resolve())
    if options.step:
        return one(STEPS[NAMES.index(options.step)], settings)
    if options.prepare:
        from benchmarks.gpu.day.models import prepare

        return prepare(settings)
    only = [name for name in options.only.split(",") if name]
    if wrong := sorted(set(only) - set(NAMES)):
        parser.error(f"there is no step {', '.join(wrong)}")
    return run(settings, only, options.budget, again=options.again)


if __name__ == "__main__":
    raise SystemExit(main())
