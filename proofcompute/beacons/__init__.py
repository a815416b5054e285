"""Draw the cells of a public proof from randomness that came after its receipt (docs/spec/beacons.md)."""

from __future__ import annotations

from proofcompute.beacons.chains import CHAINS, QUICKNET, Chain
from proofcompute.beacons.checking import check_beacon, check_statement
from proofcompute.beacons.messages import Beacon, BeaconStatement
from proofcompute.beacons.rounds import Round

__all__ = [
    "CHAINS",
    "QUICKNET",
    "Beacon",
    "BeaconStatement",
    "Chain",
    "Round",
    "check_beacon",
    "check_statement",
]
