"""Cards and terms on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.messages import Receipt, Request, Terms


def rejected(*args: object) -> dict[str, object]:
    """The JSON of a command that must end with status 1."""
    result = call(*args, "--json")
    assert result.status == 1, (result.out, result.err)
    assert result.json["verified"] is False
    return result.json


def test_a_card_is_all_that_a_request_takes(files: Files, tmp_path: Path) -> None:
    card, again, asked = tmp_path / "card", tmp_path / "again", tmp_path / "request"
    made = done("card", files.model, "-o", card)
    assert made["bytes"] == card.stat().st_size < files.model.stat().st_size
    assert done("card", files.key, "-o", again)["model_id"] == made["model_id"]
    assert card.read_bytes() == again.read_bytes()
    assert done("inspect", card)["model_id"] == made["model_id"]
    options = ("--prompt", "Hello", "--seed", 1, "--nonce", "00" * 32, "--date", "2026-01-31")
    done("request", card, *options, "-o", asked)
    done("request", files.model, *options, "-o", tmp_path / "same")
    assert asked.read_bytes() == (tmp_path / "same").read_bytes()
    assert Request.decode(asked.read_bytes()).model_id.hex() == made["model_id"]


def test_a_card_that_somebody_sent_is_checked(files: Files, tmp_path: Path) -> None:
    card, out = tmp_path / "card", tmp_path / "mine"
    trusted = done("card", files.model, "-o", card)["model_id"]
    assert "--model-id" in refused("card", card, "-o", out)
    assert done("card", card, "--model-id", trusted, "-o", out)["model_id"] == trusted
    out.unlink()
    found = rejected("card", card, "--model-id", "00" * 32, "-o", out, "--force")
    assert found["step"] == 3
    data = bytearray(card.read_bytes())
    data[len(data) // 2] ^= 1
    card.write_bytes(data)
    assert rejected("card", card, "--model-id", trusted, "-o", out, "--force")["model_id"] == trusted
    assert not out.exists()
    assert trusted in refused("card", files.model, "--model-id", "00" * 32, "-o", out, "--force")
    assert not out.exists()


@pytest.fixture
def promised(files: Files, tmp_path: Path) -> tuple[Path, Path]:
    """Terms, and a run under them."""
    terms, run = tmp_path / "terms", tmp_path / "run"
    made = done("terms", "--identity", files.identity, "--rate", 100, "--retention", 3600, "-o", terms)
    assert made["node"] == NodeIdentity.load(files.identity).public.hex()
    assert done("inspect", terms)["signature_holds"]
    done("run", files.model, files.request, "-o", run, "--identity", files.identity, "--terms", terms)
    return terms, run


def test_receipts_and_openings_keep_to_the_terms(
    files: Files, key: Path, promised: tuple[Path, Path], tmp_path: Path
) -> None:
    terms, run = promised
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    receipt = Receipt.decode((run / "receipt").read_bytes())
    assert receipt.terms_digest == Terms.decode(terms.read_bytes()).digest
    assert receipt.retention == 3600
    asked = ("--request", files.request, "--terms", terms)
    made = done("challenge", key, run / "receipt", *asked, "-o", challenge)
    assert made["deadline_seconds"] == 30 + receipt.rows / 100
    done("open", run, challenge, "-o", opening)
    words = ("verify", key, run / "receipt", challenge, opening, *asked)
    assert "waited" in refused(*words)
    assert done(*words, "--waited", 1.5)["verified"]
    late = rejected(*words, "--waited", 31)
    assert late["step"] == 10
    assert "deadline" in str(late["error"])
    assert rejected(*words, "--waited", 3, "--patience", 2)["step"] == 10


def test_a_receipt_under_no_terms_or_for_too_short_a_time_is_rejected(
    files: Files, key: Path, promised: tuple[Path, Path], tmp_path: Path
) -> None:
    terms, run = promised
    out = tmp_path / "challenge"
    asked = ("--request", files.request, "-o", out)
    assert rejected("challenge", key, files.receipt, *asked, "--terms", terms)["step"] == 5
    assert rejected("challenge", key, run / "receipt", *asked, "--retention", 3601)["step"] == 5
    data = bytearray(terms.read_bytes())
    data[-1] ^= 1
    terms.write_bytes(data)
    found = rejected("challenge", key, run / "receipt", *asked, "--terms", terms)
    assert found["step"] == 2
    assert not out.exists()
