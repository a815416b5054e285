"""The binding of bodies and responses against vectors that were made without it."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import proofcompute.openai as binding
from binding.mutants import VECTORS, told
from binding.setting import DATA, card, checked, model, prompter
from oracle import make_openai_vectors
from oracle.openai_bodies import OF_CHAT, OF_TEXT
from proofcompute import errors
from proofcompute.errors import VerificationError
from proofcompute.openai import Endpoint, call_of, completion_id, read_json, request_of
from proofcompute.openai.parameters import _LABELS, _NEUTRAL_BY, _USED_BY

FILE = Path(__file__).parents[1] / "vectors" / "openai.json"
NONCE, NODE = bytes.fromhex(VECTORS["nonce"]), bytes.fromhex(VECTORS["node"])
DAY = date.fromisoformat(VECTORS["date"])


def label(case: Any) -> str:
    return str(case["name"])


def read(case: Any) -> Any:
    pieces = case["pieces"] if "pieces" in case else [[case["body"], 1]]
    data = b"".join(piece.encode("latin-1") * count for piece, count in pieces)
    return read_json(data, VECTORS["limit"])


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_openai_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_the_card_is_that_of_the_random_model() -> None:
    assert model().card.encode() == DATA.read_bytes()
    assert hashlib.sha256(DATA.read_bytes()).hexdigest() == VECTORS["card"]
    assert card().model_id.hex() == VECTORS["model_id"]


def test_vectors_are_mostly_negative_and_named() -> None:
    for right, wrong in (("bodies", "wrong_bodies"), ("responses", "wrong_responses")):
        names = [label(case) for case in VECTORS[right] + VECTORS[wrong]]
        assert len(set(names)) == len(names)
        assert len(VECTORS[wrong]) > 2 * len(VECTORS[right])


@pytest.mark.parametrize("case", VECTORS["bodies"], ids=label)
def test_a_body_means_these_requests(case: Any) -> None:
    endpoint: Endpoint = case["endpoint"]
    body = read(case)
    requests = call_of(body, endpoint=endpoint).requests(prompter(), nonce=NONCE, date=DAY, node=NODE)
    assert requests[0].encode().hex() == case["request"]
    assert [r.digest.hex() for r in requests] == case["digests"]
    last = len(requests) - 1
    one = request_of(body, prompter(), endpoint=endpoint, nonce=NONCE, date=DAY, node=NODE, choice=last)
    assert one == requests[last]
    assert completion_id(endpoint, requests[0].digest).endswith("cmpl-" + case["digests"][0])


@pytest.mark.parametrize("case", VECTORS["wrong_bodies"], ids=label)
def test_a_wrong_body_is_refused(case: Any) -> None:
    expected = getattr(errors, case["error"], None) or getattr(binding, case["error"])
    with pytest.raises(expected) as caught:
        request_of(read(case), prompter(), endpoint=case["endpoint"], nonce=NONCE, date=DAY, node=NODE)
    assert caught.type is expected
    assert getattr(caught.value, "param", None) == case["param"]


@pytest.mark.parametrize("case", VECTORS["responses"], ids=label)
def test_a_right_response_passes(case: Any) -> None:
    found = checked(told(case))
    assert [c.receipt.digest for c in found.claims] == [
        hashed(p.receipt) for p in found.proofs
    ]  # the receipts of the response, and no others


def hashed(receipt: bytes) -> bytes:
    tag = hashlib.sha256(b"proofcompute/v1\0sha256\0receipt\0").digest()
    return hashlib.sha256(b"\x03" + tag + receipt).digest()


@pytest.mark.parametrize("case", VECTORS["wrong_responses"], ids=label)
def test_a_wrong_response_is_rejected_at_its_step(case: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        checked(told(case))
    assert caught.value.step == case["step"], str(caught.value)


def test_the_oracle_and_the_page_know_every_parameter() -> None:
    """A value that only the package takes for neutral would have no vector."""
    page = (FILE.parents[2] / "docs" / "spec" / "openai.md").read_text("utf-8")
    tables: dict[Endpoint, dict[str, Any]] = {"chat": OF_CHAT, "completions": OF_TEXT}
    for endpoint, table in tables.items():
        neutral, used = _NEUTRAL_BY[endpoint], _USED_BY[endpoint]
        assert {n: [*v] for n, v in neutral.items()} == {
            n: [v for i, v in enumerate(vs) if v not in vs[:i]] for n, vs in table.items() if n not in used
        }
        for name in (*neutral, *used, *_LABELS):
            assert f"`{name}`" in page, name
