"""Define terms, a node's promise about answering challenges, signed once and named by its receipts.

A node need not keep a trace, since it can compute the trace again when it is challenged. The time that this
takes follows from the rows of the trace and the node's speed, which the node states here. An opening that
comes later is rejected like a false one, since silence must not be cheaper than being caught. The verifier
caps the time that the terms allow by a maximum of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments import hashing
from proofcompute.commitments.signing import ED25519, NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import InputError
from proofcompute.limits import MAX_TERMS
from proofcompute.protocol.messages.signed import MAX_SECONDS, decode_numerics, decode_signer

__all__ = ["Terms"]

KIND = "proofcompute terms"
VERSION = 1
SUITE = "sha256"
"""Hash suite of terms, whatever suite the receipts that name them have."""
MAX_BASE = 24 * 3600
"""The longest time, in seconds, that a node may claim for an opening besides the time for its rows."""
MAX_RATE = 2**32 - 1
"""The most rows per second that terms can state."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A node's signed promise about openings."""

    base: int
    """Seconds that an opening may take besides the time for its rows, 0 to one day."""
    rate: int
    """Rows that the node computes again in a second, at least 1."""
    retention: int
    """Least number of seconds for which every receipt under these terms can be challenged."""
    node: bytes
    """Public key of the node."""
    numerics: int = NUMERICS
    """Version of the canonical arithmetic that the node runs."""
    scheme: str = ED25519
    """Signature scheme, which fixes the sizes of key and signature."""
    signature: bytes = b""
    """Signature over :attr:`signed_digest`, which covers the scheme."""

    def __post_init__(self) -> None:
        for what, value, least, most in (
            ("base", self.base, 0, MAX_BASE),
            ("rate", self.rate, 1, MAX_RATE),
            ("retention", self.retention, 0, MAX_SECONDS),
        ):
            if type(value) is not int or not least <= value <= most:
                raise InputError(f"terms: {what} is an integer from {least} to {most}, not {value!r}")

    def _fields(self) -> tuple[wire.Value, ...]:
        promise = (self.numerics, self.base, self.rate, self.retention)
        return (KIND, VERSION, self.scheme, self.node, *promise)

    @staticmethod
    def of(identity: NodeIdentity, *, base: int, rate: int, retention: int) -> Terms:
        """Make and sign terms. Raises InputError if a number is outside its range."""
        terms = Terms(base=base, rate=rate, retention=retention, node=identity.public)
        return replace(terms, signature=identity.sign(terms.signed_digest))

    @cached_property
    def signed_digest(self) -> bytes:
        """Digest that the node signs, over every field except the signature."""
        return hashing.message_digest(SUITE, "terms body", wire.encode(self._fields()))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @cached_property
    def digest(self) -> bytes:
        """Digest by which a receipt names these terms, 32 bytes."""
        return hashing.message_digest(SUITE, "terms", self.encode())

    @staticmethod
    def decode(data: bytes) -> Terms:
        """Decode terms without checking the signature.

        Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none. A verifier calls
        :func:`proofcompute.protocol.promises.check_terms` instead, which checks the signature too.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_TERMS, what="terms"), "terms", n=9)
        wire.check_head(top, KIND, VERSION)
        scheme, node, signature = decode_signer(top[2], top[3], top[8])
        return Terms(
            numerics=decode_numerics(top[4]),
            base=wire.as_int(top[5], "base seconds", 0, MAX_BASE),
            rate=wire.as_int(top[6], "rows per second", 1, MAX_RATE),
            retention=wire.as_int(top[7], "retention", 0, MAX_SECONDS),
            scheme=scheme,
            node=node,
            signature=signature,
        )

    def deadline(self, rows: int, most: float) -> float:
        """Return the seconds from the challenge within which a valid opening must come.

        For a trace of ``rows`` rows these are ``base + rows / rate``, but not more than ``most``, the
        verifier's own maximum. Raises InputError if ``rows`` or ``most`` is negative.
        """
        if rows < 0 or not most >= 0:
            raise InputError("a deadline is for no fewer than 0 rows, and its maximum for 0 seconds or more")
        return min(self.base + rows / self.rate, most)
