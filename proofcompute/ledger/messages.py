"""Define what a ledger's log holds and what its operator signs (docs/spec/ledger.md#messages)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.log_tree import HASH
from proofcompute.commitments.signing import ED25519, NodeIdentity, scheme_of, signature_holds
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError, LedgerError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_NAME, MAX_VERDICT
from proofcompute.protocol.messages import Outcome
from proofcompute.verdicts.statement import CHECKS

__all__ = ["MAX_HEAD", "MAX_SIZE", "PARTS", "AuditVerdict", "TreeHead"]

KIND: Final = "proofcompute audit verdict"
HEAD: Final = "proofcompute ledger head"
VERSION: Final = 1
PARTS: Final = 10**9
"""In how many parts a probability is written: messages have no fractions."""
MAX_TIME: Final = 2**53 - 1
"""The latest time, in milliseconds: the integers that binary64 has exactly."""
MAX_CELLS: Final = 2**53 - 1
MAX_SIZE: Final = 2**53 - 1
"""The most leaves of a log."""
MAX_HEAD: Final = 1 << 10
"""Bytes of a signed head."""
_KEY, _SIGNATURE = scheme_of(ED25519)


@dataclass(frozen=True, kw_only=True)
class AuditVerdict:
    """What one auditor found of one receipt, signed: a leaf of the log."""

    receipt_digest: bytes
    """Digest of the signed receipt, 32 bytes."""
    request_digest: bytes
    """Digest of the request, 32 bytes."""
    model_id: bytes
    """The model that the receipt names, 32 bytes."""
    node: bytes
    """Public key of the node, 32 bytes."""
    check: str
    """What was checked: ``receipt``, ``cells`` or ``replay``."""
    challenge_digest: bytes = b""
    """Digest of the challenge, if cells were checked; else empty."""
    outcome: Outcome
    """What was found."""
    cells: int = 0
    """Single-row cells that were to be checked."""
    total: int = 0
    """Single-row cells of the whole answer; 0 if that is not known."""
    detection: int = 0
    """Probability with which this check finds the alteration that the auditor looks for, in :data:`PARTS`."""
    evidence_digest: bytes = b""
    """SHA-256 digest of the bundle of evidence, or empty if none was made."""
    made: int
    """When the auditor signed, in milliseconds since the Unix epoch."""
    auditor: bytes = b""
    """The auditor's public key, 32 bytes."""
    signature: bytes = b""
    """Signature of :attr:`digest`, 64 bytes."""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise FormatError(f"audit verdict: the check is one of {', '.join(CHECKS)}")
        if bool(self.challenge_digest) != (self.check == "cells"):
            raise FormatError("audit verdict: a challenge belongs to a check of cells, and to no other")
        kind, step = self.outcome.kind, self.outcome.step
        if kind in ("silent", "refused") and self.check != "cells":
            raise FormatError(f"audit verdict: {kind} is said of a challenge")
        if kind == "accepted" and self.check == "receipt":
            raise FormatError("audit verdict: nobody accepts an answer of which only the receipt was checked")
        if kind == "contradicted" and step not in CHECKS[self.check]:
            raise FormatError(f"audit verdict: step {step} cannot fail in a check of {self.check}")
        if self.total and self.cells > self.total:
            raise FormatError(f"audit verdict: {self.cells} cells of {self.total}")

    @property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """What an auditor may say one thing about: receipt, challenge and its own key."""
        return self.receipt_digest, self.challenge_digest, self.auditor

    @property
    def chance(self) -> float:
        """The probability of detection, 0 to 1."""
        return self.detection / PARTS

    @property
    def complete(self) -> bool:
        """Whether the whole answer was checked and holds."""
        return self.outcome.kind == "accepted" and (self.check == "replay" or self.cells == self.total > 0)

    def agrees(self, other: AuditVerdict) -> bool:
        """Whether two verdicts say the same about the same; times and how much was checked may differ."""
        about = ("receipt_digest", "request_digest", "model_id", "node", "check", "challenge_digest")
        return all(getattr(self, name) == getattr(other, name) for name in (*about, "outcome"))

    @cached_property
    def digest(self) -> bytes:
        """What the auditor signs, 32 bytes."""
        return hashing.message_digest("sha256", "audit verdict", wire.encode(self._signed()))

    def signed(self, identity: NodeIdentity) -> AuditVerdict:
        """Return the verdict with an auditor's key and signature."""
        named = replace(self, auditor=identity.public, signature=b"")
        return replace(named, signature=identity.sign(named.digest))

    def check_signature(self) -> None:
        """Raise LedgerError unless the auditor signed this."""
        if not signature_holds(self.auditor, self.digest, self.signature):
            raise LedgerError(f"the signature of the auditor {self.auditor.hex()} does not hold")

    def _signed(self) -> tuple[wire.Value, ...]:
        about = (self.receipt_digest, self.request_digest, self.model_id, self.node)
        found = (self.check, self.challenge_digest, self.outcome.value())
        much = (self.cells, self.total, self.detection)
        return (KIND, VERSION, *about, *found, *much, self.evidence_digest, self.made, self.auditor)

    def encode(self) -> bytes:
        """Return the canonical bytes: those of a leaf."""
        return wire.encode((*self._signed(), self.signature))

    @staticmethod
    def decode(data: bytes) -> AuditVerdict:
        """Decode a verdict without checking its signature. Raises FormatError or LimitError if it is none."""
        top = wire.as_list(wire.decode(data, limit=MAX_VERDICT, what="audit verdict"), "audit verdict", n=16)
        wire.check_head(top, KIND, VERSION)
        return AuditVerdict(
            receipt_digest=wire.as_bytes(top[2], "receipt digest", DIGEST),
            request_digest=wire.as_bytes(top[3], "request digest", DIGEST),
            model_id=wire.as_bytes(top[4], "model id", DIGEST),
            node=wire.as_bytes(top[5], "key of the node", _KEY),
            check=wire.as_str(top[6], "check", MAX_NAME),
            challenge_digest=_digest_or_empty(top[7], "challenge digest"),
            outcome=Outcome.from_value(top[8]),
            cells=wire.as_int(top[9], "cells", 0, MAX_CELLS),
            total=wire.as_int(top[10], "cells of the answer", 0, MAX_CELLS),
            detection=wire.as_int(top[11], "probability of detection", 0, PARTS),
            evidence_digest=_digest_or_empty(top[12], "evidence digest"),
            made=wire.as_int(top[13], "time of the verdict", 0, MAX_TIME),
            auditor=wire.as_bytes(top[14], "key of the auditor", _KEY),
            signature=wire.as_bytes(top[15], "signature", _SIGNATURE),
        )


@dataclass(frozen=True, kw_only=True)
class TreeHead:
    """What a ledger's operator says its log is: size and root at a time, signed."""

    size: int
    """Leaves of the log."""
    root: bytes
    """Root of the log's tree, 32 bytes."""
    made: int
    """When the operator signed, in milliseconds since the Unix epoch."""
    operator: bytes
    """The operator's public key, 32 bytes."""
    signature: bytes = b""
    """Signature of :attr:`digest`, 64 bytes."""

    @staticmethod
    def of(size: int, root: bytes, made: int, identity: NodeIdentity) -> TreeHead:
        """Sign a head."""
        plain = TreeHead(size=size, root=root, made=made, operator=identity.public)
        return replace(plain, signature=identity.sign(plain.digest))

    @cached_property
    def digest(self) -> bytes:
        """What the operator signs, 32 bytes."""
        return hashing.message_digest("sha256", "ledger head", wire.encode(self._signed()))

    def _signed(self) -> tuple[wire.Value, ...]:
        return (HEAD, VERSION, self.operator, self.size, self.root, self.made)

    def check_signature(self, operator: bytes | None = None) -> None:
        """Raise LedgerError unless this operator signed the head; None: the one that it names."""
        if operator is not None and self.operator != operator:
            raise LedgerError(f"the head is of the operator {self.operator.hex()}, not {operator.hex()}")
        if not signature_holds(self.operator, self.digest, self.signature):
            raise LedgerError(f"the signature of the operator {self.operator.hex()} does not hold")

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((*self._signed(), self.signature))

    @staticmethod
    def decode(data: bytes) -> TreeHead:
        """Decode a head without checking its signature. Raises FormatError or LimitError if it is none."""
        top = wire.as_list(wire.decode(data, limit=MAX_HEAD, what="ledger head"), "ledger head", n=7)
        wire.check_head(top, HEAD, VERSION)
        return TreeHead(
            operator=wire.as_bytes(top[2], "key of the operator", _KEY),
            size=wire.as_int(top[3], "size of the log", 0, MAX_SIZE),
            root=wire.as_bytes(top[4], "root of the log", HASH),
            made=wire.as_int(top[5], "time of the head", 0, MAX_TIME),
            signature=wire.as_bytes(top[6], "signature", _SIGNATURE),
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> TreeHead:
        """Read a head's file. Raises as :meth:`decode`, and InputError if it cannot be read."""
        return TreeHead.decode(read_limited(path_of(path), MAX_HEAD, "ledger head"))


def _digest_or_empty(value: wire.Value, what: str) -> bytes:
    data = wire.as_bytes(value, what, max_size=DIGEST)
    if len(data) not in (0, DIGEST):
        raise FormatError(f"{what}: {len(data)} bytes")
    return data
