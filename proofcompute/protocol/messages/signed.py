"""What every receipt ends with, whatever was computed, and the steps that every receipt goes through.

A receipt of a model's run and one of a job differ in what they claim. Both name a hash suite, the request
answered, the version of the arithmetic, the terms, a time of retention, and who signs by which scheme; and
both are signed over the digest of all that. Steps 1 to 5 of :mod:`proofcompute.verifier.verify` that concern
these fields are here, once for all receipts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Final, Protocol, Self, TypedDict, TypeVar

from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519, scheme_of, signature_holds
from proofcompute.encoding import wire
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    UnsupportedError,
    VerificationError,
)
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_NAME

__all__ = [
    "MAX_SECONDS",
    "TAIL",
    "Asked",
    "Signed",
    "SignedBy",
    "Tail",
    "check_named",
    "check_numerics",
    "check_request",
    "check_signer",
    "decode_signer",
    "decode_suite",
    "decode_tail",
    "decoded",
    "one_signer",
    "require_addressed",
]

MAX_SECONDS = 2**32 - 1
"""The longest retention that a message can state."""
MAX_NUMERICS = 2**32 - 1
"""The greatest version of the arithmetic that a message can state."""
KEY: Final = 32
"""Bytes of a node's public key, as requests name it."""
TAIL = 6
"""Elements at the end of every receipt: numerics, terms, retention, scheme, node, signature."""


class Asked(Protocol):
    """A request, of whatever: what a receipt must answer."""

    @property
    def suite(self) -> str:
        """Hash suite of the receipt wanted."""
        ...

    @property
    def node(self) -> bytes:
        """Public key of the node addressed, or empty for any node."""
        ...

    @property
    def digest(self) -> bytes:
        """What a receipt refers to this request by, 32 bytes."""
        ...


class SignedBy(Protocol):
    """A message that a node signed."""

    @property
    def scheme(self) -> str:
        """Signature scheme."""
        ...

    @property
    def node(self) -> bytes:
        """Public key of the node."""
        ...

    @property
    def signature(self) -> bytes:
        """Over :attr:`signed_digest`."""
        ...

    @property
    def signed_digest(self) -> bytes:
        """What the node signs, 32 bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Signed(ABC):
    """A node's signed claim about one request."""

    WHAT: ClassVar[str]
    """The message's name; its kind is ``proofcompute WHAT``, and its digests are named after it."""
    VERSION: ClassVar[int]

    suite: str
    """Hash suite of the receipt and of what it commits to."""
    request_digest: bytes
    numerics: int = NUMERICS
    """Version of the canonical arithmetic by which the answer was computed."""
    terms_digest: bytes = b""
    """Digest of the terms under which the node answers challenges, or empty: it states none."""
    retention: int
    """Seconds for which the node promises to answer challenges."""
    scheme: str = ED25519
    """Signature scheme; the sizes of key and signature follow from it."""
    node: bytes
    """Public key of the node."""
    signature: bytes = b""
    """Over :attr:`signed_digest`; the scheme is inside what is signed."""

    @abstractmethod
    def _claims(self) -> tuple[wire.Value, ...]:
        """The elements between the suite and the tail, the request's digest among them."""

    def _fields(self) -> tuple[wire.Value, ...]:
        tail = (self.numerics, self.terms_digest, self.retention, self.scheme, self.node)
        return (f"proofcompute {self.WHAT}", self.VERSION, self.suite, *self._claims(), *tail)

    @cached_property
    def signed_digest(self) -> bytes:
        """What the node signs: the digest of every field but the signature."""
        return hashing.message_digest(self.suite, f"{self.WHAT} body", wire.encode(self._fields()))

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @cached_property
    def digest(self) -> bytes:
        """What a challenge refers to this receipt by, 32 bytes."""
        return hashing.message_digest(self.suite, self.WHAT, self.encode())

    def signed(self, signature: bytes) -> Self:
        """The same receipt with a signature."""
        return replace(self, signature=signature)

    def require_retention(self, seconds: int) -> None:
        """VerificationError (step 5) if the node answers challenges for less than ``seconds``.

        For a verifier that is about to draw cells, or may later: nobody opens what is dropped by then.
        """
        if self.retention < seconds:
            raise VerificationError(
                5, "the trace is kept too short a time", expected=seconds, found=self.retention
            )


class Tail(TypedDict):
    """The fields that :data:`TAIL` counts, as :class:`Signed` takes them."""

    numerics: int
    terms_digest: bytes
    retention: int
    scheme: str
    node: bytes
    signature: bytes


def decode_suite(value: wire.Value) -> str:
    """The name of a hash suite; FormatError if it is none."""
    suite = wire.as_str(value, "hash suite", MAX_NAME)
    if suite not in hashing.SUITES:
        raise FormatError(f"hash suite {suite!r} is none of {', '.join(hashing.SUITES)}")
    return suite


def decode_numerics(value: wire.Value) -> int:
    """A version of the arithmetic; FormatError if it is none. Whether it is supported is step 3."""
    return wire.as_int(value, "numerics version", 1, MAX_NUMERICS)


def decode_signer(scheme: wire.Value, node: wire.Value, signature: wire.Value) -> tuple[str, bytes, bytes]:
    """Scheme, key and signature, of the sizes that the scheme has.

    Raises FormatError, LimitError, or UnsupportedError for a scheme that is reserved.
    """
    name = wire.as_str(scheme, "signature scheme", MAX_NAME)
    sizes = scheme_of(name)
    return (
        name,
        wire.as_bytes(node, "node key", sizes.key),
        wire.as_bytes(signature, "signature", sizes.signature),
    )


def decode_tail(values: Sequence[wire.Value]) -> Tail:
    """The last TAIL elements of a receipt; FormatError, LimitError or UnsupportedError if they are not."""
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


# -- a node's side -------------------------------------------------------------------------------------------
def require_addressed(request: Asked, node: bytes) -> None:
    """MismatchError if ``request`` addresses another node than the one with this public key.

    Everything that answers or signs asks here. Were a node to serve what was addressed to another one, that
    one could have its work done by relaying, and sign the result.
    """
    if request.node and request.node != node:
        mine = node.hex() or "a node without a key"
        raise MismatchError(f"the request addresses another node, {request.node.hex()}; this is {mine}")


# -- the verifier's steps ------------------------------------------------------------------------------------
_Message = TypeVar("_Message", bound="Encoded")


class Encoded(Protocol):
    """A message that has canonical bytes."""

    def encode(self) -> bytes:
        """Those bytes."""
        ...


def decoded(decode: Callable[[bytes], _Message], data: bytes, what: str) -> _Message:
    """Step 1: the message that a node's bytes are, in their canonical form."""
    try:
        message = decode(data)
        if message.encode() != data:
            raise FormatError(f"{what} is not canonical")
    except (FormatError, LimitError, UnsupportedError) as e:
        raise VerificationError(1, str(e)) from e
    return message


def one_signer(node: bytes | None, named: bytes = b"") -> bytes | None:
    """Who must have signed, as the verifier itself says in two places; None if it says so nowhere.

    ``node`` is the caller's argument (None: any), ``named`` the key in its request (empty: any).
    MismatchError if they differ: no node can satisfy that, so it is no node's fault. InputError if ``node``
    is no public key.
    """
    if node is not None and len(given(node, bytes, "a node's public key")) != KEY:
        raise InputError(f"a node's public key has {KEY} bytes, not {len(node)}")
    if node and named and node != named:
        raise MismatchError(f"the request is for node {named.hex()}, not for {node.hex()}")
    return node or named or None


def check_named(message: SignedBy, wanted: bytes | None) -> None:
    """Step 2, in part: the message names the node that is ``wanted`` (None: any)."""
    if wanted is not None and wanted != message.node:
        raise VerificationError(2, "signed by another node", expected=wanted.hex(), found=message.node.hex())


def check_signer(message: SignedBy, wanted: bytes | None) -> None:
    """Step 2: the node is the one ``wanted`` (None: any), and its signature holds."""
    check_named(message, wanted)
    if not signature_holds(message.node, message.signed_digest, message.signature):
        raise VerificationError(2, "the node's signature does not hold")


def check_numerics(numerics: int) -> None:
    """Step 3, in part: the answer was computed by the arithmetic that is defined here."""
    if numerics != NUMERICS:
        raise VerificationError(
            3, "another version of the arithmetic, which cannot be checked", expected=NUMERICS, found=numerics
        )


def check_request(receipt: Signed, request: Asked) -> None:
    """Step 4: the receipt is for the request that the verifier holds."""
    if receipt.suite != request.suite:
        raise VerificationError(4, "another hash suite", expected=request.suite, found=receipt.suite)
    if receipt.request_digest != request.digest:
        raise VerificationError(
            4,
            "another request; if you asked more than once, give the one that was answered",
            expected=request.digest.hex(),
            found=receipt.request_digest.hex(),
        )
