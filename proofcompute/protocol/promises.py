"""What a node promises about answering challenges, and whether it keeps it: retention, terms, deadlines."""

from __future__ import annotations

import math

from proofcompute.errors import InputError, VerificationError, about
from proofcompute.protocol.messages.signed import MAX_SECONDS, Signed
from proofcompute.protocol.messages.terms import Terms
from proofcompute.protocol.receipts import check_named, check_numerics, check_signer, decoded, one_signer

__all__ = [
    "RETENTION",
    "check_pair",
    "check_promise",
    "check_terms",
    "require_retention",
    "require_within",
    "retention_of",
]

RETENTION = 7 * 24 * 3600
"""Seconds for which a node answers challenges unless told otherwise."""


def retention_of(node: bytes, terms: Terms | None, seconds: int | None) -> int:
    """The retention that the receipts of a node state: ``seconds`` or, if None, that of its terms, or a week.

    InputError if the terms are another node's or promise longer, or it is no number that a receipt can state.
    """
    if terms is not None and terms.node != node:
        raise InputError("the terms are another node's")
    least = 0 if terms is None else terms.retention
    found = (RETENTION if terms is None else least) if seconds is None else seconds
    if type(found) is not int or not least <= found <= MAX_SECONDS:
        promised = "" if terms is None else ", which begins with what the terms promise"
        raise InputError(f"a retention of {found!r} seconds is outside {least}..{MAX_SECONDS}{promised}")
    return found


def require_within(waited: float, seconds: float) -> None:
    """VerificationError (step 10) if ``waited`` seconds for an opening are more than ``seconds``.

    InputError if the time waited is negative or none.
    """
    if not (math.isfinite(waited) and waited >= 0):
        raise InputError(f"{waited} seconds are no time that was measured")
    if waited > seconds:
        raise VerificationError(
            10, "no valid opening by the deadline", expected=f"{seconds:.3f} s", found=f"{waited:.3f} s"
        )


def check_terms(data: bytes, node: bytes | None = None) -> Terms:
    """The terms that a node sent, once they hold.

    VerificationError if they do not decode (step 1), are not signed by ``node`` (2; None: by
    whoever they name), or name another version of the arithmetic (3); InputError if ``node`` is no key,
    or ``data`` no bytes.
    """
    if type(data) is not bytes:
        raise InputError(f"terms are given as the bytes that the node sent, not {type(data).__name__}")
    terms = decoded(Terms.decode, data, "terms")
    with about(node=terms.node):
        check_signer(terms, one_signer(node))
        check_numerics(terms.numerics)
    return terms


def check_pair(terms: Terms | None, signer: bytes | None) -> bytes | None:
    """Step 2, in part: terms are those of the node that must sign; who that is, with what they say.

    They came from a node, and a receipt of another one is not to be judged by them.
    """
    if terms is None:
        return signer
    check_named(terms, signer)
    return terms.node


def check_promise(receipt: Signed, terms: Terms | None, retention: int) -> None:
    """Step 5, in part: a receipt is under the terms that the verifier holds, and kept for long enough.

    ``terms`` have passed :func:`check_terms`; with None any will do. ``retention`` is what the verifier
    wants, in seconds.
    """
    if terms is not None:
        if receipt.terms_digest != terms.digest:
            raise VerificationError(
                5, "under other terms", expected=terms.digest.hex(), found=receipt.terms_digest.hex()
            )
        require_retention(receipt, terms.retention)
    require_retention(receipt, retention)


def require_retention(receipt: Signed, seconds: int) -> None:
    """VerificationError (step 5) if the node answers challenges for less than ``seconds``.

    For a verifier that is about to draw cells, or may later: nobody opens what is dropped by then.
    """
    if receipt.retention < seconds:
        raise VerificationError(
            5, "the trace is kept too short a time", expected=seconds, found=receipt.retention
        )
