"""Check that a response follows from its receipts (docs/spec/openai.md#checking-a-response).

A receipt binds tokens; a client reads text. Everything in a response that a client may act on is compared
here with what follows from the receipts, and what follows from nothing must not be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.limits import MAX_CHOICES
from proofcompute.models.card import ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.openai.answers import FINISH_REASONS, Usage, completion_id, fingerprint
from proofcompute.openai.call import Call
from proofcompute.openai.proof import FIELD, ProofField, decode_proofs
from proofcompute.openai.sent import sent_int, sent_list, sent_object, sent_text
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request

__all__ = [
    "HEAD",
    "answer_of",
    "check_claims",
    "check_completion",
    "check_finish",
    "check_head",
    "check_same",
    "check_text",
    "check_usage",
    "proofs_of",
    "reply_head",
    "usage_of",
]

HEAD = ("id", "object", "created", "model", "system_fingerprint", "choices", "usage")
"""Fields of every response and chunk, besides that of the proof."""
_CHOICE = ("index", "finish_reason")
_MAX_SHOWN = 200
"""Characters of what a node sent that an error repeats."""


# -- parts that streams have too ---------------------------------------------------------------------------
def check_same(what: str, expected: object, found: object, step: int = 5) -> None:
    """Raise VerificationError unless a value in the response is the one that follows."""
    if type(expected) is not type(found) or expected != found:
        raise VerificationError(
            step,
            f"response: {what} does not follow from the receipt",
            expected=expected,
            found=str(found)[:_MAX_SHOWN],
        )


def reply_head(call: Call, requests: Sequence[Request]) -> tuple[str, str]:
    """Return id and fingerprint that follow from a call and its requests."""
    return completion_id(call.endpoint, requests[0].digest), fingerprint(requests[0].model_id)


def check_head(call: Call, sent: Mapping[str, Json], kind: str) -> tuple[str, str]:
    """Check kind, model and time of a response or chunk, and return its id and fingerprint."""
    check_same("object", kind, sent.get("object"))
    check_same("model", call.model, sent.get("model"))
    sent_int(sent.get("created"), "created")
    return sent_text(sent.get("id"), "id"), sent_text(sent.get("system_fingerprint"), "system_fingerprint")


def check_usage(value: Json, what: str) -> Usage:
    """Return the usage that a node states; its total must be the sum."""
    fields = sent_object(value, what, ("prompt_tokens", "completion_tokens", "total_tokens"))
    prompt, completion, total = (
        sent_int(fields.get(name), f"{what}.{name}")
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    check_same(f"{what}.total_tokens", prompt + completion, total)
    return Usage(prompt, completion)


def check_claims(card: ModelCard, requests: Sequence[Request], claims: Sequence[Claim], n: int) -> Vocabulary:
    """Return the card's vocabulary.

    Raises MismatchError unless these are the claims of all n requests of one call to the card's model, and
    this is a language model.
    """
    if len(requests) != n or len(claims) != n:
        raise MismatchError(f"a call for {n} choices has {n} requests and {n} claims")
    for i, (request, claim) in enumerate(zip(requests, claims, strict=True)):
        if request.choice != i or request.digest != claim.receipt.request_digest:
            raise MismatchError(f"claim {i} is not that of choice {i}")
        if request.model_id != card.model_id:
            raise MismatchError("the requests are for another model than the card")
    if card.vocabulary is None:
        raise MismatchError("the card is not that of a language model")
    return card.vocabulary


def check_proof(proof: ProofField, request: Request, claim: Claim) -> None:
    """Raise MismatchError unless request and claim were made from the proof field of their choice.

    The receipt of a claim is signed by the node that the request addresses, so this is the node of the field.
    """
    if request.node != proof.node or request.nonce != proof.nonce:
        raise MismatchError(f"choice {proof.choice}: the request was not derived from the proof field")
    if proof.receipt != claim.receipt.encode():
        raise MismatchError(f"choice {proof.choice}: the claim is not that of the response's receipt")


def answer_of(claim: Claim) -> tuple[int, ...]:
    """Return the tokens of a claim's answer."""
    ((_, data),) = claim.receipt.outputs
    return tuple(np.frombuffer(data, "<i4").tolist())


def usage_of(claims: Sequence[Claim]) -> Usage:
    """Return the usage that follows from the claims of a call's choices."""
    return Usage(claims[0].statement.prompt, sum(len(answer_of(c)) for c in claims))


def check_text(vocabulary: Vocabulary, request: Request, claim: Claim, found: str, what: str) -> None:
    """Raise VerificationError (step 5) unless ``found`` is the text to show of the claim's answer."""
    try:
        text = answer_text(vocabulary, request.generation, answer_of(claim), claim.receipt.stop_reason)
    except InputError as e:  # a token without a text
        raise VerificationError(5, f"response: {e}") from e
    if text != found:
        raise VerificationError(5, f"response: {what} is not what the receipt's tokens print")


def check_finish(claim: Claim, found: Json, what: str) -> None:
    """Raise VerificationError (step 5) unless ``found`` is the finish reason of the claim."""
    check_same(what, FINISH_REASONS[claim.receipt.stop_reason], found)


# -- whole responses ---------------------------------------------------------------------------------------
def proofs_of(call: Call, response: Mapping[str, Json]) -> tuple[ProofField, ...]:
    """Return the proof fields of a response that is not a stream, one for each choice.

    Raises VerificationError (step 1) if the response has none or they are malformed.
    """
    return decode_proofs(response.get(FIELD), call.n)


def check_completion(
    card: ModelCard,
    call: Call,
    requests: Sequence[Request],
    claims: Sequence[Claim],
    response: Mapping[str, Json],
) -> None:
    """Check a response that is not a stream.

    Args:
        card: card of the model.
        call: the body, as :func:`.call_of` read it.
        requests: those of all choices, derived from the body and the response's proof field
            (:meth:`.Call.requests`, after :func:`.check_proofs`).
        claims: what :func:`proofcompute.check_receipt` returned for each of them and its receipt.
        response: what the node sent, read by :func:`.read_response`.

    Raises:
        MismatchError: claims, requests and card do not belong together.
        VerificationError: something in the response does not follow from the receipts (step 5; the id: 4, the
            fingerprint: 3), or it is malformed (1).
    """
    vocabulary = check_claims(card, requests, claims, call.n)
    sent = sent_object(dict(response), "the response", (*HEAD, FIELD))
    for proof, request, claim in zip(proofs_of(call, sent), requests, claims, strict=True):
        check_proof(proof, request, claim)
    chat = call.endpoint == "chat"
    identity, print_ = check_head(call, sent, "chat.completion" if chat else "text_completion")
    wanted, model = reply_head(call, requests)
    check_same("id", wanted, identity, 4)
    check_same("system_fingerprint", model, print_, 3)
    choices = sent_list(
        sent.get("choices"),
        "choices",
        lambda v, what: sent_object(v, what, (*_CHOICE, "message" if chat else "text")),
        MAX_CHOICES,
    )
    check_same("the number of choices", call.n, len(choices))
    for i, (choice, request, claim) in enumerate(zip(choices, requests, claims, strict=True)):
        check_same(f"choices[{i}].index", i, choice.get("index"))
        check_text(
            vocabulary, request, claim, _said(choice, chat, f"choices[{i}]"), f"the text of choice {i}"
        )
        check_finish(claim, choice.get("finish_reason"), f"choices[{i}].finish_reason")
    check_same("usage", usage_of(claims), check_usage(sent.get("usage"), "usage"))


def _said(choice: Mapping[str, Json], chat: bool, what: str) -> str:
    """The text of a choice, in the place where its endpoint has it."""
    if not chat:
        return sent_text(choice.get("text"), f"{what}.text")
    message = sent_object(choice.get("message"), f"{what}.message", ("role", "content"))
    check_same(f"{what}.message.role", "assistant", message.get("role"))
    return sent_text(message.get("content"), f"{what}.message.content")
