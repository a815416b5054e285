"""Serve one stage of the synthetic model's pipeline in a process: MODEL PIPELINE STAGE PORT LIE..."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.liars import Liar
from pipelines.line import IDENTITIES
from proofcompute.arrays import Array
from proofcompute.errors import ProofcomputeError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Pipeline, Receipt, Request
from proofcompute.protocol.stage_calls import StepCall
from proofcompute.prover.stages import StageAnswer
from proofcompute.serving.stages import serve_stage


class Turns:
    """A node that tells another of its lies in each request."""

    def __init__(self, liars: Sequence[Liar]) -> None:
        self.liars, self.of = liars, dict[bytes, Liar]()
        self.model, self.pipeline, self.stage = liars[0].model, liars[0].pipeline, liars[0].stage

    def begin(self, request: Request) -> None:
        liar = self.liars[len(self.of) % len(self.liars)]
        self.of[request.digest] = liar
        liar.begin(request)

    def steps(self, calls: Sequence[StepCall]) -> list[StageAnswer | Exception]:
        return [self._step(call) for call in calls]

    def _step(self, call: StepCall) -> StageAnswer | Exception:
        try:
            return self.of.get(call.digest, self.liars[0]).step(*call)
        except ProofcomputeError as e:
            return e

    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> list[bytes]:
        return self.of.get(digest, self.liars[0]).finish(digest, outputs)

    def sign(self, digest: bytes, roots: Sequence[bytes]) -> bytes:
        return self.of.get(digest, self.liars[0]).sign(digest, roots)

    def open(self, request: Request, receipt: bytes, challenge: Challenge, stream: BinaryIO) -> None:
        liar = self.of.get(Receipt.decode(receipt).request_digest, self.liars[0])
        liar.open(request, receipt, challenge, stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.liars[0].node, name)


def main(model: str, pipeline: str, stage: str, port: str, *lies: str) -> None:
    made, number = Pipeline.decode(Path(pipeline).read_bytes()), int(stage)
    loaded = Model.load(model)
    node: Any = Turns([Liar(loaded, IDENTITIES[number], made, number, lie) for lie in lies])
    serve_stage(node, "127.0.0.1", int(port), lambda: print("ready", flush=True), token="secret")


if __name__ == "__main__":
    main(*sys.argv[1:])
