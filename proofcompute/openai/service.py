"""Define the addresses and bodies of the service of proofs beside OpenAI's interface
(docs/spec/openai.md#the-service-of-proofs).

Paths stand below the base URL of the interface, such as ``http://host:8000/v1``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proofcompute.encoding import wire
from proofcompute.limits import KIB, MAX_CHALLENGE, MAX_RECEIPT, MAX_REQUEST
from proofcompute.protocol.messages import Challenge, Request

__all__ = ["CARD_PATH", "MAX_OPEN_CALL", "OPEN_PATH", "TERMS_PATH", "OpenCall"]

TERMS_PATH: Final = "/proofs/terms"
"""GET returns the node's signed terms, encoded; 404 if it states none."""
CARD_PATH: Final = "/proofs/card"
"""GET of this path, a slash and a model id in hexadecimal digits returns the model's card, encoded."""
OPEN_PATH: Final = "/proofs/open"
"""POST of an :class:`OpenCall`, encoded, returns the opening as a stream of bytes.

Errors have OpenAI's form. 429 means that the node opens nothing now, or nothing more of this receipt; with
``Retry-After``, that it will after so many seconds.
"""
MAX_OPEN_CALL: Final = MAX_REQUEST + MAX_RECEIPT + MAX_CHALLENGE + KIB
"""The most bytes of an encoded :class:`OpenCall`."""

KIND: Final = "proofcompute open call"
VERSION: Final = 1


class OpenCall(NamedTuple):
    """What a node needs to open cells without having kept anything."""

    request: Request
    """What the node computed. Only who asked knows its nonce."""
    receipt: bytes
    """The node's receipt, encoded."""
    challenge: Challenge
    """The cells to open."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.request.encode(), self.receipt, self.challenge.encode()))

    @staticmethod
    def decode(data: bytes) -> OpenCall:
        """Decode a call. Raises FormatError, InputError or LimitError if ``data`` encodes none."""
        top = wire.as_list(wire.decode(data, limit=MAX_OPEN_CALL, what="open call"), "open call", n=5)
        wire.check_head(top, KIND, VERSION)
        return OpenCall(
            Request.decode(wire.as_bytes(top[2], "request", max_size=MAX_REQUEST)),
            wire.as_bytes(top[3], "receipt", max_size=MAX_RECEIPT),
            Challenge.decode(wire.as_bytes(top[4], "challenge", max_size=MAX_CHALLENGE)),
        )
