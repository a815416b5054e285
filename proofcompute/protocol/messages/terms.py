"""Define terms, a node's promise about answering challenges, signed once and named by its receipts.

A node need not keep a trace, since it can compute the trace again when it is challenged. The time that this
takes follows from the rows of the trace and the node's speed, which the node states here. An opening that
comes later is rejected like a false one, since silence must not be cheaper than being caught. The verifier
caps the time that the terms allow by a maximum of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519, NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import MAX_TERMS, MAX_TERMS_PROOFS
from proofcompute.protocol.messages.signed import MAX_SECONDS, decode_numerics, decode_signer

__all__ = ["Terms"]

KIND = "proofcompute terms"
VERSION = 1
_FIELDS = 9
"""Elements of terms that promise no public proofs."""
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
    proofs: tuple[bytes, ...] = ()
    """Public ids of the codes by which the node makes public proofs, ascending, 32 bytes each."""
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
        if len(self.proofs) > MAX_TERMS_PROOFS or any(len(one) != DIGEST for one in self.proofs):
            raise FormatError(f"terms: at most {MAX_TERMS_PROOFS} public ids of {DIGEST} bytes each")
        if any(a >= b for a, b in pairwise(self.proofs)):
            raise FormatError("terms: public ids are in ascending order, each once")

    def _fields(self) -> tuple[wire.Value, ...]:
        promise = (self.numerics, self.base, self.rate, self.retention)
        proofs = (self.proofs,) if self.proofs else ()
        return (KIND, VERSION, self.scheme, self.node, *promise, *proofs)

    @staticmethod
    def of(
        identity: NodeIdentity, *, base: int, rate: int, retention: int, proofs: Iterable[bytes] = ()
    ) -> Terms:
        """Make and sign terms; ``proofs`` are public ids, in any order.

        Raises InputError if a number is outside its range, or there are too many public ids.
        """
        ids = tuple(sorted(set(proofs)))
        terms = Terms(base=base, rate=rate, retention=retention, node=identity.public, proofs=ids)
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
        top = wire.as_list(wire.decode(data, limit=MAX_TERMS, what="terms"), "terms")
        if len(top) not in (_FIELDS, _FIELDS + 1):
            raise FormatError(f"terms: expected {_FIELDS} or {_FIELDS + 1} elements, found {len(top)}")
        wire.check_head(top, KIND, VERSION)
        scheme, node, signature = decode_signer(top[2], top[3], top[-1])
        proofs = wire.as_list(top[8], "public ids", max_n=MAX_TERMS_PROOFS) if len(top) > _FIELDS else None
        if proofs is not None and not proofs:
            raise FormatError("terms: no public ids are left out")
        return Terms(
            numerics=decode_numerics(top[4]),
            base=wire.as_int(top[5], "base seconds", 0, MAX_BASE),
            rate=wire.as_int(top[6], "rows per second", 1, MAX_RATE),
            retention=wire.as_int(top[7], "retention", 0, MAX_SECONDS),
            proofs=tuple(wire.as_bytes(one, "public id", DIGEST) for one in proofs or ()),
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
