"""Nodes of a pipeline that lie, each in one way; all else they do is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.commitments.frontier import Frontier
from proofcompute.commitments.hashing import hash_rows
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.models.model import Model
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Boundary, Challenge, Pipeline, Receipt, Request
from proofcompute.protocol.trace import group_leaves
from proofcompute.prover.stages import HandedError, StageAnswer, StageNode
from synthetic import KERNELS

LIES = (
    "honest",
    "another weight",
    "hands on other rows than it commits to",
    "hands on other rows than it signs",
    "another's segments",
    "another pipeline",
    "shows what nobody signed",
    "emits another token",
    "emits a negative token",
    "emits a token after the last",
    "emits nothing",
)
NO_TOKENS = {"emits a negative token": -1, "emits a token after the last": 1 << 30}


def altered(model: Model, stage: range) -> Model:
    """The model with one matrix of a stage cleared."""
    name = next(w.name for w in model.program.weights if w.name == f"block.{stage.start - 1}.ffn.down")
    w = model.matrix(name)
    weights = {**model.weights, name: Matrix(np.zeros_like(w.q), w.scale, w.bias)}
    return Model(model.card, weights)


class Liar:
    """A stage's node that tells one of the lies."""

    def __init__(
        self, model: Model, identity: NodeIdentity, pipeline: Pipeline, stage: int, lie: str
    ) -> None:
        assert lie in LIES
        span = pipeline.segments(stage)
        runs = altered(model, span) if lie == "another weight" else model
        self.node = StageNode(runs.part(span), identity, pipeline, stage, device=KERNELS)
        self.lie, self.model, self.pipeline, self.stage = lie, self.node.model, pipeline, stage
        self._grown: dict[int, Frontier] = {}
        self._asked: Request | None = None

    def begin(self, request: Request) -> None:
        self._asked = request
        self._grown = {g: Frontier(request.suite) for g in self.node.plan.hands}
        self.node.begin(request)

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        found = self.node.step(digest, end, tokens, handed)
        if self.lie == "emits another token" and found.emitted:
            return found._replace(emitted={name: (rows + 1) % 200 for name, rows in found.emitted.items()})
        if self.lie in NO_TOKENS:
            return found._replace(
                emitted={name: np.full_like(x, NO_TOKENS[self.lie]) for name, x in found.emitted.items()}
            )
        if self.lie == "emits nothing":
            return found._replace(emitted={})
        if not self.lie.startswith("hands on other rows"):
            return found
        assert self._asked is not None
        program, edited = self.model.program, dict(found.handed)
        for group, data in edited.items():
            rows = np.frombuffer(data, "<f4").copy()
            rows[0] += 1
            edited[group] = rows.tobytes()
            flat = np.frombuffer(edited[group], np.uint8).reshape(-1, program.group_bytes(group))
            self._grown[group].add(group_leaves(program, self._asked.suite, group, flat, hash_rows))
        if self.lie == "hands on other rows than it signs":
            return found._replace(handed=edited)
        roots = tuple(self._grown[group].root() for group in self.node.plan.hands)
        said = replace(Boundary.decode(found.boundary), roots=roots).signed(self.node.identity)
        return found._replace(handed=edited, boundary=said.encode())

    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> list[bytes]:
        return self.node.finish(digest, outputs)

    def sign(self, digest: bytes, roots: Sequence[bytes]) -> bytes:
        if self.lie == "shows what nobody signed":
            raise HandedError("another stage lies", self._false().encode())
        receipt = Receipt.decode(self.node.sign(digest, roots))
        stages = list(self.pipeline.stages)
        if self.lie == "another's segments":
            receipt = replace(receipt, stage=self.stage - 1, signature=b"")
        elif self.lie == "another pipeline":
            stages[self.stage - 1] = replace(stages[self.stage - 1], node=self.node.public)
            receipt = replace(receipt, pipeline=Pipeline(tuple(stages)), signature=b"")
        return receipt.signed(self.node.identity.sign(receipt.signed_digest)).encode()

    def _false(self) -> Boundary:
        """What the stage before never signed, under its name."""
        assert self._asked is not None
        before = self.node.plans[self.stage - 1]
        return Boundary(
            suite=self._asked.suite,
            model_id=self.model.model_id,
            request_digest=self._asked.digest,
            stage=before.stage,
            rows=1,
            roots=tuple(bytes(32) for _ in before.hands),
            node=self.pipeline.stages[before.stage].node,
            signature=bytes(64),
        )

    def open(
        self, request: Request, receipt: bytes, challenge: Challenge, stream: BinaryIO | None = None
    ) -> bytes:
        return self.node.open(request, receipt, challenge, stream)
