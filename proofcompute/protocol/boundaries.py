"""Check what the node of a stage signs about the rows that it hands on (docs/spec/pipelines.md#boundary)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proofcompute.errors import VerificationError, about
from proofcompute.program.program import Program
from proofcompute.protocol.messages import Boundary, Pipeline, Request
from proofcompute.protocol.receipts import check_request, check_signer, decoded
from proofcompute.protocol.stages import StagePlan
from proofcompute.protocol.trace import group_seal, trace_root

__all__ = ["Handed", "check_boundary", "root_of"]


class Handed(NamedTuple):
    """What a stage hands to a later one in a step."""

    boundary: bytes
    """The encoded :class:`Boundary` over all rows so far."""
    rows: tuple[bytes, ...]
    """Leaf data of the step's rows of each group that the later stage reads, in program order."""


def check_boundary(
    data: bytes, model_id: bytes, request: Request, pipeline: Pipeline, plan: StagePlan, rows: int
) -> Boundary:
    """Check that the node of a stage signed for ``rows`` rows that it hands on for a request.

    Raises VerificationError unless the bytes are a boundary (step 1), signed by the node of that stage (2),
    for this model (3) and request (4), with as many rows and roots as there must be (5).
    """
    node = pipeline.stages[plan.stage].node
    with about(node=node, model_id=model_id, request_digest=request.digest):
        found = decoded(Boundary.decode, data, "boundary")  # 1
        check_signer(found, node)  # 2
        if found.model_id != model_id:
            raise VerificationError(3, "another model", expected=model_id.hex(), found=found.model_id.hex())
        check_request(found, request)  # 4
        expected = plan.stage, rows, len(plan.hands)
        if (found.stage, found.rows, len(found.roots)) != expected:
            raise VerificationError(
                5,
                "other rows or groups were handed on",
                expected=expected,
                found=(found.stage, found.rows, len(found.roots)),
            )
    return found


def root_of(program: Program, suite: str, rows: int, roots: Sequence[bytes]) -> bytes:
    """Return the trace root that the roots of all groups over ``rows`` rows give."""
    return trace_root(suite, [group_seal(program, suite, i, rows, root) for i, root in enumerate(roots)])
