"""Measures what an audit in runs costs beside a full one: ``python -m benchmarks.runs``.

The demo model answers one request. The node keeps its trace, and the verifier has a key. Shapes that cover
the same share of all cells take turns with the full audit, in one process: the node opens into memory, the
verifier checks what was opened. Every round draws other cells. The ratio of each round is that of the sums of
both sides' seconds; medians and quartiles over the rounds are printed, or written as JSON with every round.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.model import Bench
from proofcompute.bench.machine import machine
from proofcompute.bench.timing import seconds, spread
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.samples import Sample
from proofcompute.prover.node import Answer, Node
from proofcompute.verifier import chances, keygen
from proofcompute.verifier.auditor import Auditor, Cells
from proofcompute.verifier.result import Verified

SHAPES = (Sample(2, 512), Sample(4, 256), Sample(5, 171), Sample(8, 103), Sample(14, 57), Sample(cells=794))
"""Runs that cover about 5 % of the cells of the demo model at 512 tokens, and as many scattered cells."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m benchmarks.runs")
    parser.add_argument("--lengths", default="64+448", help="prompt + generated tokens")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", action="append", metavar="GxR", help="other shapes; repeatable")
    parser.add_argument("--cells", action="append", type=int, metavar="N", help="scattered cells; repeatable")
    parser.add_argument("-o", "--output", help="write JSON to this file")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    shapes = [Sample.parse(text) for text in args.runs or ()] + [Sample(cells=n) for n in args.cells or ()]
    prompt, generated = (int(n) for n in args.lengths.split("+"))
    found = measured(Bench(args.device), prompt, generated, shapes or SHAPES, args.rounds)
    for row in found["shapes"]:
        ratio = row["ratio"]
        print(
            f"{row['sample']:>24}: {row['share']:6.2%} of the cells, {row['bytes'] / 1e6:6.1f} MB; open "
            f"{1000 * row['open']['median']:7.1f} ms, verify {1000 * row['verify']['median']:6.1f} ms, both "
            f"{ratio['median']:6.1%} ({ratio['q1']:.1%} to {ratio['q3']:.1%}) of a full audit"
        )
    if args.output:
        with open(args.output, "w", encoding="utf-8") as stream:
            json.dump(found, stream, indent=1)
            stream.write("\n")


def measured(
    bench: Bench, prompt: int, generated: int, shapes: Sequence[Sample], rounds: int
) -> dict[str, Any]:
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
    node: Node, auditor: Auditor, request: Request, answer: Answer, asked: Challenge
) -> tuple[float, float, Verified]:
    """Return the seconds of opening and of checking, and what was found."""
    start = time.perf_counter()
    data = node.open(request, answer.receipt, asked)
    opened = time.perf_counter()
    found = auditor.check(request, answer.receipt, asked, data)
    return opened - start, time.perf_counter() - opened, found


def _figures(rounds: Sequence[tuple[float, float, Verified]]) -> dict[str, object]:
    return {
        "open": spread([a for a, _, _ in rounds]),
        "verify": spread([b for _, b, _ in rounds]),
        "bytes": median(v.bytes_opened for _, _, v in rounds),
        "cells": median(v.cells for _, _, v in rounds),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
