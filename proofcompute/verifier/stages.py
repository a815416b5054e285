"""Check what the nodes of a pipeline signed together, and name the one that erred
(docs/spec/pipelines.md#verifying).

Each stage's receipt is checked and audited like any other (:class:`proofcompute.Auditor` with the pipeline):
a rejected cell is the fault of the node that answers for its segment, since that node signed the roots of
what it read and of what it wrote. What is here concerns several stages at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.errors import InputError, MismatchError, VerificationError, about
from proofcompute.models.card import HasCard
from proofcompute.protocol.boundaries import check_boundary, root_of
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Pipeline, Request
from proofcompute.protocol.receipts import require_pipeline
from proofcompute.protocol.stages import stage_plans
from proofcompute.verifier.claim import check_receipt, naming

__all__ = ["check_handed", "check_roots", "check_stages"]


def check_stages(
    model: HasCard,
    request: Request,
    pipeline: Pipeline,
    receipts: Sequence[bytes],
    roots: Sequence[bytes] | None = None,
    *,
    retention: int = 0,
) -> tuple[Claim, ...]:
    """Check that the receipts of all stages, in order, stand for one whole run, and return their claims.

    Args:
        model: card, key or model that the request is for.
        request: the request as the verifier knows it, which addresses the pipeline.
        pipeline: the pipeline, as the verifier knows it.
        receipts: the receipt of each stage, encoded, in the order of stages.
        roots: the root of each committed group, in program order, if they are known.
        retention: the least time, in seconds, for which every node must answer challenges.

    Raises:
        InputError: request, model and pipeline do not fit together.
        VerificationError: a receipt is missing (step 10), fails one of steps 1 to 5, or is not about the run
            that the first one is about (step 7); or the roots are not those of the receipts (step 7). Only
            what a receipt alone shows is its node's fault: of two that differ it is not known which is wrong.
    """
    require_pipeline(request, pipeline, len(model.card.program.segments))
    claims: list[Claim] = []
    with about(model_id=model.card.model_id, request_digest=request.digest):
        if len(receipts) != len(pipeline.stages):
            raise VerificationError(
                10, "a stage has no receipt", expected=len(pipeline.stages), found=len(receipts)
            )
        for stage, data in enumerate(receipts):
            node = pipeline.stages[stage].node
            with about(node=node):
                claim = check_receipt(model, request, data, node, retention=retention, pipeline=pipeline)
                if claim.receipt.stage != stage:
                    raise VerificationError(
                        10, "the stage has no receipt", expected=stage, found=claim.receipt.stage
                    )
            claims.append(claim)
        first = claims[0].receipt
        for claim in claims[1:]:
            mine = claim.receipt
            if (mine.trace_root, mine.outputs) != (first.trace_root, first.outputs):
                raise VerificationError(7, f"stages 0 and {mine.stage} signed for other runs")
        if roots is not None:
            check_roots(claims[0], roots)
    return tuple(claims)


def check_roots(claim: Claim, roots: Sequence[bytes]) -> None:
    """Raise VerificationError (step 7) unless a claim's trace root is that of the roots of all groups."""
    program, receipt = claim.statement.program, claim.receipt
    whole = len(roots) == len(program.committed)
    if not whole or root_of(program, receipt.suite, receipt.rows, roots) != receipt.trace_root:
        raise VerificationError(7, "the roots do not hash to the trace root")


def check_handed(
    model: HasCard,
    request: Request,
    pipeline: Pipeline,
    claim: Claim,
    roots: Sequence[bytes],
    boundary: bytes,
) -> None:
    """Check that a stage committed to the rows that it handed on.

    ``claim`` is that of the stage's receipt, ``roots`` are the roots of all groups, and ``boundary`` is what
    the stage signed when it handed the last rows on, as a later stage shows it.

    Raises InputError if claim, boundary and pipeline do not belong together, because then the boundary shows
    nothing about the node; and VerificationError (step 7), whose ``attributable`` is set, if the node signed
    other roots in its receipt than when it handed the rows on.
    """
    program, receipt = model.card.program, claim.receipt
    if receipt.pipeline != pipeline or receipt.request_digest != request.digest:
        raise MismatchError("the receipt is not one of this pipeline for this request")
    plan = stage_plans(program, pipeline)[receipt.stage]
    try:
        check_roots(claim, roots)
        found = check_boundary(boundary, model.card.model_id, request, pipeline, plan, receipt.rows)
    except VerificationError as e:  # whoever shows it may have made it up
        raise InputError(f"nothing is shown about the node: {e}") from e
    with naming(claim):
        for group, root in zip(plan.hands, found.roots, strict=True):
            if root != roots[group]:
                raise VerificationError(
                    7,
                    f"the node commits to other rows of {program.committed[group].name} than it handed on",
                    expected=root.hex(),
                    found=roots[group].hex(),
                    operation=program.committed[group].name,
                    attributable=True,
                )
