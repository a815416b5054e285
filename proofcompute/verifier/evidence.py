"""Make evidence of what an auditor found, for others to judge (docs/spec/evidence.md#making-a-bundle).

What a bundle proves, and to whom, is up to who judges it (:mod:`proofcompute.verifier.judging`). Making one
takes nothing but what the auditor has anyway, and its own signature.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from typing import BinaryIO, Literal

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, VerificationError
from proofcompute.errors.arguments import given
from proofcompute.protocol.bundle import Bundle, measured
from proofcompute.protocol.messages import Challenge, Evidence, Outcome, Receipt, Request, Terms
from proofcompute.verifier.result import Verified

__all__ = ["Found", "make_evidence", "named_terms"]

Found = Verified | VerificationError | Literal["silent", "refused"]
"""What an audit came to: what :meth:`.Auditor.check` returned or raised; or no opening came in time, or the
node said that it does not open."""


def make_evidence(
    identity: NodeIdentity,
    request: Request,
    receipt: bytes,
    found: Found,
    *,
    terms: Terms | None = None,
    challenge: Challenge | None = None,
    opening: bytes | BinaryIO = b"",
    sent: float = 0.0,
    waited: float | None = None,
    disclose: bool = True,
) -> Bundle:
    """Sign what an audit came to, together with everything that was sent and received.

    Args:
        identity: the auditor's key pair, by which others know who says this.
        request: the request that was asked.
        receipt: the receipt exactly as it was received.
        found: what the audit came to. A rejection at step 10 that the node did not sign becomes ``silent``:
            no valid opening came.
        terms: the node's terms, if the receipt names them.
        challenge: the challenge, if one was sent.
        opening: what came in answer, exactly as it was received: bytes, or a stream that can be read again,
            which is taken from its beginning and must stay open while the bundle is used.
        sent: when the challenge was sent, in seconds since the Unix epoch; 0: not said.
        waited: seconds from the challenge until the whole opening had come, or until the auditor gave up.
        disclose: whether the bundle holds the request, or its digest only; see :meth:`.Bundle.with_request`.

    Raises InputError if there is no challenge though ``found`` or ``opening`` belongs to one, if an auditor
    that reports silence does not say how long it waited, or if a stream cannot be read again; and LimitError
    if a message is too large.
    """
    stream = io.BytesIO(opening) if isinstance(opening, bytes) else opening
    if not getattr(stream, "seekable", bool)():
        raise InputError("an opening is bytes, or a stream that can be read again: keep it in a file")
    outcome = _outcome(found)
    if waited is None and outcome.kind == "silent":
        raise InputError("evidence of silence says how many seconds the auditor waited (waited)")
    size, digest = measured(stream)
    made = Evidence(
        request_digest=given(request, Request, "a request").digest,
        receipt=given(receipt, bytes, "a receipt"),
        terms=b"" if terms is None else terms.encode(),
        challenge=b"" if challenge is None else challenge.encode(),
        sent=_milliseconds(sent),
        waited=_milliseconds(waited or 0.0, math.ceil),  # who waited past a deadline says so
        outcome=outcome,
        opening_size=size,
        opening_digest=digest,
        made=_milliseconds(time.time()),
        auditor=identity.public,
        request=request.encode() if disclose else b"",
    )
    signed = made.signed(identity.sign(made.signed_digest))
    Evidence.decode(signed.encode())  # within the limits, so that others can read it
    return Bundle(signed, stream)


def named_terms(receipt: bytes, terms: Terms | None) -> Terms | None:
    """Return the terms if the receipt names them, and None otherwise: evidence holds no others."""
    try:
        named = Receipt.decode(receipt).terms_digest
    except InputError:
        return None
    return terms if terms is not None and terms.digest == named else None


def _outcome(found: Found) -> Outcome:
    if isinstance(found, Verified):
        return Outcome("accepted")
    if isinstance(found, VerificationError):
        if found.step == 10 and not found.attributable:
            return Outcome("silent")
        return Outcome("contradicted", found.step, found.cell, found.operation or "")
    return Outcome(found)


def _milliseconds(seconds: float, whole: Callable[[float], int] = round) -> int:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InputError(f"{seconds} seconds are no time that was measured")
    return whole(seconds * 1000)
