"""Measures what an audit in runs costs beside a full one, both sides together: ``python -m benchmarks.runs``.

The demo model answers one request. The node keeps its trace, and the verifier has a key. Shapes that cover the
same share of all cells take turns with the full audit, in one process: the node opens into memory, the
verifier checks what was opened. Every round draws other cells. The ratio of each round is that of the sums of
both sides' seconds; medians and quartiles over the rounds are printed, or written as JSON with every round.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from statistics import median

from benchmarks.model import Bench
from proofcompute.bench.machine import machine
from proofcompute.bench.timing import seconds, spread
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.samples import Sample
from proofcompute.prover.node import Answer
from proofcompute.verifier import chances, keygen
from proofcompute.verifier.auditor import Auditor, Cells
from proofcompute.verifier.result import Verified

SHAPES = (Sample(2, 512), Sample(4, 256), Sample(5, 171), Sample(8, 103), Sample(14, 57), Sample(cells=794))
"""Runs that cover 5 % of the cells of the demo model at 512 tokens or a little more, and as many scattered cells."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m benchmarks.runs")
    parser.add_argument("--lengths", default="64+448", help="prompt + generated tokens")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", action="append", metavar="GxR", help="other shapes; may be given repeatedly")
    parser.add_argument("--cells", action="append", type=int, metavar="N", help="scattered cells, the same")
    parser.add_argument("-o", "--output", help="write JSON to this file")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    shapes = [Sample.parse(text) for text in args.runs or ()] + [Sample(cells=n) for n in args.cells or ()]
    prompt, generated = (int(n) for n in args.lengths.split("+"))
    found = measured(Bench(args.device), prompt, generated, shapes or SHAPES, args.rounds)
    for row in found["shapes"]:
        print(
            f"{row['sample']:>24}: {row['share']:6.2%} of the cells, {row['bytes'] / 1e6:6.1f} MB; open "
            f"{1000 * row['open']['median']:7.1f} ms, verify {1000 * row['verify']['median']:6.1f} ms, both "
            f"{row['ratio']['median']:6.1%} ({row['ratio']['q1']:.1%} to {row['ratio']['q3']:.1%}) of a full audit"
        )
    if args.output:
        with open(args.output, "w", encoding="utf-8") as stream:
            json.dump(found, stream, indent=1)
            stream.write("\n")


def measured(
    bench: Bench, prompt: int, generated: int, shapes: Sequence[Sample], rounds: int
) -> dict[str, object]:
    """Return the measurements of a full audit and of the shapes."""
    node, kernels = bench.node, bench.node.kernels
    auditor = Auditor(keygen(node.model, kernels), device=kernels)
    request = bench.request(prompt, generated)
    answer = node.answer(request)

    def audit(cells: Cells) -> tuple[float, float, Verified]:
        asked = auditor.challenge(request, answer.receipt, cells)
        return _audited(node, auditor, request, answer, asked)

    full: list[tuple[float, float, Verified]] = []
    some: dict[Sample, list[tuple[float, float, Verified]]] = {shape: [] for shape in shapes}
    for round_ in range(rounds + 1):  # the first one warms up
        whole = audit("all")
        parts = {shape: audit(shape) for shape in shapes}
        if round_:
            full.append(whole)
            for shape, part in parts.items():
                some[shape].append(part)
    run = seconds(lambda: bench.run(prompt, generated))
    return {
        "machine": vars(machine(kernels)),
        "lengths": f"{prompt}+{generated}",
        "run_seconds": run,
        "full": _figures(full),
        "shapes": [
            {
                "sample": str(shape),
                "share": median(v.cells / v.total for _, _, v in part),
                "detects_one": chances.one(part[0][2].segments, shape),
                **_figures(part),
                "ratio": spread([(a + b) / (c + d) for (a, b, _), (c, d, _) in zip(part, full, strict=True)]),
                "ratios": [(a + b) / (c + d) for (a, b, _), (c, d, _) in zip(part, full, strict=True)],
            }
            for shape, part in some.items()
        ],
    }


def _audited(
    node: object, auditor: Auditor, request: object, answer: Answer, asked: Challenge
) -> tuple[float, float, Verified]:
    """Return the seconds of opening and of checking, and what was found."""
    kept: list[object] = []
    opening = seconds(lambda: kept.append(node.open(request, answer.receipt, asked)))  # type: ignore[attr-defined]
    data = kept[0]
    verifying = seconds(
        lambda: kept.append(auditor.check(request, answer.receipt, asked, data))  # type: ignore[arg-type]
    )
    found = kept[1]
    assert isinstance(found, Verified)
    return opening, verifying, found


def _figures(rounds: Sequence[tuple[float, float, Verified]]) -> dict[str, object]:
    return {
        "open": spread([a for a, _, _ in rounds]),
        "verify": spread([b for _, b, _ in rounds]),
        "bytes": median(v.bytes_opened for _, _, v in rounds),
        "cells": median(v.cells for _, _, v in rounds),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
