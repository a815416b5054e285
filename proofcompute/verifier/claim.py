"""What a receipt claims, and the challenge to it (steps 1 to 6 of :mod:`.verify`)."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.card import ModelCard
from proofcompute.errors import FormatError, InputError, LimitError, VerificationError
from proofcompute.generation import check_answer
from proofcompute.kernels import Array
from proofcompute.messages import Challenge, Receipt, Request
from proofcompute.signing import signature_holds
from proofcompute.statement import Statement, rows_from_bytes

__all__ = ["Claim", "check_challenge", "check_receipt"]


@dataclass(frozen=True)
class Claim:
    """A receipt that passed steps 1 to 5."""

    receipt: Receipt
    statement: Statement


def check_receipt(
    card: ModelCard, request: Request, inputs: dict[str, Array], data: bytes, node: bytes | None
) -> Claim:
    """Steps 1 to 5."""
    try:
        receipt = Receipt.decode(data)
        if receipt.encode() != data:
            raise FormatError("receipt is not canonical")
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    for wanted in (node, request.node or None):
        if wanted is not None and wanted != receipt.node:
            raise VerificationError(
                2, "signed by another node", expected=wanted.hex(), found=receipt.node.hex()
            )
    if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):
        raise VerificationError(2, "the node's signature does not hold")
    if receipt.model_id != card.model_id:
        raise VerificationError(
            3, "another model", expected=card.model_id.hex(), found=receipt.model_id.hex()
        )
    if receipt.suite != request.suite:
        raise VerificationError(4, "another hash suite", expected=request.suite, found=receipt.suite)
    if receipt.request_digest != request.digest:
        raise VerificationError(
            4, "another request", expected=request.digest.hex(), found=receipt.request_digest.hex()
        )
    return Claim(receipt, _check_outputs(card, request, inputs, receipt))


def _check_outputs(
    card: ModelCard, request: Request, inputs: dict[str, Array], receipt: Receipt
) -> Statement:
    """Step 5."""
    program = card.program
    names = tuple(n for n, _ in receipt.outputs)
    if names != program.outputs:
        raise VerificationError(5, "other outputs than the program's", expected=program.outputs, found=names)
    reason = "complete"
    try:
        outputs = {n: rows_from_bytes(program.specs[n], data, f"output {n}") for n, data in receipt.outputs}
        statement = request.statement(program, inputs, outputs)
        if request.generation is not None:
            answer = [int(t) for t in outputs[program.outputs[0]]]
            reason = check_answer(request.generation, answer, card.vocabulary)
    except InputError as e:
        raise VerificationError(5, str(e)) from e
    for what, expected, found in (
        ("row count", statement.rows, receipt.rows),
        ("layout", statement.layout, receipt.layout),
        ("stop reason", reason, receipt.stop_reason),
    ):
        if expected != found:
            raise VerificationError(5, f"wrong {what}", expected=expected, found=found)
    return statement


def check_challenge(claim: Claim, challenge: Challenge) -> None:
    """Step 6: the challenge is about this receipt and names cells that exist."""
    if challenge.receipt_digest != claim.receipt.digest:
        raise VerificationError(6, "the challenge is for another receipt")
    for cell in challenge.cells:
        try:
            claim.statement.check_cell(cell)
        except InputError as e:
            raise VerificationError(6, str(e), cell=cell) from e
