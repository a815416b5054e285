"""Verdicts, policies, rounds and beacons against mutants: a typed error, or an object with these bytes."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import pytest

from beacons.world import PUBLISHED, beacon, statement
from fuzz import honest
from fuzz.harness import drive, survives
from fuzz.mutate import mutant, mutate_bytes
from proofcompute.beacons import Beacon, BeaconStatement, Round
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.protocol.bundle import Bundle
from proofcompute.verdicts import QuorumPolicy, QuorumVerdict, SignedVerdict
from proofcompute.verifier.evidence import make_evidence

pytest.importorskip("py_ecc")

from verdicts import world

HONEST: dict[str, Any] = {
    "beacon": (lambda: [beacon().encode(), beacon(round=7).encode()], Beacon),
    "beacon statement": (lambda: [statement().encode(), statement(made=5).encode()], BeaconStatement),
    "signed verdict": (lambda: [world.signed(key).encode() for key in world.KEYS[:2]], SignedVerdict),
    "quorum verdict": (lambda: [world.verdict().encode(), world.verdict(0, 1, 2).encode()], QuorumVerdict),
}


@pytest.mark.parametrize("name", HONEST)
def test_a_message(name: str) -> None:
    make, message = HONEST[name]
    sent = make()
    for data in sent:
        assert message.decode(data).encode() == data
    drive(name, lambda rng: mutant(rng, sent), survives(message.decode, message.encode))


def test_policies() -> None:
    written = world.policy().to_json()

    def check(data: bytes) -> None:
        try:
            found = QuorumPolicy.from_json(data)
        except InputError:
            return
        assert QuorumPolicy.from_json(found.to_json()).digest == found.digest

    check(written)
    drive("quorum policy", lambda rng: mutate_bytes(rng, written, [written]), check)


def test_rounds() -> None:
    sent = json.dumps(PUBLISHED["rounds"][0]).encode()
    right = Round.from_json(sent)

    def check(data: bytes) -> None:
        try:
            found = Round.from_json(data)
        except InputError:
            return
        assert len(found.signature) == 48
        assert found.signature == right.signature or b"randomness" not in data

    check(sent)
    drive("round", lambda rng: mutate_bytes(rng, sent, [sent]), check)


def test_verdicts_in_evidence() -> None:
    request = honest.run().request
    made = make_evidence(NodeIdentity(bytes([3] * 32)), request, honest.receipts()[0], "refused", **_asked())
    whole = made.with_verdict(world.verdict().encode()).encode()
    start = len(made.encode())

    def altered(rng: Random) -> bytes:
        return whole[:start] + mutate_bytes(rng, whole[start:], [whole])

    def check(data: bytes) -> None:
        try:
            found = Bundle.read(io.BytesIO(data))
        except InputError:
            return
        assert found.encode() == data

    check(whole)
    drive("evidence: verdict", altered, check)


def _asked() -> dict[str, Any]:
    return {"challenge": honest.challenge(), "waited": 1.0}
