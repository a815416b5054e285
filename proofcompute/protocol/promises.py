"""Check what a node promises about answering challenges: retention, terms and deadlines."""

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
"""Seconds for which a node answers challenges by default."""


def retention_of(node: bytes, terms: Terms | None, seconds: int | None) -> int:
    """Return the retention that the receipts of a node state, in seconds.

    It is ``seconds`` or, if that is None, the retention of the terms or a week. Raises InputError if the
    terms are another node's or promise a longer retention, or if a receipt cannot state the number.
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
    """Raise VerificationError (step 10) if an opening took ``waited`` seconds, more than ``seconds``.

    Raises InputError if ``waited`` is negative or not finite.
    """
    if not (math.isfinite(waited) and waited >= 0):
        raise InputError(f"{waited} seconds are no time that was measured")
    if waited > seconds:
        raise VerificationError(
            10, "no valid opening by the deadline", expected=f"{seconds:.3f} s", found=f"{waited:.3f} s"
        )


def check_terms(data: bytes, node: bytes | None = None) -> Terms:
    """Decode and check the terms that a node sent.

    Raises VerificationError if they do not decode (step 1), if ``node`` (None: the node that they name) did
    not sign them (step 2), or if they name another version of the arithmetic (step 3). Raises InputError if
    ``node`` is not a public key or ``data`` is not bytes.
    """
    if type(data) is not bytes:
        raise InputError(f"terms are given as the bytes that the node sent, not {type(data).__name__}")
    terms = decoded(Terms.decode, data, "terms")
    with about(node=terms.node):
        check_signer(terms, one_signer(node))
        check_numerics(terms.numerics)
    return terms


def check_pair(terms: Terms | None, signer: bytes | None) -> bytes | None:
    """Return the key that must have signed a receipt: that of the terms or, if they are None, ``signer``.

    Raises VerificationError (step 2) if the terms are another node's than ``signer``: a node's terms do not
    apply to another node's receipts.
    """
    if terms is None:
        return signer
    check_named(terms, signer)
    return terms.node


def check_promise(receipt: Signed, terms: Terms | None, retention: int) -> None:
    """Check the terms and the retention that a receipt states (step 5).

    ``terms`` have passed :func:`check_terms`; None accepts any terms. ``retention`` is the least that the
    verifier requires, in seconds. Raises VerificationError if the receipt names other terms, or promises a
    shorter retention than the terms or the verifier require.
    """
    if terms is not None:
        if receipt.terms_digest != terms.digest:
            raise VerificationError(
                5, "under other terms", expected=terms.digest.hex(), found=receipt.terms_digest.hex()
            )
        require_retention(receipt, terms.retention)
    require_retention(receipt, retention)


def require_retention(receipt: Signed, seconds: int) -> None:
    """Raise VerificationError (step 5) if the node answers challenges for less than ``seconds``.

    A verifier that draws cells later checks this, since a node need not open a trace that it has dropped.
    """
    if receipt.retention < seconds:
        raise VerificationError(
            5, "the trace is kept too short a time", expected=seconds, found=receipt.retention
        )
