"""Model cards: what a client holds of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import proofcompute as pc
import synthetic
from proofcompute.encoding import wire
from proofcompute.verifier import check_card


def test_card_hashes_to_the_model_id_and_comes_back(tmp_path: Path) -> None:
    model = synthetic.model()
    path = tmp_path / "card"
    model.card.save(path)
    card = pc.ModelCard.load(path)
    assert card == model.card
    assert card.model_id == model.model_id
    assert path.read_bytes() == card.encode()


def test_requests_are_made_from_a_card_a_key_or_a_model_alike() -> None:
    model = synthetic.model()
    key = pc.keygen(model, synthetic.KERNELS)
    made = {
        pc.text_request(source, "hello", max_tokens=3, seed=bytes(32), nonce=bytes(32)).encode()
        for source in (model, key, model.card)
    }
    assert len(made) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"template": "another"},
        {"tokenizer": b""},
        {"roots": (bytes(32),)},
    ],
)
def test_another_card_is_refused_under_a_model_id(change: dict[str, object]) -> None:
    card = synthetic.model().card
    if "roots" in change:
        change = {"roots": (bytes(32), *card.roots[1:])}
    with pytest.raises(pc.VerificationError) as e:
        check_card(replace(card, **change).encode(), card.model_id)  # type: ignore[arg-type]
    assert e.value.step == 3
    assert e.value.model_id == card.model_id
    assert check_card(card.encode(), card.model_id) == card


def test_damaged_cards_are_format_errors() -> None:
    card = synthetic.model().card
    kind, version, value = "proofcompute model card", 1, card.value()
    damaged: list[wire.Value] = [
        ("proofcompute key", version, value),
        (kind, 2, value),
        (kind, version, value[:3]),
        (kind, version, (*value[:3], ())),
        (kind, version, (*value[:3], (b"short", *card.roots[1:]))),
        (kind, version, (value[0], b"no vocabulary", *value[2:])),
        (kind, version, (value[0], value[1], b"bytes", value[3])),
    ]
    for fields in damaged:
        with pytest.raises(pc.FormatError):
            pc.ModelCard.decode(wire.encode(fields))
        with pytest.raises(pc.VerificationError) as e:
            check_card(wire.encode(fields), card.model_id)
        assert e.value.step == 1
    for data in (card.encode()[:-1], card.encode() + b"\0", b""):
        with pytest.raises(pc.FormatError):
            pc.ModelCard.decode(data)
