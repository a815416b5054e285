"""Measures a pipeline in one process: ``python -m benchmarks.pipelines``.

The demo model is split into stages. Clients decode, all of their steps one after the other or those of the
same moment together, as a stage's service does with steps that wait. Ways take turns; medians over the rounds
are printed. Signing, hashing and copying of handed rows are in it, and the network is not. Then each stage
brings the trace of a receipt back that it has forgotten, beside the time that the whole answer took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.model import Bench
from proofcompute.client.pipeline import PipelineAnswer, ask_pipeline
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Pipeline, Request
from proofcompute.protocol.stage_calls import StepCall
from proofcompute.prover.stages import StageNode

PROMPT = 64


class Line:
    """The stages of the demo model."""

    def __init__(self, device: str, count: int) -> None:
        self.bench = Bench(device)
        self.model, kernels = self.bench.node.model, self.bench.node.kernels
        segments = len(self.model.program.segments)
        identities = [NodeIdentity(bytes([number + 1] * 32)) for number in range(count)]
        ends = [segments * (number + 1) // count for number in range(count)]
        self.pipeline = Pipeline.of(ends, [one.public for one in identities])
        self.nodes = [
            StageNode(self.model.part(self.pipeline.segments(at)), one, self.pipeline, at, device=kernels)
            for at, one in enumerate(identities)
        ]

    def request(self, tokens: int) -> Request:
        """Return a request to the pipeline."""
        made = self.bench.request(PROMPT, tokens)
        return Request(made.model_id, made.inputs, made.nonce, made.generation, node=self.pipeline.digest)

    def decoded(self, clients: int, tokens: int, *, together: bool) -> float:
        """Return the tokens a second that some clients get together, after their prompts."""
        asked = [self.request(tokens + 1) for _ in range(clients)]
        for node in self.nodes:
            for one in asked:
                node.begin(one)
        emitted: dict[bytes, tuple[int, ...]] = {one.digest: () for one in asked}
        some = [asked] if together else [[one] for one in asked]
        start = 0.0
        for end in range(PROMPT, PROMPT + tokens + 1):
            if end == PROMPT + 1:
                start = time.perf_counter()
            for group in some:
                self._step(group, end, emitted)
        seconds = time.perf_counter() - start
        for node in self.nodes:
            for one in asked:
                node.forget(one.digest)
        return clients * tokens / seconds

    def _step(self, asked: Sequence[Request], end: int, emitted: dict[bytes, tuple[int, ...]]) -> None:
        handed: dict[bytes, tuple[Handed, ...]] = {one.digest: () for one in asked}
        for node in self.nodes:
            calls = [StepCall(one.digest, end, emitted[one.digest], handed[one.digest]) for one in asked]
            for one, found in zip(asked, node.steps(calls), strict=True):
                if isinstance(found, Exception):
                    raise found
                handed[one.digest] = (Handed(found.boundary, tuple(found.handed.values())),)
                for rows in found.emitted.values():
                    emitted[one.digest] = (int(rows[0]),)

    def brought_back(self, tokens: int) -> tuple[float, list[float]]:
        """Return the seconds that an answer takes, and those in which each stage brings its trace back."""
        asked, start = self.request(tokens), time.perf_counter()
        answer = ask_pipeline(self.model, asked, self.pipeline, self.nodes)
        whole = time.perf_counter() - start
        return whole, [self._again(asked, answer, number) for number in range(len(self.nodes))]

    def _again(self, asked: Request, answer: PipelineAnswer, number: int) -> float:
        node, start = self.nodes[number], time.perf_counter()
        handle = node.again(asked, answer.receipts[number], answer.roots)
        if node.plan.reads:
            rows = [answer.handed[group] for group in node.plan.reads]
            node.give(handle, answer.claims[number].receipt.rows, rows)
        while not node.keep(handle):
            pass
        return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], prog="python -m benchmarks.pipelines"
    )
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    line = Line(args.device, args.stages)
    ways = [(n, together) for n in args.clients for together in (False, True) if n > 1 or not together]
    found: dict[tuple[int, bool], list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for clients, together in ways:
            found[clients, together].append(line.decoded(clients, args.tokens, together=together))
    for (clients, together), rates in found.items():
        how = "together" if together else "one after the other"
        print(f"{clients} clients {how}: {median(rates):.1f} tokens/s")
    rounds = [line.brought_back(args.tokens) for _ in range(args.rounds)]
    shares = [sum(again) / whole for whole, again in rounds]
    print(f"bringing the traces of all stages back: {median(shares):.3f} of the answer's time")


if __name__ == "__main__":
    main()
