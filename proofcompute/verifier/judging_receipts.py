"""Judge the messages in a bundle besides its opening: steps E3, E5 and E6 of
docs/spec/evidence.md#verifying-a-bundle.
"""

from __future__ import annotations

from proofcompute.commitments.hashing import message_digest
from proofcompute.commitments.signing import signature_holds
from proofcompute.errors import EvidenceError, InputError, MismatchError, VerificationError
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Receipt, Request, Terms
from proofcompute.protocol.messages.terms import SUITE
from proofcompute.protocol.receipts import check_signer, decoded
from proofcompute.protocol.requests import inputs_of
from proofcompute.verifier.claim import check_receipt
from proofcompute.verifier.judge import Judge

__all__ = ["challenge_chosen", "claim_of", "receipt_sent", "request_chosen", "signed_for", "terms_of"]


def receipt_sent(judge: Judge) -> Receipt | str:
    """Return what was received as a receipt, or what is wrong with it."""
    try:
        return decoded(Receipt.decode, judge.evidence.receipt, "receipt")
    except VerificationError as e:
        return f"what was received is no receipt: {e.reason}"


def signed_for(judge: Judge, receipt: Receipt) -> tuple[bytes | None, str]:
    """Return who signed the receipt (E3), or None, and why it is not theirs for this request, or ""."""
    if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):
        return None, "no node signed the receipt"
    judge.checked.append("the node's signature of the receipt")
    if receipt.request_digest != judge.evidence.request_digest:
        return receipt.node, "the receipt names another request; nothing of the node's ties it to this one"
    judge.checked.append("that the receipt names the request's digest")
    return receipt.node, ""


def challenge_chosen(judge: Judge, receipt: Receipt) -> Challenge | None:
    """Return the challenge, which belongs to the receipt, as the terms do (E5).

    Raises EvidenceError if they do not.
    """
    evidence = judge.evidence
    if evidence.terms and message_digest(SUITE, "terms", evidence.terms) != receipt.terms_digest:
        raise EvidenceError("the receipt does not name the terms in the evidence")
    if not evidence.challenge:
        return None
    try:
        challenge = Challenge.decode(evidence.challenge)
    except InputError as e:
        raise EvidenceError(f"the challenge in the evidence is none: {e}") from e
    if challenge.receipt_digest != receipt.digest:
        raise EvidenceError("the challenge in the evidence is for another receipt")
    return challenge


def request_chosen(judge: Judge, receipt: Receipt) -> Request | None:
    """Return the request, which the model can run (E5); None if it is not disclosed.

    Raises EvidenceError if the model cannot run it, and MismatchError if it is for another model.
    """
    request = judge.evidence.disclosed()
    asked = receipt.model_id if request is None else request.model_id
    if asked != judge.card.model_id:
        raise MismatchError(
            f"the evidence is about model {asked.hex()}, not {judge.card.model_id.hex()}, which you hold"
        )
    if request is not None:
        try:
            inputs_of(request, judge.card.program, judge.card.model_id)
        except InputError as e:
            raise EvidenceError(f"the request in the evidence is none that the model can run: {e}") from e
    return request


def terms_of(judge: Judge) -> Terms | None:
    """Decode the terms; None if there are none, or if this version cannot read them."""
    terms = judge.evidence.terms
    try:
        return decoded(Terms.decode, terms, "terms") if terms else None
    except VerificationError as e:  # a later version may have others, which is nobody's fault
        judge.unchecked.append(f"the terms, which cannot be read: {e.reason}")
        return None


def claim_of(judge: Judge, receipt: Receipt, terms: Terms | None, request: Request | None) -> Claim | None:
    """Check terms and receipt (E6), and return the claim; None if the request is not disclosed.

    Raises VerificationError if a step fails: then the node signed what contradicts itself.
    """
    if terms is not None:
        check_signer(terms, receipt.node)
        judge.checked.append("the node's signature of the terms that the receipt names")
    if request is None:
        judge.unchecked.append("the receipt against the request, which is not disclosed")
        return None
    pipeline = receipt.pipeline
    if pipeline is not None and request.node != pipeline.digest:
        pipeline = None  # the node signed for a part of what it was not asked for in parts
    try:
        claim = check_receipt(judge.card, request, judge.evidence.receipt, terms=terms, pipeline=pipeline)
    except MismatchError as e:
        raise EvidenceError(f"the request in the evidence is none that nodes can answer: {e}") from e
    judge.checked.append("the receipt against the request and the stop rule (steps 1-5)")
    return claim
