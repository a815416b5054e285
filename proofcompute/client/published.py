"""Fetch what a node publishes, with the credentials of the question that needs it."""

from __future__ import annotations

from typing import Any

from proofcompute.client import libraries
from proofcompute.client.flow import Call, Flow, Read, Send
from proofcompute.client.limits import CARD_SECONDS, MAX_ERROR
from proofcompute.client.pins import Pins
from proofcompute.client.terms import TermsBook
from proofcompute.errors import VerificationError
from proofcompute.limits import MAX_CARD

__all__ = ["fetch_card", "fetch_terms"]


def fetch_card(request: Any, url: str, pins: Pins, model_id: bytes) -> Flow:
    """Fetch the card of a pinned model, and return what is served by it.

    Raises VerificationError if the node does not publish it, or publishes another (steps 1 and 3).
    """
    response = yield Send(libraries.fetching(request, f"{url}/proofs/card/{model_id.hex()}"))
    data = yield Read(response, request, MAX_CARD, CARD_SECONDS)
    found = response.status_code
    if found != 200:
        raise VerificationError(
            3, "the node does not publish the card of the model", expected=200, found=found
        )
    return (yield Call(lambda: pins.learn(model_id, data)))


def fetch_terms(request: Any, url: str, terms: TermsBook) -> Flow:
    """Fetch the node's terms, which may be none. Raises VerificationError if they are not its own."""
    response = yield Send(libraries.fetching(request, f"{url}/proofs/terms"))
    data = yield Read(response, request, MAX_ERROR, CARD_SECONDS)
    found = response.status_code
    if found not in (200, 404):
        raise VerificationError(1, "the node does not publish its terms", expected=200, found=found)
    terms.learn(data if found == 200 else None)
