"""Define the one message that all auditors of a quorum sign (docs/spec/verdicts.md#the-statement)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_NAME, MAX_VERDICT
from proofcompute.protocol.messages import Outcome

__all__ = ["CHECKS", "MAX_SECONDS", "VerdictStatement"]

KIND: Final = "proofcompute verdict"
VERSION: Final = 1
MAX_SECONDS: Final = 2**53 - 1
"""The latest time that a verdict can state, in seconds: the integers that binary64 has exactly."""
CHECKS: Final = {"receipt": range(1, 6), "cells": range(1, 11), "replay": range(1, 11)}
"""What was checked, and at which steps that can fail: the receipt alone (steps 1 to 5), the cells of one
challenge, or the whole answer, computed again."""


@dataclass(frozen=True, kw_only=True)
class VerdictStatement:
    """What a quorum says of a receipt: all of it is signed, so all signers say the same."""

    policy: bytes
    """Digest of the quorum's policy, 32 bytes."""
    request_digest: bytes
    """Digest of the request, 32 bytes."""
    receipt_digest: bytes
    """Digest of the signed receipt, 32 bytes."""
    terms_digest: bytes = b""
    """Digest of the node's terms that the receipt names, or empty."""
    check: str
    """What was checked: a name of :data:`CHECKS`."""
    challenge_digest: bytes = b""
    """Digest of the challenge whose cells were checked, or empty if the check is not of cells."""
    outcome: Outcome
    """What was found."""
    valid_from: int
    """The first second since the Unix epoch at which the verdict holds."""
    valid_until: int
    """The last second since the Unix epoch at which the verdict holds."""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise FormatError(f"verdict: the check is one of {', '.join(CHECKS)}")
        if bool(self.challenge_digest) != (self.check == "cells"):
            raise FormatError("verdict: a challenge belongs to a check of cells, and to no other")
        kind, step = self.outcome.kind, self.outcome.step
        if kind in ("silent", "refused") and self.check != "cells":
            raise FormatError(f"verdict: {kind} is said of a challenge")
        if kind == "accepted" and self.check == "receipt":
            raise FormatError("verdict: nobody accepts an answer of which only the receipt was checked")
        if kind == "contradicted" and step not in CHECKS[self.check]:
            raise FormatError(f"verdict: step {step} cannot fail in a check of {self.check}")
        if not self.valid_from <= self.valid_until:
            raise FormatError("verdict: it ends before it begins")

    def value(self) -> tuple[wire.Value, ...]:
        """Return the value to encode."""
        about = (self.policy, self.request_digest, self.receipt_digest, self.terms_digest)
        found = (self.check, self.challenge_digest, self.outcome.value())
        return (KIND, VERSION, *about, *found, self.valid_from, self.valid_until)

    @cached_property
    def digest(self) -> bytes:
        """The message that auditors sign, 32 bytes."""
        return hashing.message_digest("sha256", "verdict", wire.encode(self.value()))

    @cached_property
    def subject(self) -> bytes:
        """What a verdict is used for, 32 bytes: the kind of outcome of one receipt.

        Verdicts of one subject say the same about the same receipt, perhaps by another check or for another
        time. Whoever pays or fines by verdicts does so once for each subject.
        """
        about = (self.receipt_digest, self.outcome.kind)
        return hashing.message_digest("sha256", "verdict subject", wire.encode(about))

    @staticmethod
    def from_value(value: wire.Value) -> VerdictStatement:
        """Decode a statement. Raises FormatError or LimitError if ``value`` is none."""
        top = wire.as_list(value, "verdict", n=11)
        wire.check_head(top, KIND, VERSION)
        return VerdictStatement(
            policy=wire.as_bytes(top[2], "policy digest", DIGEST),
            request_digest=wire.as_bytes(top[3], "request digest", DIGEST),
            receipt_digest=wire.as_bytes(top[4], "receipt digest", DIGEST),
            terms_digest=_digest_or_empty(top[5], "terms digest"),
            check=wire.as_str(top[6], "check", MAX_NAME),
            challenge_digest=_digest_or_empty(top[7], "challenge digest"),
            outcome=Outcome.from_value(top[8]),
            valid_from=wire.as_int(top[9], "beginning of the verdict", 0, MAX_SECONDS),
            valid_until=wire.as_int(top[10], "end of the verdict", 0, MAX_SECONDS),
        )

    @staticmethod
    def decode(data: bytes) -> VerdictStatement:
        """Decode a statement. Raises FormatError or LimitError if ``data`` encodes none."""
        return VerdictStatement.from_value(wire.decode(data, limit=MAX_VERDICT, what="verdict"))


def _digest_or_empty(value: wire.Value, what: str) -> bytes:
    data = wire.as_bytes(value, what, max_size=DIGEST)
    if len(data) not in (0, DIGEST):
        raise FormatError(f"{what}: {len(data)} bytes")
    return data
