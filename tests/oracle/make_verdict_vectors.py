"""Makes ``verdicts.json``: points, policies, verdicts of quorums and beacons, right and (mostly) wrong.

The oracle imports nothing from proofcompute; the curve is py_ecc's. Run in ``tests/``: ``python -m
oracle.make_verdict_vectors vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from py_ecc.bls.hash_to_curve import hash_to_G2
from py_ecc.bls.point_compression import compress_G1, compress_G2
from py_ecc.optimized_bls12_381 import G1, add, field_modulus, multiply, neg

from oracle.message_cases import digest, emit, public, put, sign

Json = Any
TAG = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
POSSESSION = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
SECRETS = (11, 22, 33)
STRANGER = 44
BEGIN, END, NOW, DAY = 1_700_000_000, 1_800_000_000, 1_750_000_000, 86_400
RECEIPT, REQUEST, CHALLENGE = b"r" * 32, b"q" * 32, b"c" * 32
ATTESTOR, OTHER = bytes(range(96, 128)), bytes(range(128, 160))
QUICKNET = bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971")
ROUND = bytes.fromhex(
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
)
FOREIGN = bytes.fromhex(
    "b09eacd45767c4d58306b98901ad0d6086e2663766f3a4ec71d00cf26f0f49eaf248abc7151c60cf419c4e8b37e80412"
)
LATEST = 1000 * (1692803367 + 3 * 998)


def g1(point: Any) -> bytes:
    return int(compress_G1(point)).to_bytes(48, "big")


def g2(point: Any) -> bytes:
    return b"".join(int(half).to_bytes(48, "big") for half in compress_G2(point))


def key(secret: int) -> bytes:
    return g1(multiply(G1, secret))


@cache
def hashed(message: bytes, tag: bytes) -> Any:
    return hash_to_G2(message, tag, hashlib.sha256)


def possession(secret: int) -> bytes:
    return g2(multiply(hashed(key(secret), POSSESSION), secret))


def by(message: bytes, *secrets: int) -> bytes:
    """The sum of signatures: one multiple of the hash."""
    return g2(multiply(hashed(message, TAG), sum(secrets)))


# -- points -----------------------------------------------------------------------------------------------
def points() -> list[Json]:
    p, right = key(11), possession(11)
    number = int.from_bytes(p, "big") % (1 << 381)

    def flagged(x: int, flags: int) -> bytes:
        return ((flags << 381) + x).to_bytes(48, "big")

    cases = [
        ("a point of G1", p, True),
        ("its inverse", g1(neg(multiply(G1, 11))), True),
        ("a point of G2", right, True),
        ("the identity of G1", flagged(0, 0b110), False),
        ("the identity of G1 with a sign", flagged(0, 0b111), False),
        ("the identity of G1 and something more", flagged(1, 0b110), False),
        ("zeros", bytes(48), False),
        ("without the bit of compression", bytes([p[0] & 0x7F]) + p[1:], False),
        ("a number of the modulus and more", flagged(field_modulus + number, 0b100), False),
        ("the modulus", flagged(field_modulus, 0b100), False),
        ("a point outside of G1", flagged(4, 0b100), False),
        ("47 bytes", p[:-1], False),
        ("49 bytes", p + b"\0", False),
        ("the identity of G2", b"\xc0" + bytes(95), False),
        ("flags in the second half of G2", right[:48] + bytes([right[48] | 0x80]) + right[49:], False),
        ("a point outside of G2", flagged(0, 0b100) + (2).to_bytes(48, "big"), False),
        ("95 bytes", right[:-1], False),
    ]
    return [{"name": name, "hex": data.hex(), "accepted": accepted} for name, data, accepted in cases]


# -- policies ---------------------------------------------------------------------------------------------
def members(*secrets: int) -> list[dict[str, str]]:
    return [{"name": f"auditor {s}", "key": key(s).hex(), "proof": possession(s).hex()} for s in secrets]


def policy_digest(policy: Json) -> bytes:
    ordered = sorted(policy["keys"], key=lambda one: one["key"])
    each = [[bytes.fromhex(m["key"]), bytes.fromhex(m["proof"]), m["name"]] for m in ordered]
    numbers = [policy[name] for name in ("threshold", "valid_from", "valid_until", "longest")]
    return digest("sha256", "quorum policy", emit([policy["kind"], 1, policy["name"], each, *numbers]))


def policies() -> dict[str, Json]:
    keys = members(*SECRETS)
    usual = {
        "kind": "proofcompute quorum policy",
        "version": 1,
        "name": "three auditors",
        "threshold": 2,
        "valid_from": BEGIN,
        "valid_until": END,
        "longest": 30 * DAY,
        "keys": keys,
    }
    rogue = g1(add(multiply(G1, STRANGER), neg(multiply(G1, 11))))
    borrowed = {"name": "rogue", "key": rogue.hex(), "proof": keys[1]["proof"]}
    return {
        "usual": usual,
        "another order": {**usual, "keys": keys[::-1]},
        "one suffices": {**usual, "threshold": 1},
        "with a rogue key": {**usual, "keys": [keys[0], borrowed]},
    }


# -- verdicts ---------------------------------------------------------------------------------------------
def place(policy: Json, secret: int) -> int:
    return sorted(m["key"] for m in policy["keys"]).index(key(secret).hex())


def verdicts() -> list[Json]:
    known = policies()
    usual = known["usual"]
    said = [
        "proofcompute verdict", 1, policy_digest(usual), REQUEST, RECEIPT, b"", "cells", CHALLENGE,
        ["contradicted", 9, [1, 4, 5], "layer 0"], NOW - DAY, NOW + DAY,
    ]  # fmt: skip

    def of(statement: list[Any]) -> bytes:
        return digest("sha256", "verdict", emit(statement))

    def signed(statement: list[Any], numbers: list[int], *secrets: int) -> list[Any]:
        return ["proofcompute quorum verdict", 1, statement, numbers, by(of(statement), *secrets)]

    pair, others = (sorted(place(usual, s) for s in two) for two in ((11, 33), (22, 33)))
    right = signed(said, pair, 11, 33)
    forged = put(said, (2,), policy_digest(known["with a rogue key"]))
    accepted = ["accepted", 0, [], ""]
    of_receipt = put(put(right, (2, 6), "receipt"), (2, 7), b"")
    replay = put(put(said, (6,), "replay"), (7,), b"")
    never = put(put(said, (9,), BEGIN - 1), (10,), BEGIN)
    cases: list[tuple[str, list[Any], str, int, str | None]] = [
        ("two of three", right, "usual", NOW, None),
        ("the policy's keys in another order", right, "another order", NOW, None),
        ("its last second", right, "usual", NOW + DAY, None),
        ("a replay", signed(replay, pair, 11, 33), "usual", NOW, None),
        ("a second later", right, "usual", NOW + DAY + 1, "time"),
        ("a second before", right, "usual", NOW - DAY - 1, "time"),
        ("another policy", right, "one suffices", NOW, "policy"),
        ("before its policy", signed(never, pair, 11, 33), "usual", BEGIN, "policy"),
        ("one signer", signed(said, pair[:1], 11), "usual", NOW, "threshold"),
        ("one signer twice", signed(said, [place(usual, 11)] * 2, 11, 11), "usual", NOW, "signer"),
        ("no such member", put(right, (3,), [0, 3]), "usual", NOW, "signer"),
        ("another pair", put(right, (3,), others), "usual", NOW, "signature"),
        ("a stranger for a member", signed(said, pair, 11, STRANGER), "usual", NOW, "signature"),
        ("another outcome", put(right, (2, 8), accepted), "usual", NOW, "signature"),
        ("another receipt", put(right, (2, 4), b"x" * 32), "usual", NOW, "subject"),
        ("another request", put(right, (2, 3), b"x" * 32), "usual", NOW, "subject"),
        ("a rogue key", signed(forged, [0, 1], STRANGER), "with a rogue key", NOW, "possession"),
        ("signers out of order", put(right, (3,), pair[::-1]), "usual", NOW, "malformed"),
        ("no signer", put(right, (3,), []), "usual", NOW, "malformed"),
        ("another version", put(right, (1,), 2), "usual", NOW, "malformed"),
        ("a signature of 95 bytes", put(right, (4,), bytes(95)), "usual", NOW, "malformed"),
        ("cells without a challenge", put(right, (2, 7), b""), "usual", NOW, "malformed"),
        ("accepted by its receipt", put(of_receipt, (2, 8), accepted), "usual", NOW, "malformed"),
        ("step 6 of a receipt", put(of_receipt, (2, 8, 1), 6), "usual", NOW, "malformed"),
        ("an end before the beginning", put(right, (2, 10), NOW - 2 * DAY), "usual", NOW, "malformed"),
    ]  # fmt: skip
    return [
        {
            "name": name,
            "hex": emit(fields).hex(),
            "statement": of(fields[2]).hex(),
            "subject": digest("sha256", "verdict subject", emit([fields[2][4], fields[2][8][0]])).hex(),
            "policy": policy,
            "now": now,
            "fault": fault,
        }
        for name, fields, policy, now, fault in cases
    ]


# -- beacons ----------------------------------------------------------------------------------------------
def beacons() -> list[Json]:
    body: list[Any] = [
        "proofcompute beacon statement", 1, REQUEST, RECEIPT, QUICKNET, 1000, LATEST, "ed25519",
        public(ATTESTOR),
    ]  # fmt: skip

    def sealed(fields: list[Any], seed: bytes = ATTESTOR, round_: bytes = ROUND) -> list[Any]:
        whole = [*fields, sign(seed, digest("sha256", "beacon statement", emit(fields)))]
        return ["proofcompute beacon", 1, emit(whole), round_]

    stranger = put(body, (8,), public(OTHER))
    unsigned = ["proofcompute beacon", 1, emit([*body, bytes(64)]), ROUND]
    cases: list[tuple[str, list[Any], bool]] = [
        ("round 1000", sealed(body), True),
        ("a year before", sealed(put(body, (6,), 0)), True),
        ("a millisecond late", sealed(put(body, (6,), LATEST + 1)), False),
        ("not signed", unsigned, False),
        ("signed by another", sealed(body, OTHER), False),
        ("an attestor that nobody believes", sealed(stranger, OTHER), False),
        ("another receipt", sealed(put(body, (3,), b"x" * 32)), False),
        ("another request", sealed(put(body, (2,), b"x" * 32)), False),
        ("another chain", sealed(put(body, (4,), bytes(32))), False),
        ("another round", sealed(put(body, (5,), 1001)), False),
        ("a round of another chain", sealed(body, ATTESTOR, FOREIGN), False),
        ("no signature of a round", sealed(body, ATTESTOR, b"\xc0" + bytes(47)), False),
        ("a signature of 47 bytes", sealed(body, ATTESTOR, ROUND[:-1]), False),
        ("another version", put(sealed(body), (1,), 2), False),
        ("round 0", sealed(put(body, (5,), 0)), False),
    ]
    return [
        {"name": name, "hex": emit(fields).hex(), "seed": seed_of(fields).hex(), "holds": holds}
        for name, fields, holds in cases
    ]


def seed_of(fields: list[Any]) -> bytes:
    """What the cells of the first beacon are drawn from; of others only their round differs here."""
    about = [RECEIPT, QUICKNET, 1000, hashlib.sha256(fields[3]).digest()]
    return digest("sha256", "beacon cells", emit(about))


def vectors() -> Json:
    known = policies()
    return {
        "points": points(),
        "policies": [
            {"name": name, "json": json.dumps(policy), "digest": policy_digest(policy).hex()}
            for name, policy in known.items()
        ],
        "receipt_digest": RECEIPT.hex(),
        "request_digest": REQUEST.hex(),
        "verdicts": verdicts(),
        "attestor": public(ATTESTOR).hex(),
        "beacons": beacons(),
    }


def main(directory: Path) -> None:
    """Write the file."""
    text = json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"
    (directory / "verdicts.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
