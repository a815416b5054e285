"""``inspect`` knows every kind of file, and tells no secret."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused, start
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.kinds import kind_of
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt, Request, Terms
from proofcompute.protocol.samples import Sample
from proofcompute.testing import random_network
from proofcompute.verifier import Key
from proofcompute.verifier.policy import AuditPolicy

KINDS = ("gguf", "model", "key", "identity", "request", "receipt", "challenge", "opening", "run")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised(files: Files, kind: str) -> None:
    path: Path = getattr(files, kind)
    found = done("inspect", path)
    assert found["kind"] == kind
    assert len(found) > 1
    text = call("inspect", path).out
    assert all(name in text for name in found)
    assert kind == "run" or kind_of(path) == kind


def test_what_it_says_is_what_is_there(files: Files) -> None:
    receipt = Receipt.decode(files.receipt.read_bytes())
    ids = {done("inspect", f)["model_id"] for f in (files.model, files.key, files.request, files.receipt)}
    assert ids == {receipt.model_id.hex()}
    assert done("inspect", files.receipt)["signature_holds"] is True
    assert done("inspect", files.challenge)["receipt_digest"] == receipt.digest.hex()
    assert done("inspect", files.opening)["receipt_digest"] == receipt.digest.hex()
    assert done("inspect", files.opening)["frames"] == 6
    assert done("inspect", files.identity)["public"] == receipt.node.hex()
    assert done("inspect", files.run)["state"] == "finished"
    assert done("inspect", files.run)["tokens"] == 10
    assert done("inspect", files.model)["precision"] == "w8a16"


def test_a_policy_is_shown(tmp_path: Path) -> None:
    AuditPolicy(0.25, 0.5, Sample(3, 256)).save(tmp_path / "policy")
    found = done("inspect", tmp_path / "policy")
    assert (found["kind"], found["whole"], found["sampled"]) == ("audit policy", 0.25, 0.5)
    assert (found["runs"], found["rows_of_a_run"], found["cells"]) == (3, 256, 0)


def test_a_directory_with_a_request_and_a_model_is_no_run(files: Files, tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(files.request.read_bytes())
    (tmp_path / "model").symlink_to(files.model)
    assert "not that of a run" in refused("inspect", tmp_path)


def test_terms_and_cards_are_shown(files: Files, tmp_path: Path) -> None:
    node, model = NodeIdentity.load(files.identity), Model.load(files.model)
    terms, card = tmp_path / "terms", tmp_path / "card"
    made = Terms.of(node, base=30, rate=250, retention=3600)
    terms.write_bytes(made.encode())
    model.card.save(card)
    shown = done("inspect", terms)
    assert (shown["kind"], shown["digest"], shown["signature_holds"]) == ("terms", made.digest.hex(), True)
    assert (shown["base_seconds"], shown["rows_per_second"], shown["retention_seconds"]) == (30, 250, 3600)
    assert (done("inspect", card)["kind"], done("inspect", card)["model_id"]) == (
        "card",
        model.model_id.hex(),
    )
    for path in (terms, card):
        path.write_bytes(path.read_bytes()[:-1])
        assert refused("inspect", path)


def test_a_manifest_does_not_pass_for_what_is_there(files: Files, tmp_path: Path) -> None:
    """Anybody can write it, since no model id binds it."""
    model = Model.load(files.model)
    names = ("kind", "model_id", "segments", "prices", "file_bytes", "program")
    lies = dict.fromkeys(names, "a lie")
    replace(model, manifest=lies | {"note": "mine"}).save(tmp_path / "model")
    honest, found = done("inspect", files.model), done("inspect", tmp_path / "model")
    assert found["note"] == "mine"
    assert "program" not in found
    for name in ("kind", "model_id", "segments", "prices"):
        assert found[name] == honest[name]
    assert found["file_bytes"] == (tmp_path / "model").stat().st_size


def test_prices_of_a_language_model_are_those_of_a_prompt(files: Files) -> None:
    found = done("inspect", files.model)["prices"]
    assert found["rows"] == min(512, done("inspect", files.model)["context"])
    assert found["cheaper"] in ("key", "weights")
    assert found["key"]["nbytes"] > found["weights"]["nbytes"]


def test_a_program_of_many_segments_is_shown_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    random_network([8] * 26).save(path)
    text = call("inspect", path).out
    assert "cell of segment 19" in text
    assert "cell of segment 20" not in text
    assert "more segments" in text
    assert len(done("inspect", path)["prices"]["segments"]) == 25


def test_where_a_full_audit_has_too_many_cells_one_row_is_priced(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = done("inspect", files.model)["prices"]["rows"]
    monkeypatch.setattr("proofcompute.protocol.cells._PIECE", 1)  # cells of one row each
    assert done("inspect", files.model)["prices"]["rows"] == rows
    monkeypatch.setattr("proofcompute.verifier.pricing._MOST", 1 << 8)
    assert done("inspect", files.model)["prices"]["rows"] == 1


def test_secrets_are_not_shown(files: Files) -> None:
    key, node = Key.load(files.key), NodeIdentity.load(files.identity)
    shown = call("inspect", files.key).out + call("inspect", files.key, "--json").out
    secrets = [key.columns.seed, *(v.tobytes()[:8] for v in key.columns.projections.values())]
    assert not any(s.hex() in shown or str(s) in shown for s in secrets)
    shown = call("inspect", files.identity).out + call("inspect", files.identity, "--json").out
    assert node.seed.hex() not in shown


def test_what_is_nothing_of_ours_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    for data in (b"", b"hello", os.urandom(400), b"\x85\x64GGUF", b"proofcompute request"):
        junk.write_bytes(data)
        assert "none of" in refused("inspect", junk)
    assert "cannot read" in refused("inspect", tmp_path / "missing")
    assert "no request" in refused("inspect", tmp_path)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "run"])
def test_files_cut_short_are_refused(files: Files, tmp_path: Path, kind: str) -> None:
    data = getattr(files, kind).read_bytes()
    part = tmp_path / "part"
    for cut in (40, len(data) // 2, len(data) - 1):
        part.write_bytes(data[:cut])
        part.chmod(0o600)
        assert refused("inspect", part)


def test_a_text_cannot_command_the_terminal_or_forge_lines(files: Files, tmp_path: Path) -> None:
    path, text = tmp_path / "request", "a\x1b[2J\u202e\nkind  key"
    done("request", files.model, "--prompt", text, "--raw", "-o", path)
    assert Request.decode(path.read_bytes()).text == text
    shown = call("inspect", path).out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.count("\nkind") == 0
    assert done("inspect", path)["text"] == text


def test_progress_is_shown_on_a_terminal_only(files: Files, tmp_path: Path) -> None:
    master, slave = os.openpty()
    process = start("keygen", files.model, "-o", tmp_path / "key", stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    process.communicate()
    assert process.returncode == 0
    assert b"keygen" in seen
    process = start("keygen", files.model, "-o", tmp_path / "other")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
