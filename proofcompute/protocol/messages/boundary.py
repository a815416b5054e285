"""Define the boundary, what a node of a pipeline signs about the rows that it hands on
(docs/spec/pipelines.md#boundary).

A stage hands rows of committed groups to later stages, some in each step. With them goes the root of each
group's tree over all rows so far, signed. So the receiver can show what it was given: a node that commits to
other rows in its receipt than it handed on has signed both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519, NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_ITEMS, MAX_ROWS
from proofcompute.protocol.messages.pipeline import MAX_STAGES
from proofcompute.protocol.messages.signed import decode_signer, decode_suite

__all__ = ["MAX_BOUNDARY", "Boundary"]

KIND: Final = "proofcompute boundary"
VERSION: Final = 1
MAX_BOUNDARY: Final = 1 << 20
"""Most bytes of an encoded boundary."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """A node's signed statement about the rows of its stage that it handed on."""

    suite: str
    """Hash suite of the roots, which is the request's."""
    model_id: bytes
    request_digest: bytes
    stage: int
    """The node's stage in the pipeline that the request addresses."""
    rows: int
    """Number of rows so far."""
    roots: tuple[bytes, ...]
    """Root over those rows of each group that the stage writes and a later one reads, in program order."""
    scheme: str = ED25519
    """Signature scheme, which fixes the sizes of key and signature."""
    node: bytes
    """Public key of the node."""
    signature: bytes = b""
    """Signature over :attr:`signed_digest`, which covers the scheme."""

    def _fields(self) -> tuple[wire.Value, ...]:
        about = (self.suite, self.model_id, self.request_digest, self.stage, self.rows, self.roots)
        return (KIND, VERSION, *about, self.scheme, self.node)

    @cached_property
    def signed_digest(self) -> bytes:
        """Digest that the node signs, over every field except the signature."""
        return hashing.message_digest(self.suite, "boundary body", wire.encode(self._fields()))

    def signed(self, identity: NodeIdentity) -> Boundary:
        """Return the same boundary with a signature."""
        return replace(self, signature=identity.sign(self.signed_digest))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @staticmethod
    def decode(data: bytes) -> Boundary:
        """Decode a boundary without checking the signature.

        Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_BOUNDARY, what="boundary"), "boundary", n=11)
        wire.check_head(top, KIND, VERSION)
        roots = wire.as_list(top[7], "roots", max_n=MAX_ITEMS)
        if not roots:
            raise FormatError("a boundary has at least one root")
        scheme, node, signature = decode_signer(top[8], top[9], top[10])
        return Boundary(
            suite=decode_suite(top[2]),
            model_id=wire.as_bytes(top[3], "model id", DIGEST),
            request_digest=wire.as_bytes(top[4], "request digest", DIGEST),
            stage=wire.as_int(top[5], "stage", 0, MAX_STAGES - 1),
            rows=wire.as_int(top[6], "rows", 1, MAX_ROWS),
            roots=tuple(wire.as_bytes(root, "root", DIGEST) for root in roots),
            scheme=scheme,
            node=node,
            signature=signature,
        )
