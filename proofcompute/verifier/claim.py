"""Check receipts, model cards and challenges (steps 1 to 6 of :mod:`.verify`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from proofcompute.arrays import Array
from proofcompute.errors import InputError, VerificationError, about
from proofcompute.errors.arguments import given
from proofcompute.models.card import HasCard, ModelCard
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Pipeline, Receipt, Request, Terms
from proofcompute.protocol.promises import check_pair, check_promise
from proofcompute.protocol.receipts import (
    check_numerics,
    check_request,
    check_signer,
    check_stage,
    decoded,
    one_signer,
    require_pipeline,
)
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.protocol.statement import Statement, rows_from_bytes
from proofcompute.protocol.stop import check_answer

__all__ = ["check_card", "check_challenge", "check_receipt", "naming"]


def check_card(data: bytes, model_id: bytes) -> ModelCard:
    """Decode a card that somebody sent and check that it belongs to a trusted model id.

    Raises VerificationError if it does not decode or holds a damaged vocabulary (step 1), or if it belongs to
    another model (step 3). Raises InputError if ``data`` or ``model_id`` are not bytes.
    """
    if type(data) is not bytes:
        raise InputError(f"a card is given as the bytes that somebody sent, not {type(data).__name__}")
    given(model_id, bytes, "the model id")
    with about(model_id=model_id):
        card = decoded(ModelCard.decode, data, "model card")
        if card.model_id != model_id:
            raise VerificationError(3, "another model", expected=model_id.hex(), found=card.model_id.hex())
    return card


def check_receipt(
    model: HasCard,
    request: Request,
    receipt: bytes,
    node: bytes | None = None,
    *,
    terms: Terms | None = None,
    retention: int = 0,
    pipeline: Pipeline | None = None,
) -> Claim:
    """Check everything in a node's receipt that needs no opening (steps 1 to 5).

    Args:
        model: card, key or model that the request is for.
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        terms: terms under which the node must have signed, as
            :func:`proofcompute.protocol.promises.check_terms` returned them; None: any.
        retention: the least time, in seconds, for which the node must answer challenges.
        pipeline: the pipeline that the request addresses, if several nodes serve it: the receipt must be that
            of one of its stages. A claim of a stage has the cells of its own segments only.

    Returns:
        The claim, from which cells are drawn.

    Raises:
        InputError: the caller's own request, model and node do not fit together.
        VerificationError: the receipt fails one of the five steps.
    """
    card = model.card
    inputs = inputs_of(request, card.program, card.model_id)
    if pipeline is not None:
        require_pipeline(request, pipeline, len(card.program.segments))
    signer = one_signer(node, request.node if pipeline is None else b"")
    if type(receipt) is not bytes:
        raise InputError("a receipt is given as the bytes that the node sent")
    with about(model_id=card.model_id, request_digest=request.digest):
        signer = check_pair(terms, signer)  # 2
        found = decoded(Receipt.decode, receipt, "receipt")  # 1
        with about(node=found.node, receipt_digest=found.digest):
            check_signer(found, signer)  # 2
            check_stage(found, pipeline)  # 2
            if found.model_id != card.model_id:
                raise VerificationError(
                    3, "another model", expected=card.model_id.hex(), found=found.model_id.hex()
                )
            check_numerics(found.numerics)  # 3
            check_request(found, request)  # 4
            statement = _check_outputs(card, request, inputs, found)  # 5
            check_promise(found, terms, retention)  # 5
    return Claim(found, replace(statement, part=found.segments))


def naming(claim: Claim) -> AbstractContextManager[None]:
    """Add node, model, request and receipt to a VerificationError that is raised inside the block."""
    receipt = claim.receipt
    return about(
        node=receipt.node,
        model_id=receipt.model_id,
        request_digest=receipt.request_digest,
        receipt_digest=receipt.digest,
    )


def _check_outputs(
    card: ModelCard, request: Request, inputs: dict[str, Array], receipt: Receipt
) -> Statement:
    """Check outputs, row count and stop reason (step 5) and return the statement."""
    program = card.program
    names = tuple(n for n, _ in receipt.outputs)
    if names != program.outputs:
        raise VerificationError(5, "other outputs than the program's", expected=program.outputs, found=names)
    reason = "complete"
    try:
        outputs = {n: rows_from_bytes(program.specs[n], data, f"output {n}") for n, data in receipt.outputs}
        statement = statement_of(request, program, inputs, outputs)
        if request.generation is not None:
            answer = [int(t) for t in outputs[program.outputs[0]]]
            reason = check_answer(request.generation, answer, card.vocabulary)
    except InputError as e:
        raise VerificationError(5, str(e)) from e
    for what, expected, found in (
        ("row count", statement.rows, receipt.rows),
        ("stop reason", reason, receipt.stop_reason),
    ):
        if expected != found:
            raise VerificationError(5, f"wrong {what}", expected=expected, found=found)
    return statement


def check_challenge(claim: Claim, challenge: Challenge) -> None:
    """Raise VerificationError (step 6) unless the challenge is for this receipt and its cells exist."""
    if challenge.receipt_digest != claim.receipt.digest:
        raise VerificationError(6, "the challenge is for another receipt")
    for cell in challenge.cells:
        try:
            claim.statement.check_cell(cell)
        except InputError as e:
            raise VerificationError(6, str(e), cell=cell) from e
