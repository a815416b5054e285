"""Define verdicts as they are signed by one auditor and by a quorum (docs/spec/verdicts.md#messages)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from proofcompute.bls.signatures import KEY, SIGNATURE
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_SIGNERS, MAX_VERDICT
from proofcompute.verdicts.statement import VerdictStatement

__all__ = ["QuorumVerdict", "SignedVerdict"]

SIGNED: Final = "proofcompute signed verdict"
QUORUM: Final = "proofcompute quorum verdict"
VERSION: Final = 1


@dataclass(frozen=True)
class SignedVerdict:
    """A statement with the signature of one auditor."""

    statement: VerdictStatement
    key: bytes
    """The auditor's public key, 48 bytes."""
    signature: bytes
    """Signature of the statement's digest, 96 bytes."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((SIGNED, VERSION, self.statement.value(), self.key, self.signature))

    @staticmethod
    def decode(data: bytes) -> SignedVerdict:
        """Decode a signed verdict without checking it. Raises FormatError or LimitError if it is none."""
        top = wire.as_list(wire.decode(data, limit=MAX_VERDICT, what="verdict"), "signed verdict", n=5)
        wire.check_head(top, SIGNED, VERSION)
        return SignedVerdict(
            VerdictStatement.from_value(top[2]),
            wire.as_bytes(top[3], "key of the auditor", KEY),
            wire.as_bytes(top[4], "signature", SIGNATURE),
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> SignedVerdict:
        """Read a signed verdict's file. Raises as :meth:`decode`, and InputError if it cannot be read."""
        return SignedVerdict.decode(read_limited(path_of(path), MAX_VERDICT, "signed verdict"))


@dataclass(frozen=True)
class QuorumVerdict:
    """A statement with one signature by several members of a policy."""

    statement: VerdictStatement
    signers: tuple[int, ...]
    """Numbers of the signers among the policy's members, in order."""
    signature: bytes
    """The sum of their signatures, 96 bytes."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.signers) <= MAX_SIGNERS:
            raise FormatError(f"quorum verdict: {len(self.signers)} signers")
        if any(a > b for a, b in pairwise(self.signers)):
            raise FormatError("quorum verdict: the signers are not in order")

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((QUORUM, VERSION, self.statement.value(), self.signers, self.signature))

    @staticmethod
    def decode(data: bytes) -> QuorumVerdict:
        """Decode a quorum verdict without checking it. Raises FormatError or LimitError if it is none."""
        top = wire.as_list(wire.decode(data, limit=MAX_VERDICT, what="verdict"), "quorum verdict", n=5)
        wire.check_head(top, QUORUM, VERSION)
        numbers = wire.as_list(top[3], "signers", max_n=MAX_SIGNERS)
        return QuorumVerdict(
            VerdictStatement.from_value(top[2]),
            tuple(wire.as_int(n, "number of a signer", 0, MAX_SIGNERS - 1) for n in numbers),
            wire.as_bytes(top[4], "signature", SIGNATURE),
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> QuorumVerdict:
        """Read a quorum verdict's file. Raises as :meth:`decode`, and InputError if it cannot be read."""
        return QuorumVerdict.decode(read_limited(path_of(path), MAX_VERDICT, "quorum verdict"))
