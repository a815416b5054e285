"""A published round, and statements as if they had been made before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from proofcompute.beacons import QUICKNET, Beacon, BeaconStatement, Round
from proofcompute.commitments.signing import NodeIdentity

PUBLISHED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "published_rounds.json").read_text("utf-8")
)
ATTESTOR = NodeIdentity(b"an attestor's seed of 32 bytes..")
OTHER = NodeIdentity(b"another attestor's seed, also 32")
REQUEST, RECEIPT = b"q" * 32, b"r" * 32
ROUND = Round.from_json(json.dumps(PUBLISHED["rounds"][0]).encode())
BEFORE = 1000 * (QUICKNET.time_of(ROUND.number) - QUICKNET.period)
"""The last millisecond in which a statement about the round may be made."""


def statement(by: NodeIdentity = ATTESTOR, **changes: Any) -> BeaconStatement:
    """A statement about the receipt and the round, signed after the changes."""
    made = BeaconStatement(
        request_digest=REQUEST,
        receipt_digest=RECEIPT,
        chain=QUICKNET.hash,
        round=ROUND.number,
        made=BEFORE,
        attestor=by.public,
    )
    made = replace(made, **changes)
    return made.signed(by.sign(made.signed_digest))


def beacon(**changes: Any) -> Beacon:
    """The round with a statement made before it."""
    return Beacon(statement(**changes), ROUND.signature)
