"""Define the addresses and bodies of the service of proofs beside OpenAI's interface
(docs/spec/openai.md#the-service-of-proofs).

Paths stand below the base URL of the interface, such as ``http://host:8000/v1``.
"""

from __future__ import annotations

import io
from typing import Final, NamedTuple

from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import FormatError
from proofcompute.limits import KIB, MAX_CHALLENGE, MAX_RECEIPT, MAX_REQUEST
from proofcompute.protocol.messages import Challenge, Request

__all__ = ["CARD_PATH", "KEPT_PATH", "MAX_OPEN_CALL", "OPEN_PATH", "TERMS_PATH", "KeptCall", "OpenCall"]

TERMS_PATH: Final = "/proofs/terms"
"""GET returns the node's signed terms, encoded; 404 if it states none."""
CARD_PATH: Final = "/proofs/card"
"""GET of this path, a slash and a model id in hexadecimal digits returns the model's card, encoded."""
OPEN_PATH: Final = "/proofs/open"
"""POST of an :class:`OpenCall`, encoded, returns the opening as a stream of bytes.

Errors have OpenAI's form. 429 means that the node opens nothing now, or nothing more of this receipt; with
``Retry-After``, that it will after so many seconds.
"""
KEPT_PATH: Final = "/proofs/kept"
"""GET of this path, a slash and a receipt's digest in hexadecimal digits returns a :class:`KeptCall`.

Only services that answer otherwise than over this interface have it: their clients got a receipt, or its
digest, and fetch the request.
"""
MAX_OPEN_CALL: Final = MAX_REQUEST + MAX_RECEIPT + MAX_CHALLENGE + KIB
"""The most bytes of an encoded :class:`OpenCall`."""

_PARTS: Final = ((MAX_REQUEST, "request"), (MAX_RECEIPT, "receipt"), (MAX_CHALLENGE, "challenge"))


class OpenCall(NamedTuple):
    """What a node needs to open cells without having kept anything."""

    request: Request
    """What the node computed. Only who asked knows its nonce."""
    receipt: bytes
    """The node's receipt, encoded."""
    challenge: Challenge
    """The cells to open."""

    def encode(self) -> bytes:
        """Return the three messages as frames, in the order of the fields."""
        out = io.BytesIO()
        for part in (self.request.encode(), self.receipt, self.challenge.encode()):
            write_frame(out, part)
        return out.getvalue()

    @staticmethod
    def split(data: bytes) -> tuple[bytes, bytes, bytes]:
        """Return the encoded messages of a call: request, receipt and challenge.

        A node splits first, and decodes the others only if it signed the receipt. Raises FormatError or
        LimitError if ``data`` is not three frames.
        """
        stream, parts = io.BytesIO(data), []
        for limit, what in _PARTS:
            part = read_frame(stream, limit=limit, what=what)
            if part is None:
                raise FormatError(f"a call for an opening has no {what}; it is three frames")
            parts.append(part)
        if stream.read(1):
            raise FormatError("a call for an opening goes on after its challenge")
        return parts[0], parts[1], parts[2]

    @staticmethod
    def decode(data: bytes) -> OpenCall:
        """Decode a call. Raises FormatError, InputError or LimitError if ``data`` encodes none."""
        request, receipt, challenge = OpenCall.split(data)
        return OpenCall(Request.decode(request), receipt, Challenge.decode(challenge))


class KeptCall(NamedTuple):
    """What a service keeps of a call."""

    request: Request
    """What the node computed; who holds the receipt checks that it is what was asked."""
    receipt: bytes
    """The node's receipt, encoded."""

    def encode(self) -> bytes:
        """Return the two messages as frames, in the order of the fields."""
        out = io.BytesIO()
        for part in (self.request.encode(), self.receipt):
            write_frame(out, part)
        return out.getvalue()

    @staticmethod
    def decode(data: bytes) -> KeptCall:
        """Invert :meth:`encode`. Raises FormatError or LimitError if ``data`` is no such call."""
        stream = io.BytesIO(data)
        parts = [read_frame(stream, limit=limit, what=what) for limit, what in _PARTS[:2]]
        if stream.read(1):
            raise FormatError("a call that is kept has two frames, and more follows")
        request, receipt = parts
        if request is None or receipt is None:
            raise FormatError("a call that is kept has two frames: request and receipt")
        return KeptCall(Request.decode(request), receipt)
