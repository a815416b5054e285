"""Closing frames against vectors made by hand: digests, signatures, encodings, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oracle import make_opening_vectors
from proofcompute import errors
from proofcompute.commitments.signing import signature_holds
from proofcompute.protocol.messages import OpeningEnd, frame_digest, frames_digest

FILE = Path(__file__).parents[1] / "vectors" / "openings.json"
VECTORS = json.loads(FILE.read_text())


def label(case: Any) -> str:
    return str(case["name"])


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_opening_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_vectors_are_mostly_negative_and_named() -> None:
    names = [label(case) for case in VECTORS["invalid"]]
    assert len(set(names)) == len(names) > 5 * len(VECTORS["valid"])


@pytest.mark.parametrize("case", VECTORS["valid"], ids=label)
def test_right_closing_frames(case: Any) -> None:
    data = bytes.fromhex(case["hex"])
    end = OpeningEnd.decode(data)
    assert end.encode() == data
    assert end.frames.hex() == case["frames_digest"]
    assert frames_digest([frame_digest(bytes.fromhex(f)) for f in case["frames"]]) == end.frames
    receipt, challenge, node = (
        bytes.fromhex(VECTORS[k]) for k in ("receipt_digest", "challenge_digest", "node")
    )
    signed = end.signed_digest(receipt, challenge)
    assert signed.hex() == case["signed_digest"]
    assert signature_holds(node, signed, end.signature)
    assert not signature_holds(node, end.signed_digest(challenge, receipt), end.signature)


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=label)
def test_wrong_closing_frames(case: Any) -> None:
    expected = getattr(errors, case["error"])
    with pytest.raises(expected) as caught:
        OpeningEnd.decode(bytes.fromhex(case["hex"]))
    assert caught.type is expected
