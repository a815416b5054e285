"""Write the head of a question as it is sent, and read the head of its answer."""

from __future__ import annotations

import secrets
from typing import Any

from proofcompute.client import libraries
from proofcompute.client.inflate import CODINGS
from proofcompute.errors import InputError, ServiceError, VerificationError
from proofcompute.openai import NONCE_HEADER

__all__ = ["asking", "drawn_nonce", "require_answer"]


def drawn_nonce(request: Any, *, own: bool) -> bytes | None:
    """Return a fresh nonce for a question; None unless this client chooses it (``own``).

    Raises InputError if the caller's request has a nonce already, or a body in a coding.
    """
    if NONCE_HEADER in request.headers or "content-encoding" in request.headers:
        raise InputError("the transport draws the nonce itself, and sends bodies as they are")
    return secrets.token_bytes(32) if own else None


def asking(request: Any, body: bytes, nonce: bytes | None) -> Any:
    """Return the request as it is sent: with the nonce, and asking for codings that can be undone."""
    if nonce is not None:
        return libraries.outgoing(request, body, {"accept-encoding": "identity", NONCE_HEADER: nonce.hex()})
    wanted = {c.strip().partition(";")[0] for c in request.headers.get("accept-encoding", "").split(",")}
    usual = {} if wanted <= {*CODINGS, "identity", ""} else {"accept-encoding": ", ".join(CODINGS)}
    return libraries.outgoing(request, body, usual)


def require_answer(response: Any, *, stream: bool, own: bool) -> None:
    """Raise VerificationError (step 1) unless a response can be an answer of the form asked for.

    A redirect is none and proves nothing, since a front server may have sent it: it is a ServiceError.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = "text/event-stream" if stream else "application/json"
    coding = response.headers.get("content-encoding", "").strip().lower()
    if 300 <= response.status_code < 400:
        where = response.headers.get("location", "")[:200]
        raise ServiceError(f"the address redirects to {where!r}, and no redirect is followed")
    if response.status_code != 200:
        raise VerificationError(1, "an answer with another status", expected=200, found=response.status_code)
    if kind != wanted:
        raise VerificationError(1, "an answer of another form", expected=wanted, found=kind[:80])
    if coding not in ("", "identity") and (own or stream):
        raise VerificationError(1, f"an answer in the coding {coding[:40]!r}, which was not asked for")
