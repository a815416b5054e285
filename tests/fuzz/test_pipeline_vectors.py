"""Our classes against vectors of pipelines, boundaries and receipts of stages made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fuzz.harness import drive, survives
from fuzz.mutate import mutant
from oracle import make_pipeline_vectors
from proofcompute.commitments.signing import signature_holds
from proofcompute.errors import FormatError, LimitError
from proofcompute.protocol.messages import Boundary, Pipeline, Receipt

FILE = Path(__file__).parents[1] / "vectors" / "pipelines.json"
VECTORS = json.loads(FILE.read_text())
DECODE: dict[str, Callable[[bytes], Any]] = {
    "pipeline": Pipeline.decode,
    "boundary": Boundary.decode,
    "receipt": Receipt.decode,
}


def label(case: Any) -> str:
    return f"{case['kind']}: {case['name']}"


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_pipeline_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


@pytest.mark.parametrize("case", VECTORS["valid"], ids=label)
def test_right_messages(case: Any) -> None:
    data = bytes.fromhex(case["hex"])
    message = DECODE[case["kind"]](data)
    assert message.encode() == data
    if "digest" in case:
        assert message.digest.hex() == case["digest"]
    if "body_digest" in case:
        assert message.signed_digest.hex() == case["body_digest"]
        assert signature_holds(message.node, message.signed_digest, message.signature)


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=label)
def test_wrong_messages(case: Any) -> None:
    with pytest.raises((FormatError, LimitError)):
        DECODE[case["kind"]](bytes.fromhex(case["hex"]))


@pytest.mark.parametrize("kind", DECODE)
def test_mutants(kind: str) -> None:
    right = [bytes.fromhex(case["hex"]) for case in VECTORS["valid"] if case["kind"] == kind]

    def make(rng: Random) -> bytes:
        return mutant(rng, right)

    drive("stages", make, survives(DECODE[kind], lambda message: message.encode()))
