"""Receipt: what a node answers and signs (design, section 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from proofcompute import hashing, wire
from proofcompute.errors import FormatError, VerificationError
from proofcompute.limits import MAX_NAME, MAX_RECEIPT, MAX_ROWS, MAX_SEGMENTS
from proofcompute.messages.request import _named_bytes

__all__ = ["STOP_REASONS", "Receipt"]

KIND = "proofcompute receipt"
VERSION = 1

STOP_REASONS = ("complete", "end", "stop", "length")
"""``complete`` for programs that do not generate; end token, stop string, or length for those that do."""


@dataclass(frozen=True)
class Receipt:
    """A node's signed claim. Under 1 KiB besides the outputs."""

    suite: str
    """Hash suite of the trace."""
    model_id: bytes
    request_digest: bytes
    outputs: tuple[tuple[str, bytes], ...]
    """Rows of each public output, little-endian; for a language model the generated tokens."""
    rows: int
    """Rows of the trace."""
    layout: tuple[tuple[int, int], ...]
    """First row of each segment, as runs (first row, segments): lets anybody draw cells from a receipt."""
    stop_reason: str
    trace_root: bytes
    retention: int
    """Seconds for which the node promises to keep the trace and answer challenges."""
    node: bytes
    """Ed25519 public key of the node, 32 bytes."""
    signature: bytes
    """Ed25519 (RFC 8032) over :attr:`signed_digest`, 64 bytes."""

    def _fields(self) -> tuple[wire.Value, ...]:
        return (
            KIND,
            VERSION,
            self.suite,
            self.model_id,
            self.request_digest,
            self.outputs,
            self.rows,
            self.layout,
            self.stop_reason,
            self.trace_root,
            self.retention,
            self.node,
        )

    @cached_property
    def signed_digest(self) -> bytes:
        """What the node signs: the digest of every field but the signature."""
        return hashing.message_digest(self.suite, "receipt body", wire.encode(self._fields()))

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @cached_property
    def digest(self) -> bytes:
        """What a challenge refers to this receipt by, 32 bytes."""
        return hashing.message_digest(self.suite, "receipt", self.encode())

    def signed(self, signature: bytes) -> Receipt:
        """The same receipt with a signature."""
        return replace(self, signature=signature)

    def require_retention(self, seconds: int) -> None:
        """VerificationError (step 5) if the node keeps the trace for less than ``seconds``.

        For a verifier that is about to draw cells, or may later: nobody opens what is dropped by then.
        """
        if self.retention < seconds:
            raise VerificationError(
                5, "the trace is kept too short a time", expected=seconds, found=self.retention
            )

    @staticmethod
    def decode(data: bytes) -> Receipt:
        """The receipt that ``data`` encodes; FormatError or LimitError otherwise."""
        top = wire.as_list(wire.decode(data, limit=MAX_RECEIPT, what="receipt"), "receipt", n=13)
        wire.check_head(top, KIND, VERSION)
        suite = wire.as_str(top[2], "hash suite", MAX_NAME)
        if suite not in hashing.SUITES:
            raise FormatError(f"receipt: hash suite {suite!r} is none of {', '.join(hashing.SUITES)}")
        reason = wire.as_str(top[8], "stop reason", MAX_NAME)
        if reason not in STOP_REASONS:
            raise FormatError(f"receipt: stop reason {reason!r} is none of {', '.join(STOP_REASONS)}")
        return Receipt(
            suite=suite,
            model_id=wire.as_bytes(top[3], "model id", 32),
            request_digest=wire.as_bytes(top[4], "request digest", 32),
            outputs=tuple(_named_bytes(v, "output") for v in wire.as_list(top[5], "outputs", max_n=64)),
            rows=wire.as_int(top[6], "rows", 1, MAX_ROWS),
            layout=tuple(
                (wire.as_int(a, "first row", 0, MAX_ROWS), wire.as_int(n, "segments", 1, MAX_SEGMENTS))
                for a, n in (wire.as_list(v, "layout", n=2) for v in wire.as_list(top[7], "layout", max_n=16))
            ),
            stop_reason=reason,
            trace_root=wire.as_bytes(top[9], "trace root", 32),
            retention=wire.as_int(top[10], "retention", 0, 2**32 - 1),
            node=wire.as_bytes(top[11], "node key", 32),
            signature=wire.as_bytes(top[12], "signature", 64),
        )
