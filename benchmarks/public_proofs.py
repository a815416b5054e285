"""Times public proofs of the demo model beside running it: `python -m benchmarks.public_proofs`.

The model is published once. Then these take turns in one process: a run, the node's opening of all its cells,
a proof of them that the node makes while it opens, the check of that proof without weights, and the private
audit of the same opening with a secret key. Then an auditor draws as many cells itself, the node opens them
with a proof, and the auditor checks it with the public key. The same of drawn cells follows. Figures are
medians of seconds and of the processor time of all threads, and ratios of both; what proving takes beyond
opening is the median of the differences. Openings and proofs lie in memory. ``parallel`` is processor time
over seconds: on quiet cores how many of them were at work. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.model import Bench
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.public.holder import SECURITY, positions_for
from proofcompute.public.openings import ByPublicProof, ProofMaker
from proofcompute.public.proof import ALL
from proofcompute.public.proving import OwnAnswer, coded_challenge, prove, verify_proof
from proofcompute.public.publishing import Published, publish
from proofcompute.verifier import check_receipt
from proofcompute.verifier.auditor import Auditor
from proofcompute.verifier.keymaking import keygen
from proofcompute.verifier.verify import verify


class Times:
    """Seconds, and seconds of all threads' processors, of what is done in turns."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[float, float]]] = {}

    def take(self, name: str, f: Callable[[], Any]) -> Any:
        """Call ``f``, and return what it returns."""
        wall, busy = time.perf_counter(), time.process_time()
        found = f()
        seconds = time.perf_counter() - wall, time.process_time() - busy
        self._found.setdefault(name, []).append(seconds)
        return found

    def difference(self, name: str, a: str, b: str) -> None:
        """Add what ``a`` took beyond ``b``, turn by turn."""
        pairs = zip(self._found[a], self._found[b], strict=True)
        self._found[name] = [(x[0] - y[0], x[1] - y[1]) for x, y in pairs]

    def medians(self) -> dict[str, tuple[float, float]]:
        """Return the medians, by name."""
        columns = {name: zip(*each, strict=True) for name, each in self._found.items()}
        return {name: tuple(map(statistics.median, both)) for name, both in columns.items()}


def proofs(
    bench: Bench, published: Published, key: Any, request: Request, cells: int, turns: int
) -> dict[str, object]:
    """Time a run, the proof of ``cells`` of its cells, and both ways to check them, in turns."""
    node, k = bench.node, bench.node.kernels
    positions, times = positions_for(published.key.layout, SECURITY), Times()
    maker, mine = ProofMaker(published, node.model, k), Auditor(ByPublicProof(published.key), device=k)
    opening, out, ended = io.BytesIO(), io.BytesIO(), io.BytesIO()
    for turn in range(turns + 1):
        if turn == 1:
            times = Times()  # the first turn compiles
        receipt = times.take("run", lambda: node.commit(node.run(request))).encode()
        asked = coded_challenge(check_receipt(published.key, request, receipt, None), cells)
        opening, out = io.BytesIO(), io.BytesIO()
        times.take("open", partial(node.open, request, receipt, asked, opening))
        one = OwnAnswer(request, receipt, node, cells)
        made = partial(prove, published, node.model, [one], out, positions=positions, kernels=k)
        times.take("open and prove", made)
        out.seek(0)
        read = partial(verify_proof, published.key, [request], out, kernels=k, cells=cells)
        times.take("verify", read)
        opening.seek(0)
        times.take("private", partial(verify, key, request, receipt, asked, opening, kernels=k))
        wanted = mine.challenge(request, receipt, "all" if cells == ALL else cells)
        hearer, ending = maker.begin(Receipt.decode(receipt), wanted)
        ended = io.BytesIO()
        opens = partial(node.open, request, receipt, wanted, ended, hearer=hearer, ending=ending)
        times.take("open for an auditor", opens)
        times.take("audit", partial(mine.check, request, receipt, wanted, ended.getvalue()))
    times.difference("prove", "open and prove", "open")
    found = times.medians()
    ratios = (("prove", "run"), ("verify", "private"), ("private", "run"), ("audit", "private"))
    return {
        "cells": "all" if cells == ALL else cells,
        "opening_bytes": len(opening.getvalue()),
        "proof_bytes_more": len(out.getvalue()) - len(opening.getvalue()),
        "challenged_bytes": len(ended.getvalue()),
        "seconds": {name: round(wall, 4) for name, (wall, _) in found.items()},
        "processor_seconds": {name: round(busy, 4) for name, (_, busy) in found.items()},
        "parallel": {name: round(busy / wall, 2) for name, (wall, busy) in found.items()},
        "ratios": {f"{a} / {b}": round(found[a][0] / found[b][0], 3) for a, b in ratios},
        "processor_ratios": {f"{a} / {b}": round(found[a][1] / found[b][1], 3) for a, b in ratios},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=448)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cells", type=int, default=16, help="the cells of the second part")
    options = parser.parse_args()
    bench, times = Bench("cpu"), Times()
    model, k = bench.node.model, bench.node.kernels
    published, key = times.take("publish", lambda: publish(model, k)), keygen(model, k)
    threads, publishing = len(os.sched_getaffinity(0)), times.medians()["publish"]
    print(json.dumps({"threads": threads, "publish": publishing}), flush=True)
    request = bench.request(options.prompt, options.tokens)
    for cells in (ALL, options.cells):
        print(json.dumps(proofs(bench, published, key, request, cells, options.turns)), flush=True)


if __name__ == "__main__":
    main()
