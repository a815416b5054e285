"""Terms: what a node promises about answering challenges, signed once and named by every receipt under it.

A node need not keep a trace: it computes it again when it is challenged. How long that takes follows from the
rows of the trace and the node's speed, which it states here itself; an opening that comes later is a
rejection like a false one, since silence must not be cheaper than being caught. The verifier caps what the
terms allow by a maximum of its own.
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
"""Hash suite of terms, whatever that of the receipts that name them."""
MAX_BASE = 24 * 3600
"""The longest time, in seconds, that a node may claim for an opening besides its rows."""
MAX_RATE = 2**32 - 1
"""The most rows per second that terms can state."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A node's signed promise about openings."""

    base: int
    """Seconds that an opening may take besides its rows, 0 to one day."""
    rate: int
    """Rows that the node computes again in a second, at least 1."""
    retention: int
    """Seconds for which every receipt under these terms can be challenged, at least."""
    node: bytes
    """Public key of the node."""
    numerics: int = NUMERICS
    """Version of the canonical arithmetic that the node runs."""
    scheme: str = ED25519
    """Signature scheme; the sizes of key and signature follow from it."""
    signature: bytes = b""
    """Over :attr:`signed_digest`; the scheme is inside what is signed."""

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
        """Terms signed by a node; InputError if a number is outside its range."""
        terms = Terms(base=base, rate=rate, retention=retention, node=identity.public)
        return replace(terms, signature=identity.sign(terms.signed_digest))

    @cached_property
    def signed_digest(self) -> bytes:
        """What the node signs: the digest of every field but the signature."""
        return hashing.message_digest(SUITE, "terms body", wire.encode(self._fields()))

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @cached_property
    def digest(self) -> bytes:
        """What a receipt refers to these terms by, 32 bytes."""
        return hashing.message_digest(SUITE, "terms", self.encode())

    @staticmethod
    def decode(data: bytes) -> Terms:
        """The terms that ``data`` encodes; FormatError, LimitError or UnsupportedError otherwise.

        They are worth nothing until :func:`proofcompute.protocol.promises.check_terms`.
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
        """Seconds from the challenge in which a valid opening must come, for a trace of ``rows`` rows.

        ``base + rows / rate``, but not more than ``most``, the verifier's own maximum.
        """
        if rows < 0 or not most >= 0:
            raise InputError("a deadline is for no fewer than 0 rows, and its maximum for 0 seconds or more")
        return min(self.base + rows / self.rate, most)
