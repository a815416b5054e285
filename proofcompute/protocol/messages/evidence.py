"""Define evidence, what an auditor says about one receipt and what it has to show for it
(docs/spec/evidence.md#the-bundle).

A bundle of evidence is a file: the frame that is defined here, then the opening as one byte string, exactly
as it was received (:mod:`proofcompute.protocol.bundle`). The auditor signs
digest("evidence", every element but the last two) in SHA-256. The last two are the signature and the request.
What is signed holds the request's digest, so a request can be left out of a signed bundle, for the sake of
whoever wrote the prompt, and be added again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import ED25519
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, MismatchError
from proofcompute.limits import (
    MAX_CHALLENGE,
    MAX_EVIDENCE,
    MAX_EVIDENCE_OPENING,
    MAX_NAME,
    MAX_RECEIPT,
    MAX_REQUEST,
    MAX_ROWS,
    MAX_SEGMENTS,
    MAX_TERMS,
)
from proofcompute.protocol.messages.request import Request
from proofcompute.protocol.messages.signed import decode_signer

__all__ = ["OUTCOMES", "Evidence", "Outcome", "no_opening", "opening_state"]

KIND: Final = "proofcompute evidence"
VERSION: Final = 1
OUTCOMES: Final = ("accepted", "contradicted", "silent", "refused")
"""What an auditor can say: everything it checked holds; a step failed; no valid opening came by the deadline;
the node said that it does not open."""
MAX_MILLISECONDS: Final = 2**53 - 1
"""The latest time and the longest wait that evidence can state: the integers that binary64 has exactly."""
STEPS: Final = 10
"""Number of steps of the verification."""


@dataclass(frozen=True)
class Outcome:
    """What the auditor found, in its own words."""

    kind: str
    """One of :data:`OUTCOMES`."""
    step: int = 0
    """The step that failed, 1 to 10, if the outcome is ``contradicted``, and 0 otherwise."""
    cell: Cell | None = None
    """The cell that was being checked when the step failed, if any."""
    operation: str = ""
    """The operation that was being checked when the step failed, or empty."""

    def __post_init__(self) -> None:
        if self.kind not in OUTCOMES:
            raise FormatError(f"an outcome is one of {', '.join(OUTCOMES)}")
        if self.kind == "contradicted":
            if not 1 <= self.step <= STEPS:
                raise FormatError(f"the failed step {self.step} is outside 1..{STEPS}")
        elif (self.step, self.cell, self.operation) != (0, None, ""):
            raise FormatError("a step, a cell and an operation belong to a contradiction only")

    def __str__(self) -> str:
        where = f", {self.cell}" if self.cell is not None else ""
        what = f", {self.operation}" if self.operation else ""
        return f"{self.kind}{f' at step {self.step}' if self.step else ''}{where}{what}"

    def value(self) -> wire.Value:
        """Return the value to encode."""
        return self.kind, self.step, () if self.cell is None else tuple(self.cell), self.operation

    @staticmethod
    def from_value(value: wire.Value) -> Outcome:
        """Decode an outcome. Raises FormatError or LimitError if ``value`` is none."""
        kind, step, cell, operation = wire.as_list(value, "outcome", n=4)
        return Outcome(
            wire.as_str(kind, "outcome", MAX_NAME),
            wire.as_int(step, "failed step", 0, STEPS),
            _cell(cell) if cell != () else None,
            wire.as_str(operation, "operation", MAX_NAME),
        )


def _cell(value: wire.Value) -> Cell:
    segment, a, b = wire.as_list(value, "cell", n=3)
    cell = Cell(
        wire.as_int(segment, "segment", 0, MAX_SEGMENTS),
        wire.as_int(a, "first row", 0, MAX_ROWS),
        wire.as_int(b, "end row", 0, MAX_ROWS),
    )
    if cell.a >= cell.b:
        raise FormatError(f"evidence: {cell} is empty")
    return cell


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an auditor says about a receipt, and what it was sent; all but the opening itself."""

    request_digest: bytes
    """Digest of the request, 32 bytes."""
    receipt: bytes
    """The receipt exactly as it was received."""
    terms: bytes = b""
    """The node's terms, encoded, or empty."""
    challenge: bytes = b""
    """The challenge that the auditor sent, encoded, or empty if it sent none."""
    sent: int = 0
    """When the challenge was sent, in milliseconds since the Unix epoch, by the auditor's clock; or 0."""
    waited: int = 0
    """Milliseconds from the challenge until the whole opening had come, or until the auditor gave up."""
    outcome: Outcome
    """What the auditor found."""
    opening_size: int = 0
    """Bytes of the opening as it was received; 0 if none was."""
    opening_digest: bytes
    """Digest of the opening, 32 bytes."""
    made: int
    """When the auditor signed, in milliseconds since the Unix epoch by its clock."""
    scheme: str = ED25519
    """Signature scheme, which fixes the sizes of key and signature."""
    auditor: bytes
    """Public key of the auditor."""
    signature: bytes = b""
    """Signature over :attr:`signed_digest` under the auditor's key."""
    request: bytes = b""
    """The request, encoded, or empty if it is not disclosed. It is not signed: its digest is."""

    def __post_init__(self) -> None:
        if not self.challenge:
            if self.outcome.kind in ("silent", "refused"):
                raise FormatError(f"evidence: {self.outcome.kind} takes the challenge that was sent")
            if self.opening_size or self.sent or self.waited:
                raise FormatError("evidence: an opening and its times take the challenge that was sent")
        if not self.opening_size and self.opening_digest != no_opening():
            raise FormatError("evidence: the digest of no opening is that of no bytes")

    def _signed_fields(self) -> tuple[wire.Value, ...]:
        return (
            KIND,
            VERSION,
            self.request_digest,
            self.receipt,
            self.terms,
            self.challenge,
            self.sent,
            self.waited,
            self.outcome.value(),
            self.opening_size,
            self.opening_digest,
            self.made,
            self.scheme,
            self.auditor,
        )

    @cached_property
    def signed_digest(self) -> bytes:
        """Digest that the auditor signs, over every field except the signature and the request."""
        return hashing.message_digest("sha256", "evidence", wire.encode(self._signed_fields()))

    def signed(self, signature: bytes) -> Evidence:
        """Return the same evidence with a signature."""
        return replace(self, signature=signature)

    def with_request(self, request: Request | None) -> Evidence:
        """Return the same evidence with its request disclosed, or with none; the signature still holds.

        Raises MismatchError if this is not the request that the evidence is about.
        """
        if request is not None and request.digest != self.request_digest:
            raise MismatchError(
                f"the evidence is about the request {self.request_digest.hex()}, not {request.digest.hex()}"
            )
        return replace(self, request=b"" if request is None else request.encode())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._signed_fields(), self.signature, self.request))

    @staticmethod
    def decode(data: bytes | memoryview) -> Evidence:
        """Decode the first frame of a bundle, without checking a signature.

        Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none, and FormatError if a
        disclosed request does not have the digest that was signed.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_EVIDENCE, what="evidence"), "evidence", n=16)
        wire.check_head(top, KIND, VERSION)
        scheme, auditor, signature = decode_signer(top[12], top[13], top[14])
        found = Evidence(
            request_digest=wire.as_bytes(top[2], "request digest", DIGEST),
            receipt=wire.as_bytes(top[3], "receipt", max_size=MAX_RECEIPT),
            terms=wire.as_bytes(top[4], "terms", max_size=MAX_TERMS),
            challenge=wire.as_bytes(top[5], "challenge", max_size=MAX_CHALLENGE),
            sent=wire.as_int(top[6], "time of the challenge", 0, MAX_MILLISECONDS),
            waited=wire.as_int(top[7], "wait for the opening", 0, MAX_MILLISECONDS),
            outcome=Outcome.from_value(top[8]),
            opening_size=wire.as_int(top[9], "size of the opening", 0, MAX_EVIDENCE_OPENING),
            opening_digest=wire.as_bytes(top[10], "digest of the opening", DIGEST),
            made=wire.as_int(top[11], "time of the evidence", 0, MAX_MILLISECONDS),
            scheme=scheme,
            auditor=auditor,
            signature=signature,
            request=wire.as_bytes(top[15], "request", max_size=MAX_REQUEST),
        )
        found.disclosed()
        return found

    def disclosed(self) -> Request | None:
        """Return the request, or None if it is not disclosed.

        Raises FormatError, InputError or LimitError if it is no request, or another than that of the digest.
        """
        if not self.request:
            return None
        request = Request.decode(self.request)
        if request.digest != self.request_digest:
            raise FormatError("evidence: the request is not the one whose digest was signed")
        return request


def opening_state() -> hashing.State:
    """Return the state of the digest of an opening, to which its bytes are then appended."""
    return hashing.message_state("blake3", "evidence opening")


@lru_cache(maxsize=1)
def no_opening() -> bytes:
    """Return the digest of an opening that never came, 32 bytes."""
    return opening_state().digest()
