"""Bundles of evidence on the command line: written by verify and replay, judged by verify-evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from proofcompute.commitments.signing import NodeIdentity


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The auditor's key pair."""
    NodeIdentity(bytes(range(3, 35))).save(tmp_path / "auditor")
    return tmp_path / "auditor"


@pytest.fixture
def card(files: Files, tmp_path: Path) -> Path:
    done("card", files.model, "-o", tmp_path / "card")
    return tmp_path / "card"


def judge(*args: object) -> tuple[int, dict[str, object]]:
    result = call("verify-evidence", *args, "--device", "numpy", "--json")
    return result.status, result.json


def recorded(files: Files, key: Path, mine: Path, to: Path, opening: Path, *options: object) -> int:
    return call(
        "verify", key, files.receipt, files.challenge, opening, "--request", files.request,
        "--waited", 0.5, "--evidence", to, "--identity", mine, *options,
    ).status  # fmt: skip


def test_an_accepted_opening_is_shown_to_others(
    files: Files, key: Path, card: Path, mine: Path, tmp_path: Path
) -> None:
    to = tmp_path / "evidence"
    assert recorded(files, key, mine, to, files.opening) == 0
    status, verdict = judge(to, "--key", key)
    assert (status, verdict["finding"], verdict["stands"]) == (0, "confirmed", True)
    assert verdict["auditor"] == NodeIdentity.load(mine).public.hex()
    status, verdict = judge(to, "--model", files.model)
    assert (status, verdict["finding"], verdict["replayed"]) == (0, "confirmed", False)
    status, verdict = judge(to, "--card", card)
    assert (status, verdict["finding"], verdict["stands"]) == (3, "undecided", None)
    text = call("verify-evidence", to, "--card", card, "--device", "numpy")
    assert "NOT checked" in text.out
    assert "a card checks receipts and signatures only" in text.out
    assert "times, which are the auditor's word" in text.out
    facts = done("inspect", to)
    assert (facts["kind"], facts["outcome"], facts["signature_holds"]) == ("evidence", "accepted", True)
    assert facts["opening_bytes"] == files.opening.stat().st_size
    assert facts["sent"] == "not said"


def test_an_opening_that_was_changed_is_nobodys(files: Files, key: Path, mine: Path, tmp_path: Path) -> None:
    to, bad = tmp_path / "evidence", tmp_path / "bad"
    data = bytearray(files.opening.read_bytes())
    data[-1000] ^= 1
    bad.write_bytes(data)
    assert recorded(files, key, mine, to, bad) == 1
    status, verdict = judge(to, "--key", key)
    assert (status, verdict["finding"], verdict["stands"]) == (1, "unattributable", False)
    text = call("verify-evidence", to, "--key", key, "--device", "numpy")
    assert text.out.startswith("NOT ATTRIBUTABLE")


def test_silence_is_written_and_settled_by_replay(
    files: Files, key: Path, mine: Path, tmp_path: Path
) -> None:
    to, nothing = tmp_path / "evidence", tmp_path / "nothing"
    nothing.write_bytes(b"")
    assert recorded(files, key, mine, to, nothing, "--undisclosed") == 1
    status, verdict = judge(to, "--model", files.model, "--request", files.request)
    assert (status, verdict["finding"], verdict["replayed"]) == (3, "asserted", True)
    status, verdict = judge(to, "--model", files.model)
    assert (status, verdict["replayed"]) == (3, False)
    assert done("inspect", to)["request_disclosed"] is False


def test_a_replay_is_evidence_too(files: Files, mine: Path, tmp_path: Path) -> None:
    to = tmp_path / "evidence"
    words = ("replay", files.model, files.receipt, "--request", files.request, "--device", "numpy")
    done(*words, "--evidence", to, "--identity", mine)
    status, verdict = judge(to, "--model", files.model)
    assert (status, verdict["finding"], verdict["replayed"]) == (0, "confirmed", True)
    bad = tmp_path / "receipt"
    data = bytearray(files.receipt.read_bytes())
    data[-40] ^= 1
    bad.write_bytes(data)
    words = ("replay", files.model, bad, "--request", files.request, "--device", "numpy")
    assert call(*words, "--evidence", to, "--identity", mine, "--force").status == 1
    status, verdict = judge(to, "--model", files.model)
    assert (status, verdict["finding"]) == (1, "unattributable")


def test_a_bundle_that_somebody_changed_says_nothing(
    files: Files, key: Path, mine: Path, tmp_path: Path
) -> None:
    to = tmp_path / "evidence"
    assert recorded(files, key, mine, to, files.opening) == 0
    data = to.read_bytes()
    for wrong in (data[:-1], data + b"\0", data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
        to.write_bytes(wrong)
        result = call("verify-evidence", to, "--key", key, "--device", "numpy", "--json")
        assert (result.status, result.json["finding"], result.json["stands"]) == (1, "invalid", False)
        assert "INVALID" in result.err


def test_options_that_do_not_fit(files: Files, key: Path, mine: Path, card: Path, tmp_path: Path) -> None:
    to = tmp_path / "evidence"
    verify = ("verify", key, files.receipt, files.challenge, files.opening, "--request", files.request)
    assert "--identity" in refused(*verify, "--evidence", to, "--waited", 1)
    assert "--waited" in refused(*verify, "--evidence", to, "--identity", mine)
    assert "--evidence" in refused(*verify, "--identity", mine)
    assert "kind key" in refused(*verify, "--evidence", to, "--identity", key, "--waited", 1)
    to.write_bytes(b"mine")
    assert "--force" in refused(*verify, "--evidence", to, "--identity", mine, "--waited", 1)
    assert to.read_bytes() == b"mine"
    assert recorded(files, key, mine, to, files.opening, "--force") == 0
    assert "one of" in refused("verify-evidence", to)
    assert "one of" in refused("verify-evidence", to, "--key", key, "--card", card)
    assert "kind request" in refused("verify-evidence", files.request, "--card", card)
    assert "another node" in refused("verify-evidence", to, "--card", card, "--node", "00" * 32)
    assert "another auditor" in refused("verify-evidence", to, "--card", card, "--auditor", "00" * 32)
    other = tmp_path / "request"
    done("request", files.model, "--prompt", "Hello", "--max-tokens", 2, "-o", other)
    assert "about the request" in refused("verify-evidence", to, "--card", card, "--request", other)


def test_a_rejection_stands_where_its_evidence_cannot_be_written(
    files: Files, key: Path, mine: Path, tmp_path: Path
) -> None:
    to, large = tmp_path / "evidence", tmp_path / "receipt"
    large.write_bytes(files.request.read_bytes())
    result = call(
        "verify", key, large, files.challenge, files.opening, "--request", files.request,
        "--waited", 0.5, "--evidence", to, "--identity", mine,
    )  # fmt: skip
    assert result.status == 1
    assert "no evidence was written" in result.err
    assert not to.exists()
