"""Define the fields that all receipts share, and decode them.

A receipt of a model's run and a receipt of a job differ in what they claim. Both name a hash suite, the
answered request, the version of the arithmetic, the terms, the retention, the signer and the signature
scheme, and both are signed over the digest of all fields. The steps that check the shared fields are in
:mod:`proofcompute.protocol.receipts` and :mod:`proofcompute.protocol.promises`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, TypedDict

from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519, scheme_of
from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_NAME

__all__ = [
    "MAX_SECONDS",
    "TAIL",
    "Signed",
    "Tail",
    "decode_numerics",
    "decode_signer",
    "decode_suite",
    "decode_tail",
]

MAX_SECONDS = 2**32 - 1
"""The longest retention that a message can state, in seconds."""
MAX_NUMERICS = 2**32 - 1
"""The greatest version of the arithmetic that a message can state."""
_LONG = 1 << 18
"""Bytes of a receipt from which on a second thread pays."""
TAIL = 6
"""Number of elements at the end of every receipt: numerics, terms, retention, scheme, node, signature."""


@dataclass(frozen=True, kw_only=True)
class Signed(ABC):
    """A node's signed claim about one request."""

    WHAT: ClassVar[str]
    """The message's name; its kind is ``proofcompute WHAT``, and its digests are named after it."""
    VERSION: ClassVar[int]
    """The version of the message where it has no element that only later versions have."""

    suite: str
    """Hash suite of the receipt and of what it commits to."""
    request_digest: bytes
    numerics: int = NUMERICS
    """Version of the canonical arithmetic by which the answer was computed."""
    terms_digest: bytes = b""
    """Digest of the terms under which the node answers challenges, or empty if it states none."""
    retention: int
    """Seconds for which the node promises to answer challenges."""
    scheme: str = ED25519
    """Signature scheme, which fixes the sizes of key and signature."""
    node: bytes
    """Public key of the node."""
    signature: bytes = b""
    """Signature over :attr:`signed_digest`, which covers the scheme."""

    @property
    @abstractmethod
    def version(self) -> int:
        """Version of the message."""

    @abstractmethod
    def _claims(self) -> tuple[wire.Value, ...]:
        """Return the elements between the suite and the tail, including the request's digest."""

    def _fields(self) -> tuple[wire.Value, ...]:
        tail = (self.numerics, self.terms_digest, self.retention, self.scheme, self.node)
        return (f"proofcompute {self.WHAT}", self.version, self.suite, *self._claims(), *tail)

    @cached_property
    def signed_digest(self) -> bytes:
        """Digest that the node signs, over every field except the signature."""
        return hashing.message_digest(self.suite, f"{self.WHAT} body", wire.encode(self._fields()))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @cached_property
    def digest(self) -> bytes:
        """Digest by which a challenge names this receipt, 32 bytes."""
        return hashing.message_digest(self.suite, self.WHAT, self.encode())

    def signed(self, signature: bytes) -> Self:
        """Return the same receipt with a signature."""
        return replace(self, signature=signature)

    def signed_by(self, sign: Callable[[bytes], bytes]) -> Self:
        """Return the same receipt with the signature that ``sign`` makes of :attr:`signed_digest`.

        A long receipt is encoded once, and hashed for both digests on two threads.
        """
        fields = self._fields()
        body = wire.encode(fields)
        if len(body) < _LONG:
            return self.signed(sign(self.signed_digest))
        items = memoryview(body)[len(wire.head(wire.ARRAY, len(fields))) :]
        with ThreadPoolExecutor(1) as pool:
            whole = pool.submit(self._begun, len(fields) + 1, items)
            begun = hashing.message_state(self.suite, f"{self.WHAT} body")
            begun.update(body)
            found = self.signed(sign(begun.digest()))
            state = whole.result()
        state.update(wire.encode(found.signature))
        found.__dict__["digest"] = state.digest()
        return found

    def _begun(self, count: int, items: memoryview) -> hashing.State:
        """Return the state of the digest before the last of so many elements."""
        state = hashing.message_state(self.suite, self.WHAT)
        state.update(wire.head(wire.ARRAY, count))
        state.update(items)
        return state


class Tail(TypedDict):
    """The fields that :data:`TAIL` counts, as arguments of :class:`Signed`."""

    numerics: int
    terms_digest: bytes
    retention: int
    scheme: str
    node: bytes
    signature: bytes


def decode_suite(value: wire.Value) -> str:
    """Decode the name of a hash suite. Raises FormatError if it is none."""
    suite = wire.as_str(value, "hash suite", MAX_NAME)
    if suite not in hashing.SUITES:
        raise FormatError(f"hash suite {suite!r} is none of {', '.join(hashing.SUITES)}")
    return suite


def decode_numerics(value: wire.Value) -> int:
    """Decode a version of the arithmetic. Raises FormatError if it is none; step 3 checks it."""
    return wire.as_int(value, "numerics version", 1, MAX_NUMERICS)


def decode_signer(scheme: wire.Value, node: wire.Value, signature: wire.Value) -> tuple[str, bytes, bytes]:
    """Decode scheme, key and signature.

    Raises FormatError or LimitError if they do not have the scheme's sizes, and UnsupportedError for a scheme
    that is reserved.
    """
    name = wire.as_str(scheme, "signature scheme", MAX_NAME)
    sizes = scheme_of(name)
    return (
        name,
        wire.as_bytes(node, "node key", sizes.key),
        wire.as_bytes(signature, "signature", sizes.signature),
    )


def decode_tail(values: Sequence[wire.Value]) -> Tail:
    """Decode the last TAIL elements of a receipt. Raises FormatError, LimitError or UnsupportedError."""
    numerics, terms, retention, *signer = values
    scheme, node, signature = decode_signer(*signer)
    digest = wire.as_bytes(terms, "terms digest", max_size=DIGEST)
    if len(digest) not in (0, DIGEST):
        raise FormatError(f"terms digest has {len(digest)} bytes")
    return {
        "numerics": decode_numerics(numerics),
        "terms_digest": digest,
        "retention": wire.as_int(retention, "retention", 0, MAX_SECONDS),
        "scheme": scheme,
        "node": node,
        "signature": signature,
    }
