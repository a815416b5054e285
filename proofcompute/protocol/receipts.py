"""Check what all signed messages of a node have in common, and which node may answer a request.

These are steps 1 to 4 of :mod:`proofcompute.verifier.verify`, as far as they apply alike to receipts of a
model's run, receipts of jobs, and terms.
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
from proofcompute.protocol.messages.pipeline import Pipeline
from proofcompute.protocol.messages.receipt import Receipt

__all__ = [
    "Answers",
    "Asked",
    "Encoded",
    "SignedBy",
    "check_named",
    "check_numerics",
    "check_request",
    "check_signer",
    "check_stage",
    "decoded",
    "one_signer",
    "require_addressed",
    "require_pipeline",
]

KEY: Final = 32
"""Bytes of a node's public key, as requests name it."""


class Asked(Protocol):
    """A request of any kind, which a receipt must answer."""

    @property
    def suite(self) -> str:
        """Hash suite that the receipt must have."""
        ...

    @property
    def node(self) -> bytes:
        """Public key of the addressed node, or empty for any node."""
        ...

    @property
    def digest(self) -> bytes:
        """Digest by which a receipt names this request, 32 bytes."""
        ...


class Answers(Protocol):
    """A message that names the request to which it belongs."""

    @property
    def suite(self) -> str:
        """Hash suite."""
        ...

    @property
    def request_digest(self) -> bytes:
        """Digest of the request, 32 bytes."""
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
        """Signature over :attr:`signed_digest`."""
        ...

    @property
    def signed_digest(self) -> bytes:
        """Digest that the node signs, 32 bytes."""
        ...


class Encoded(Protocol):
    """A message that has canonical bytes."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        ...


_Message = TypeVar("_Message", bound="Encoded")


# -- a node's side -------------------------------------------------------------------------------------------
def require_addressed(request: Asked, node: bytes) -> None:
    """Raise MismatchError if ``request`` addresses another node than the one with this public key.

    Everything that answers or signs calls this. If a node served requests addressed to another node, that
    node could relay its work here and sign the result.
    """
    if request.node and request.node != node:
        mine = node.hex() or "a node without a key"
        raise MismatchError(f"the request addresses another node, {request.node.hex()}; this is {mine}")


def require_pipeline(request: Asked, pipeline: Pipeline, segments: int) -> None:
    """Raise MismatchError unless a request addresses this pipeline, and it has a program's segments."""
    if request.node != pipeline.digest:
        raise MismatchError(
            f"the request addresses {request.node.hex() or 'any node'}, not pipeline {pipeline.digest.hex()}"
        )
    if pipeline.end != segments:
        raise MismatchError(f"the pipeline has {pipeline.end} segments, the program {segments}")


# -- the verifier's steps ------------------------------------------------------------------------------------
def decoded(decode: Callable[[bytes], _Message], data: bytes, what: str) -> _Message:
    """Decode a node's bytes (step 1). Raises VerificationError unless they are a canonical message."""
    try:
        message = decode(data)
        if message.encode() != data:
            raise FormatError(f"{what} is not canonical")
    except (FormatError, LimitError, UnsupportedError) as e:
        raise VerificationError(1, str(e)) from e
    return message


def one_signer(node: bytes | None, named: bytes = b"") -> bytes | None:
    """Return the public key that must have signed, or None if any may have.

    ``node`` is the caller's argument (None: any), ``named`` the key in its request (empty: any). Raises
    MismatchError if they differ, since no node can satisfy both, and InputError if ``node`` is not a public
    key.
    """
    if node is not None and len(given(node, bytes, "a node's public key")) != KEY:
        raise InputError(f"a node's public key has {KEY} bytes, not {len(node)}")
    if node and named and node != named:
        raise MismatchError(f"the request is for node {named.hex()}, not for {node.hex()}")
    return node or named or None


def check_named(message: SignedBy, wanted: bytes | None) -> None:
    """Raise VerificationError (step 2) unless the message names the node ``wanted`` (None: any)."""
    if wanted is not None and wanted != message.node:
        raise VerificationError(2, "signed by another node", expected=wanted.hex(), found=message.node.hex())


def check_signer(message: SignedBy, wanted: bytes | None) -> None:
    """Raise VerificationError (step 2) unless ``wanted`` (None: any node) signed the message."""
    check_named(message, wanted)
    if not signature_holds(message.node, message.signed_digest, message.signature):
        raise VerificationError(2, "the node's signature does not hold")


def check_stage(receipt: Receipt, pipeline: Pipeline | None) -> None:
    """Raise VerificationError (step 2) unless a receipt is for a stage of ``pipeline`` and of its signer.

    Without a pipeline the receipt must be for the whole run.
    """
    if receipt.pipeline != pipeline:
        wanted = "the whole run" if pipeline is None else f"a stage of pipeline {pipeline.digest.hex()}"
        raise VerificationError(2, f"the receipt is not for {wanted}")
    if pipeline is not None and pipeline.stages[receipt.stage].node != receipt.node:
        raise VerificationError(
            2,
            f"the node signed for stage {receipt.stage}, which is another node's",
            expected=pipeline.stages[receipt.stage].node.hex(),
            found=receipt.node.hex(),
        )


def check_numerics(numerics: int) -> None:
    """Raise VerificationError (step 3) unless the message names this package's version of the arithmetic."""
    if numerics != NUMERICS:
        raise VerificationError(
            3, "another version of the arithmetic, which cannot be checked", expected=NUMERICS, found=numerics
        )


def check_request(receipt: Answers, request: Asked) -> None:
    """Raise VerificationError (step 4) unless the receipt is for the request that the verifier holds."""
    if receipt.suite != request.suite:
        raise VerificationError(4, "another hash suite", expected=request.suite, found=receipt.suite)
    if receipt.request_digest != request.digest:
        raise VerificationError(
            4,
            "another request; if you asked more than once, give the one that was answered",
            expected=request.digest.hex(),
            found=receipt.request_digest.hex(),
        )
