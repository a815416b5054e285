"""A pipeline of three nodes of the synthetic model, in this process."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import proofcompute as pc
import synthetic
from pipelines.liars import Liar
from proofcompute.client.pipeline import PipelineAnswer, ask_pipeline
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.messages import Pipeline, Request

IDENTITIES = [NodeIdentity(bytes([number + 1] * 32)) for number in range(3)]
PIPELINE = Pipeline.of([2, 3, 4], [identity.public for identity in IDENTITIES])
"""The embedding and the first block; the second block; the head."""
MIDDLE = 1


def links(lie: str = "honest", liar: int = MIDDLE) -> list[Liar]:
    model = synthetic.model()
    return [
        Liar(model, identity, PIPELINE, stage, lie if stage == liar else "honest")
        for stage, identity in enumerate(IDENTITIES)
    ]


def request(**changes: object) -> Request:
    return synthetic.request(synthetic.model(), node=PIPELINE.digest, **changes)  # type: ignore[arg-type]


def ask(nodes: Sequence[Liar], asked: Request | None = None) -> PipelineAnswer:
    return ask_pipeline(synthetic.model(), request() if asked is None else asked, PIPELINE, nodes)


@cache
def answered(lie: str = "honest", liar: int = MIDDLE) -> tuple[list[Liar], PipelineAnswer]:
    """The nodes and what they answered, where the lie is in no receipt alone."""
    nodes = links(lie, liar)
    return nodes, ask(nodes)


def opening(node: Liar, asked: Request, receipt: bytes, challenge: pc.Challenge) -> bytes:
    stream = io.BytesIO()
    node.open(asked, receipt, challenge, stream)
    return stream.getvalue()


def auditor(holds: pc.Key | pc.Model | None = None) -> pc.Auditor:
    held = synthetic.key() if holds is None else holds
    return pc.Auditor(held, device=synthetic.KERNELS, pipeline=PIPELINE)


def audit(
    nodes: Sequence[Liar], answer: PipelineAnswer, stage: int, holds: pc.Key | pc.Model | None = None
) -> pc.Verified:
    """A full audit of one stage."""
    asked, receipt = request(), answer.receipts[stage]
    return auditor(holds).audit(asked, receipt, lambda c: opening(nodes[stage], asked, receipt, c), "all")
