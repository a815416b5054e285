"""The steps that every message of a node goes through, whatever was computed, and who may answer a request.

Steps 1 to 4 of :mod:`proofcompute.verifier.verify`, as far as they concern what receipts of a model's run,
receipts of jobs and terms have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments.signing import signature_holds
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    UnsupportedError,
    VerificationError,
)
from proofcompute.errors.arguments import given
from proofcompute.protocol.messages.signed import Signed

__all__ = [
    "Asked",
    "Encoded",
    "SignedBy",
    "check_named",
    "check_numerics",
    "check_request",
    "check_signer",
    "decoded",
    "one_signer",
    "require_addressed",
]

KEY: Final = 32
"""Bytes of a node's public key, as requests name it."""


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


class Encoded(Protocol):
    """A message that has canonical bytes."""

    def encode(self) -> bytes:
        """Those bytes."""
        ...


_Message = TypeVar("_Message", bound="Encoded")


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
