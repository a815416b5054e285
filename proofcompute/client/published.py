"""Fetch what a node publishes, with the credentials of the question that needs it.

A node or a proxy before it that cannot answer now, or not to this client, contradicts nobody: that is an
error of the transport, which a client's library tries again, and no answer passes meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

from proofcompute.client import libraries
from proofcompute.client.flow import Call, Flow, Read, Send
from proofcompute.client.limits import CARD_SECONDS, MAX_ERROR
from proofcompute.client.pins import Pins
from proofcompute.client.terms import TermsBook
from proofcompute.errors import VerificationError
from proofcompute.limits import MAX_CARD

__all__ = ["fetch_card", "fetch_terms"]

_ABOUT_THE_CLIENT: Final = frozenset({401, 403, 407, 408, 425, 429})
"""Statuses below 500 that say nothing of what is published: credentials are wrong, or it is not the time (RFC
9110, 8470 and 6585)."""


def fetch_card(request: Any, url: str, pins: Pins, model_id: bytes) -> Flow:
    """Fetch the card of a pinned model, and return what is served by it.

    Raises VerificationError if the node does not publish it, or publishes another (steps 1 and 3), and the
    library's ReadError if the node does not answer now or this client.
    """
    response = yield Send(libraries.fetching(request, f"{url}/proofs/card/{model_id.hex()}"))
    data = yield Read(response, request, MAX_CARD, CARD_SECONDS)
    found = _settled(request, response, "card")
    if found != 200:
        raise VerificationError(
            3, "the node does not publish the card of the model", expected=200, found=found
        )
    return (yield Call(lambda: pins.learn(model_id, data)))


def fetch_terms(request: Any, url: str, terms: TermsBook) -> Flow:
    """Fetch the node's terms, which may be none.

    Raises VerificationError if they are not its own, and the library's ReadError if it does not
    answer now or this client.
    """
    response = yield Send(libraries.fetching(request, f"{url}/proofs/terms"))
    data = yield Read(response, request, MAX_ERROR, CARD_SECONDS)
    found = _settled(request, response, "terms")
    if found not in (200, 404):
        raise VerificationError(1, "the node does not publish its terms", expected=200, found=found)
    terms.learn(data if found == 200 else None)


def _settled(request: Any, response: Any, what: str) -> int:
    """Return the status of a response. Raises the library's ReadError for one that proves nothing."""
    status = int(response.status_code)
    if status in _ABOUT_THE_CLIENT or status >= 500:
        raise libraries.library_of(request).ReadError(
            f"the node's {what} cannot be read: status {status}", request=request
        )
    return status
