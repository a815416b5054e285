"""The command ``audit`` against a real service: honest answers, a false trace, a record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import proofcompute as pc
from proofcompute.cli import main
from proofcompute.prover import finishing, make_receipt
from proofcompute.public.publishing import publish
from serving.running import Running, chat_model, running
from synthetic import KERNELS, NODE


def audited(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["audit", *map(str, words), "--max-tokens", "4", "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]), err


@pytest.mark.parametrize(
    ("holds", "options", "state"),
    [
        ("card", (), "receipted"),
        ("key", ("--cells", 2), "verified"),
        ("model", ("--all",), "verified"),
        ("key", ("--runs", "2x3"), "verified"),
        ("model", ("--replay",), "verified"),
    ],
)
def test_an_honest_node_passes(
    holds: str,
    options: tuple[object, ...],
    state: str,
    node: Running,
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, found, err = audited(capsys, node.url, f"--{holds}", files / holds, "--count", 3, *options)
    assert status == 0, (found, err)
    assert found["states"][state] == 3
    assert (found["cells"] > 0) == (state == "verified")


def test_a_node_is_audited_by_public_proofs_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = publish(chat_model(), KERNELS)
    codes.key.save(tmp_path / "public")
    pc.NodeIdentity.new().save(tmp_path / "identity")
    promised = pc.Terms.of(NODE, base=30, rate=100, retention=86_400, proofs=[codes.key.public_id])
    with running(published=[codes], terms=promised) as node:
        words = (node.url, "--public", tmp_path / "public", "--count", 1)
        status, found, err = audited(capsys, *words, "--cells", 3)
        assert (status, found["states"]["verified"]) == (0, 1), err
        evidence = ("--evidence", tmp_path / "shown", "--identity", tmp_path / "identity")
        opener = node.service.models["tiny"].runner.opener
        honest, opener.identity = opener.identity, pc.NodeIdentity.new()
        status, found, err = audited(capsys, *words, *evidence)
        opener.identity = honest
        assert status == 1, (found, err)
    with running() as plain:  # its terms promise no proofs, so there is nothing to blame it for
        status, found, err = audited(capsys, plain.url, "--public", tmp_path / "public", "--count", 1)
        assert status == 2
        assert "promise no public proofs" in found["error"]


def test_canaries_are_checked_by_a_policy_that_spares_none(
    node: Running, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    always, sometimes = tmp_path / "always", tmp_path / "sometimes"
    pc.AuditPolicy(0.5, 0.5, pc.Sample(1, 2, 1)).save(always)
    pc.AuditPolicy(0.5).save(sometimes)
    words = (node.url, "--key", files / "key", "--count", 2, "--policy")
    status, found, _ = audited(capsys, *words, always)
    assert (status, found["states"]["verified"]) == (0, 2)
    status, found, _ = audited(capsys, *words, sometimes)
    assert status == 2
    assert "checks nothing of some answers" in found["error"]


def test_a_false_trace_fails_with_evidence_that_others_confirm(
    node: Running,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    honest = make_receipt

    def false(*args: Any, **named: Any) -> pc.Receipt:
        made = replace(honest(*args, **named), trace_root=bytes(32), signature=b"")
        return made.signed(NODE.sign(made.signed_digest))

    monkeypatch.setattr(finishing, "make_receipt", false)
    words = ("--count", 1, "--evidence", tmp_path, "--identity", files / "identity")
    status, found, _ = audited(capsys, node.url, "--model", files / "model", "--replay", *words)
    assert (status, found["states"]["contradicted"], found["verified"]) == (1, 1, False)
    (bundle,) = tmp_path.iterdir()
    assert main(["verify-evidence", str(bundle), "--model", str(files / "model")]) == 0
    assert "contradicted" in capsys.readouterr().out


def test_a_record_continues_and_counts_what_was_done(
    node: Running, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (node.url, "--key", files / "key", "--cells", 1, "--record", tmp_path / "record")
    assert audited(capsys, *words, "--count", 2)[1]["states"]["verified"] == 2
    with (tmp_path / "record").open("ab") as stream:
        stream.write(b'{"event":"ans')  # what a killed process leaves
    assert audited(capsys, *words, "--count", 3)[1]["states"]["verified"] == 3
    events = [json.loads(line)["event"] for line in (tmp_path / "record").read_text().splitlines()]
    assert events.count("verdict") == 3


def test_recorded_requests_are_sent_as_they_are_and_once(
    node: Running, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = tmp_path / "requests"
    bodies = [{"prompt": word, "max_tokens": 3} for word in ("once", "twice", "thrice", "once")]
    requests.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    words = (node.url, "--card", files / "card", "--requests", requests, "--record", tmp_path / "record")
    assert audited(capsys, *words, "--count", 2)[0] == 0
    assert audited(capsys, *words, "--count", 3)[0] == 0
    status, found, _ = audited(capsys, *words, "--count", 4)
    assert (status, found["error"]) == (2, "1 canaries are to be sent, and 0 recorded requests can be used")
    requests.write_text("{}\n[")
    assert "line 2 is no body" in audited(capsys, *words)[1]["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which model must answer"),
        (("--key", "key", "--replay"), "only who holds the model"),
        (("--key", "key", "--evidence", "x"), "signed"),
        (("--key", "key", "--count", "3", "--min-checked", "4"), "more than the 3 canaries"),
        (("--key", "key", "--budget", "20000"), "a number and one of the units"),
        (("--key", "key", "--requests", "/dev/null"), "holds no request"),
    ],
)
def test_what_cannot_be_audited(
    words: tuple[str, ...], said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(files / w) if w == "key" else w for w in words]
    status, found, _ = audited(capsys, "http://127.0.0.1:9", *given)
    assert (status, said in found["error"]) == (2, True)
