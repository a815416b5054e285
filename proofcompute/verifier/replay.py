"""Replay a request with the model's weights and compare the trace root with the receipt's.

The computation has one right result, so replay needs no challenge and no opening. It feeds in the answer's
tokens at once instead of generating them one by one, and computes every row. This finds any altered cell with
certainty (up to collisions of the hash) and takes a fraction of the time that generating took, since many
rows run in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Engine, Session
from proofcompute.engine.stages import StageEngine
from proofcompute.errors import ExecutionError, MismatchError, VerificationError
from proofcompute.freivalds.soundness import COLLISION_BITS
from proofcompute.models.model import Model
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Pipeline, Request
from proofcompute.protocol.stages import StagePlan, stage_plans
from proofcompute.protocol.trace import trace_root
from proofcompute.verifier.claim import check_receipt, naming
from proofcompute.verifier.result import Verified
from proofcompute.verifier.stages import check_stages
from proofcompute.verifier.verdicts import accepted, rejections_logged

__all__ = ["replay", "replay_stages"]


def replay(
    model: Model,
    request: Request,
    receipt: bytes,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verified:
    """Check a receipt by computing all of it again.

    Args:
        model: the model itself, weights included.
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        kernels: the backend.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        progress: is called with the number of rows that each step computed.

    Returns:
        Evidence about every cell.

    Raises:
        VerificationError: the receipt fails one of steps 1 to 5, the arithmetic has no result (8), the model
            gives another answer (9), or the trace has another root (7).
        InputError: the request is not one for this model.
        MismatchError: the weights are not those of the model id.
    """
    with rejections_logged(request):
        claim = check_receipt(model, request, receipt, node)
        model.require_roots(kernels.hash_rows)
        with naming(claim):
            session = _run(model, request, claim, kernels, progress)
            _compare(claim, session, kernels)
    statement = claim.statement
    found = Verified(
        cells=statement.cells,
        total=statement.cells,
        rows=statement.rows,
        outputs=max(o.shape[0] for o in statement.outputs.values()),
        stop_reason=claim.receipt.stop_reason,
        node=claim.receipt.node,
        soundness_bits=COLLISION_BITS,
        bytes_opened=0,
    )
    return accepted(request, found)


def _run(
    model: Model, request: Request, claim: Claim, kernels: Kernels, progress: Callable[[int], None] | None
) -> Session:
    """Run the request with the receipt's tokens to its end and return the session."""
    program = model.program
    answer = claim.statement.outputs[program.outputs[0]].tolist() if program.feedback else []
    # the verifier runs the request itself, whichever node it addresses
    session = (engine := Engine(model, kernels, node=request.node)).add(request, answer)
    before = 0

    def on_step(session: Session) -> None:
        nonlocal before
        done, before = session.done - before, session.done
        if progress is not None:
            progress(done)

    try:
        engine.run(session, on_step)
    except MismatchError as e:  # request and answer fit the model: only a token can differ
        number = session.emitted + 1
        raise VerificationError(9, f"token {number} of the answer is not the one that the model gives") from e
    except ExecutionError as e:
        raise VerificationError(8, f"the arithmetic has no result: {e}") from e
    return session


def _compare(claim: Claim, session: Session, kernels: Kernels) -> None:
    """Compare the outputs (step 9) and the trace root (step 7) with the receipt's."""
    receipt, found = claim.receipt, session.statement()
    for name, data in receipt.outputs:
        if np.ascontiguousarray(found.outputs[name], found.program.specs[name].numpy).tobytes() != data:
            raise VerificationError(9, "the model gives another output", operation=name)
    root = trace_root(receipt.suite, session.trace.seals(receipt.suite, found.rows, kernels))
    if root != receipt.trace_root:
        raise VerificationError(7, "another trace root", expected=root.hex(), found=receipt.trace_root.hex())


def replay_stages(
    model: Model,
    request: Request,
    pipeline: Pipeline,
    receipts: Sequence[bytes],
    roots: Sequence[bytes],
    *,
    kernels: Kernels,
) -> tuple[Verified, ...]:
    """Check the receipts of all stages of a pipeline by computing all of it again, stage by stage.

    ``roots`` are the roots of all committed groups, in program order. A stage whose inputs have the roots
    that the true computation gives, and whose results have not, erred. So the first stage that differs is
    named; of those after it nothing is known.

    Raises VerificationError as :func:`proofcompute.verifier.stages.check_stages` does, or because the
    arithmetic has no result for a stage (8), or a stage gives other outputs (9) or other roots (7);
    InputError if request, model and pipeline do not fit together; MismatchError if the weights are not those
    of the model id.
    """
    with rejections_logged(request):
        claims = check_stages(model, request, pipeline, receipts, roots)
        model.require_roots(kernels.hash_rows)
        handed: dict[int, bytes] = {}
        for plan, claim in zip(stage_plans(model.program, pipeline), claims, strict=True):
            with naming(claim):
                handed |= _stage(model, request, plan, claim, handed, roots, kernels)
    found = []
    for claim in claims:
        statement = claim.statement
        found.append(
            Verified(
                cells=statement.cells,
                total=statement.cells,
                rows=statement.rows,
                outputs=max(o.shape[0] for o in statement.outputs.values()),
                stop_reason=claim.receipt.stop_reason,
                node=claim.receipt.node,
                soundness_bits=COLLISION_BITS,
                bytes_opened=0,
            )
        )
    return tuple(accepted(request, one) for one in found)


def _stage(
    model: Model,
    request: Request,
    plan: StagePlan,
    claim: Claim,
    handed: Mapping[int, bytes],
    roots: Sequence[bytes],
    kernels: Kernels,
) -> Mapping[int, bytes]:
    """Compute one stage from true rows, compare it with its receipt, and return what it hands on."""
    program, statement, engine = model.program, claim.statement, StageEngine(model, kernels, plan)
    answer = statement.outputs[program.outputs[0]].tolist() if program.feedback else []
    run = engine.begin(request)
    engine.take(run, statement.rows, answer[:-1], {group: handed[group] for group in plan.reads})
    try:
        (step,) = engine.compute([run])
    except ExecutionError as e:
        raise VerificationError(8, f"the stage's arithmetic has no result: {e}") from e
    for name, rows in step.emitted.items():
        if rows.tobytes() != statement.outputs[name].tobytes():
            raise VerificationError(9, "the model gives another output of this stage", operation=name)
    for group, root in engine.written(run).items():
        if root != roots[group]:
            raise VerificationError(
                7,
                "another root of this stage",
                operation=program.committed[group].name,
                expected=root.hex(),
                found=roots[group].hex(),
            )
    return step.handed
