"""Stages that have just started, and know nothing of what they signed before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import proofcompute as pc
import synthetic
from pipelines.line import IDENTITIES, PIPELINE, answered, auditor, request
from proofcompute.client.pipeline import PipelineAnswer
from proofcompute.client.reopening import StageOpener
from proofcompute.errors import ServiceError
from proofcompute.protocol.messages import Pipeline
from proofcompute.prover.stages import StageNode

MODEL = synthetic.model()
STAGES = range(3)


def stage(number: int, **options: Any) -> StageNode:
    """A stage's node that has just started."""
    part = MODEL.part(PIPELINE.segments(number))
    options = {"device": synthetic.KERNELS, **options}
    return StageNode(part, IDENTITIES[number], PIPELINE, number, **options)


def halves(model: pc.Model) -> tuple[Pipeline, Callable[[], list[StageNode]]]:
    """A pipeline of two stages for any model, and what starts their nodes."""
    pipeline = Pipeline.of([1, len(model.program.segments)], [one.public for one in IDENTITIES[:2]])

    def started() -> list[StageNode]:
        return [
            StageNode(model.part(pipeline.segments(i)), IDENTITIES[i], pipeline, i, device=synthetic.KERNELS)
            for i in range(2)
        ]

    return pipeline, started


def honest() -> PipelineAnswer:
    return answered()[1]


def opener(nodes: Any, *, kept: bool, answer: PipelineAnswer | None = None) -> StageOpener:
    found = honest() if answer is None else answer
    handed = found.handed if kept else None
    return StageOpener(MODEL, request(), PIPELINE, nodes, found.receipts, found.roots, handed)


def audited(opens: StageOpener, number: int, answer: PipelineAnswer | None = None) -> pc.Verified:
    receipt = (honest() if answer is None else answer).receipts[number]
    return auditor().audit(request(), receipt, lambda challenge: opens.open(number, challenge), "all")


class Silent:
    """A stage that has gone."""

    def __getattr__(self, name: str) -> Any:
        raise ServiceError("it has gone")


class Changed:
    """A stage of which one call gives something else."""

    def __init__(self, inner: StageNode, name: str, change: Callable[[Any], Any]) -> None:
        self.inner, self.name, self.change = inner, name, change

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)
        return call if name != self.name else lambda *of: self.change(call(*of))
