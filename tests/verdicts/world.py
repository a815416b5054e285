"""A quorum of three, of whom two suffice, and what they say of a receipt."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from proofcompute.bls.signatures import VerdictKey
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Outcome
from proofcompute.verdicts import (
    Expected,
    Member,
    QuorumPolicy,
    QuorumVerdict,
    SignedVerdict,
    VerdictStatement,
    combine,
)

KEYS = [VerdictKey((1000 + n).to_bytes(32, "big")) for n in range(3)]
STRANGER = VerdictKey((7919).to_bytes(32, "big"))
BEGIN, END, DAY = 1_700_000_000, 1_800_000_000, 24 * 3600
NOW = 1_750_000_000
REQUEST, RECEIPT, CHALLENGE = b"q" * 32, b"r" * 32, b"c" * 32


@cache
def member(key: VerdictKey, name: str = "") -> Member:
    return Member(key.public, key.possession(), name)


def policy_of(*members: Member, threshold: int = 2, **changes: Any) -> QuorumPolicy:
    fields = {"name": "three auditors", "valid_from": BEGIN, "valid_until": END, "longest": 30 * DAY}
    return QuorumPolicy.of(list(members), threshold=threshold, **{**fields, **changes})


@cache
def policy() -> QuorumPolicy:
    return policy_of(*(member(key, f"auditor {n}") for n, key in enumerate(KEYS)))


def statement(**changes: Any) -> VerdictStatement:
    fields: dict[str, Any] = {
        "policy": policy().digest,
        "request_digest": REQUEST,
        "receipt_digest": RECEIPT,
        "check": "cells",
        "challenge_digest": CHALLENGE,
        "outcome": Outcome("contradicted", 9, Cell(1, 4, 5), "layer 0"),
        "valid_from": NOW - DAY,
        "valid_until": NOW + DAY,
    }
    return VerdictStatement(**{**fields, **changes})


def signed(key: VerdictKey, about: VerdictStatement | None = None) -> SignedVerdict:
    """A signature by anybody of anything: no rule of a policy is asked."""
    said = about or statement()
    return SignedVerdict(said, key.public, key.sign(said.digest))


@cache
def verdict(*numbers: int) -> QuorumVerdict:
    """What some members of the policy say together."""
    return combine(policy(), [signed(KEYS[n]) for n in numbers or (0, 2)])


def expected(**changes: Any) -> Expected:
    return replace(Expected(receipt_digest=RECEIPT, request_digest=REQUEST, now=NOW), **changes)
