"""Our classes against vectors of messages made by hand: encodings, digests, signatures, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oracle import make_message_vectors
from proofcompute import errors
from proofcompute.commitments.signing import signature_holds
from proofcompute.protocol.messages import Challenge, OpeningHead, Receipt, Request, Terms

FILE = Path(__file__).parents[1] / "vectors" / "messages.json"
VECTORS = json.loads(FILE.read_text())
DECODE: dict[str, Callable[[bytes], Any]] = {
    "request": Request.decode,
    "receipt": Receipt.decode,
    "terms": Terms.decode,
    "challenge": Challenge.decode,
    "opening": lambda data: OpeningHead.decode(data, 2),
}


def label(case: Any) -> str:
    return f"{case.get('kind', 'signature')}: {case['name']}"


def assembled(case: Any) -> bytes:
    return b"".join(bytes.fromhex(piece) * count for piece, count in case["pieces"])


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_message_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_vectors_are_mostly_negative_and_named() -> None:
    names = [label(case) for case in VECTORS["invalid"]]
    assert len(set(names)) == len(names) > 15 * len(VECTORS["valid"])
    assert {case["kind"] for case in VECTORS["invalid"]} == set(DECODE)


@pytest.mark.parametrize("case", VECTORS["valid"], ids=label)
def test_right_messages(case: Any) -> None:
    data = bytes.fromhex(case["hex"])
    message = DECODE[case["kind"]](data)
    assert message.encode() == data
    if case["kind"] != "opening":  # a frame of its own kind has no digest; nothing refers to it
        assert message.digest.hex() == case["digest"]
    if case["kind"] in ("receipt", "terms"):
        assert message.signed_digest.hex() == case["body_digest"]
        assert signature_holds(message.node, message.signed_digest, message.signature)


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=label)
def test_wrong_messages(case: Any) -> None:
    expected = getattr(errors, case["error"])
    with pytest.raises(expected) as caught:
        DECODE[case["kind"]](assembled(case))
    assert caught.type is expected


@pytest.mark.parametrize("case", VECTORS["signatures"], ids=label)
def test_signatures(case: Any) -> None:
    receipt = Receipt.decode(bytes.fromhex(case["hex"]))
    assert receipt.signed_digest.hex() == case["body_digest"]
    assert signature_holds(receipt.node, receipt.signed_digest, receipt.signature) == case["holds"]


def test_one_signature_holds() -> None:
    assert [case["name"] for case in VECTORS["signatures"] if case["holds"]] == ["right"]
