"""Runs: interrupted, resumed, without a commitment, and with a disk that is full."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
import unicodedata
from pathlib import Path

import pytest

from cli.driver import Files, call, done, limited, refused, start
from importers.tiny import write_tiny_gguf
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.messages import Receipt
from proofcompute.prover import RunDirectory

LONG = ("--max-tokens", 200, "--temperature", 1.5, "--seed", 3)


def answer(run: Path) -> tuple[bytes, bytes]:
    receipt = Receipt.decode((run / "receipt").read_bytes())
    return receipt.outputs[0][1], receipt.trace_root


@pytest.fixture(scope="module")
def long_request(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "request"
    done("request", files.model, "--prompt", "the", *LONG, "-o", path)
    return path


@pytest.fixture(scope="module")
def whole(files: Files, long_request: Path) -> tuple[bytes, bytes]:
    """Answer and trace root of a run that nothing interrupted."""
    run = long_request.with_name("whole")
    done("run", files.model, long_request, "-o", run)
    return answer(run)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model, request, run = tmp_path / "model", tmp_path / "request", tmp_path / "run"
    tokens = run / "tokens"
    # seconds of work, so that the signal finds it running
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf", context=4096)
    done("import", tiny, "-o", model, "--precision", "w8a16")
    done("request", model, "--prompt", "the", "--max-tokens", 2500, "-o", request)
    process = start("run", model, request, "-o", run, "--retention", 60)
    while process.poll() is None and not (tokens.exists() and tokens.stat().st_size >= 12):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    again = out.decode().partition("to continue: ")[2].splitlines()[0]
    options = ["-o", str(run), "--retention", "60", "--device", "numpy"]
    assert shlex.split(again) == ["proofcompute", "run", str(model), str(run / "request"), *options]
    assert not (run / "receipt").exists()
    assert not (run / "trace").exists()
    kept = tokens.read_bytes()
    assert len(kept) >= 12
    assert call("inspect", run, "--json").json["state"].startswith("interrupted")
    done(*shlex.split(again)[1:])
    assert Receipt.decode((run / "receipt").read_bytes()).retention == 60
    done("run", model, request, "-o", tmp_path / "whole")
    whole = answer(tmp_path / "whole")
    assert answer(run) == whole
    assert len(kept) < len(whole[0])
    assert whole[0].startswith(kept)


def test_a_token_that_was_cut_in_half_is_made_again(
    files: Files, long_request: Path, whole: tuple[bytes, bytes], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "request").write_bytes(long_request.read_bytes())
    (run / "tokens").write_bytes(whole[0][:42])
    done("run", files.model, long_request, "-o", run)
    assert answer(run) == whole


@pytest.mark.parametrize("tokens", ["ff" * 8, "01000000" * 201])
def test_tokens_of_another_run_are_refused(
    files: Files, long_request: Path, tmp_path: Path, tokens: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "request").write_bytes(long_request.read_bytes())
    (run / "tokens").write_bytes(bytes.fromhex(tokens))
    refused("run", files.model, long_request, "-o", run)
    assert not (run / "receipt").exists()


def test_another_request_does_not_go_on_with_a_run(files: Files, long_request: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "request").write_bytes(long_request.read_bytes())
    assert "another request" in refused("run", files.model, files.request, "-o", run)
    assert "to continue it" in refused("run", files.model, "--prompt", "the", "-o", run)


def test_a_finished_run_is_not_overwritten(files: Files) -> None:
    before = files.receipt.read_bytes()
    assert "finished" in refused("run", files.model, files.request, "-o", files.run)
    assert files.receipt.read_bytes() == before


def test_no_commit_answers_and_commits_later(files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = done("run", files.model, files.request, "-o", run, "--no-commit")
    assert found["receipt"] is None
    assert sorted(p.name for p in run.iterdir()) == ["model", "request", "tokens"]
    assert "run it again" in refused("open", run, files.challenge, "-o", tmp_path / "opening")
    again = done("run", files.model, files.request, "-o", run)
    assert again["tokens"] == found["tokens"]
    assert answer(run) == answer(files.run)


def test_a_prompt_in_place_of_a_request(files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = done("run", files.model, "--prompt", "Hello", "--max-tokens", 4, "-o", run)
    assert found["stop_reason"] == "length"
    assert (run / "request").is_file()
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    done("challenge", files.model, run / "receipt", "--request", run / "request", "-o", challenge, "--all")
    done("open", run, challenge, "-o", opening)
    verified = done("verify", files.model, run / "receipt", challenge, opening, "--request", run / "request")
    assert verified["answer"] == found["answer"]


def test_the_answer_is_streamed_without_control_characters(files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--prompt", "the", "--max-tokens", 60, "--temperature", 3, "--seed", 1)
    result = call("run", files.model, *words, "-o", run)
    assert result.status == 0
    shown, _, last = result.out.rstrip("\n").rpartition("\n")
    assert "committed in" in last
    shown, _, last = shown.rpartition("\n")
    assert "tokens in" in last
    assert "\N{REPLACEMENT CHARACTER}" in shown
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in shown)


def test_a_trace_that_was_removed_is_computed_again(files: Files, tmp_path: Path) -> None:
    run, before, after = tmp_path / "run", tmp_path / "before", tmp_path / "after"
    shutil.copytree(files.run, run)
    done("open", run, files.challenge, "-o", before)
    (run / "trace").unlink()
    done("open", run, files.challenge, "-o", after)
    assert before.read_bytes() == after.read_bytes()


def test_the_model_may_move(files: Files, tmp_path: Path) -> None:
    run, model = tmp_path / "run", tmp_path / "model"
    model.write_bytes(files.model.read_bytes())
    done("run", model, files.request, "-o", run)
    model.rename(tmp_path / "moved")
    challenge = tmp_path / "challenge"
    done("challenge", files.key, run / "receipt", "--request", run / "request", "-o", challenge)
    assert "--model" in refused("open", run, challenge, "-o", tmp_path / "opening")
    done("open", run, challenge, "-o", tmp_path / "opening", "--model", tmp_path / "moved")
    assert RunDirectory(run).model_path() == model


def test_a_full_disk_leaves_a_run_that_can_go_on(files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    status, error = limited(8000, "run", files.model, files.request, "-o", run)
    assert status == 2
    assert "trace" in error
    assert sorted(os.listdir(run)) == ["identity", "model", "request", "tokens"]
    kept = NodeIdentity.load(run / "identity")
    done("run", files.model, files.request, "-o", run)
    assert answer(run) == answer(files.run)
    assert NodeIdentity.load(run / "identity") == kept


def test_a_run_can_be_opened_by_who_signed_it(files: Files, tmp_path: Path) -> None:
    """A key pair that was made for the run stays with it, for its owner only; another's file is noted."""
    run, challenge, out = tmp_path / "run", tmp_path / "challenge", tmp_path / "opening"
    done("run", files.model, files.request, "-o", run)
    done("challenge", files.key, run / "receipt", "--request", run / "request", "-o", challenge)
    assert (run / "identity").stat().st_mode & 0o777 == 0o600
    assert not (run / "signer").exists()
    assert done("inspect", run / "receipt")["node"] == done("inspect", run / "identity")["public"]
    done("open", run, challenge, "-o", out)
    again = ("open", run, challenge, "-o", out, "--force")
    assert "not signed by this identity" in refused(*again, "--identity", files.identity)
    (run / "identity").chmod(0o644)
    assert "identity" in refused(*again)
    (run / "identity").unlink()
    assert "--identity" in refused(*again)


def test_a_key_pair_of_a_node_is_not_copied_into_its_runs(files: Files, tmp_path: Path) -> None:
    identity, run, challenge = tmp_path / "identity", tmp_path / "run", tmp_path / "challenge"
    out = tmp_path / "opening"
    identity.write_bytes(files.identity.read_bytes())
    identity.chmod(0o600)
    done("run", files.model, files.request, "-o", run, "--identity", identity)
    assert not (run / "identity").exists()
    done("challenge", files.key, run / "receipt", "--request", run / "request", "-o", challenge)
    done("open", run, challenge, "-o", out)
    identity.rename(tmp_path / "moved")
    assert "--identity" in refused("open", run, challenge, "-o", out, "--force")
    done("open", run, challenge, "-o", out, "--force", "--identity", tmp_path / "moved")


def test_a_disk_that_fills_up_while_tokens_are_written(files: Files, tmp_path: Path) -> None:
    long = tmp_path / "request"
    done("request", files.model, "--prompt", "the", "--max-tokens", 220, "-o", long)
    size = long.stat().st_size
    assert size < 880  # the request fits, the tokens do not
    status, error = limited(max(size, 800), "run", files.model, long, "-o", tmp_path / "run")
    assert status == 2
    assert "resume" in error
    assert not (tmp_path / "run" / "receipt").exists()


@pytest.mark.parametrize("what", ["import", "open", "request", "identity", "challenge"])
def test_a_full_disk_leaves_nothing_half_written(files: Files, tmp_path: Path, what: str) -> None:
    words: dict[str, tuple[object, ...]] = {
        "import": (files.gguf,),
        "open": (files.run, files.challenge),
        "request": (files.model, "--prompt", "x"),
        "identity": (),
        "challenge": (files.key, files.receipt, "--request", files.request),
    }
    status, error = limited(10, what, *words[what], "-o", tmp_path / "file")
    assert status == 2
    assert "cannot write" in error
    assert os.listdir(tmp_path) == []


def test_a_verification_that_cannot_be_counted_is_not_made(files: Files, key: Path) -> None:
    words = ("verify", key, files.receipt, files.challenge, files.opening, "--request", files.request)
    before = key.read_bytes()
    status, error = limited(0, *words)
    assert status == 2
    assert "cannot count this verification" in error
    assert key.read_bytes() == before


def test_a_reader_who_leaves_is_no_error(files: Files) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("inspect", files.request, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = process.communicate()
    assert (process.returncode, err) == (141, b"")
