"""Prompts from files, outputs into files, and what the command line says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.driver import Files, call, done, refused
from proofcompute.cli.app import COMMANDS
from proofcompute.models.builder import ProgramBuilder
from proofcompute.protocol.messages import Receipt, Request


# -- prompts ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_prompt_from_a_file(files: Files, tmp_path: Path, end: str) -> None:
    """As it is typed, whatever it begins with; the newline that editors put at the end is not asked for."""
    asked = "--help? \n-5 degrees"
    (tmp_path / "prompt").write_bytes((asked + end).encode())
    same = ("--nonce", "00" * 32, "--seed", 1)
    first, second = tmp_path / "first", tmp_path / "second"
    done("request", files.model, "--prompt-file", tmp_path / "prompt", "-o", first, *same)
    done("request", files.model, "--prompt", asked, "-o", second, *same)
    assert first.read_bytes() == second.read_bytes()


def test_a_prompt_from_standard_input(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "request"
    command = [sys.executable, "-m", "proofcompute", "request", files.model, "--prompt-file", "-", "-o", out]
    subprocess.run([str(word) for word in command], input=b"Hello", check=True, capture_output=True)
    assert "Hello" in Request.decode(out.read_bytes()).text


def test_prompts_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out")
    (tmp_path / "prompt").write_bytes(b"\xff")
    for command in ("request", "run"):
        assert "UTF-8" in refused(command, files.model, "--prompt-file", tmp_path / "prompt", *out)
        assert "--prompt" in refused(command, files.model, *out)
        both = ("--prompt", "x", "--prompt-file", tmp_path / "prompt")
        assert "either" in refused(command, files.model, *both, *out)
        assert "cannot read" in refused(command, files.model, "--prompt-file", tmp_path / "none", *out)
    assert os.listdir(tmp_path) == ["prompt"]


# -- outputs ---------------------------------------------------------------------------------------------
def test_outputs_of_a_program_that_does_not_generate(tmp_path: Path) -> None:
    """Arrays as they were computed, in whatever of the formats."""
    builder = ProgramBuilder(device="numpy")
    x = builder.input("samples", 8)
    builder.output(builder.linear(x, np.ones((5, 8), np.float32), name="scores"))
    mlp, model = builder.model(), tmp_path / "model"
    mlp.save(model)
    samples = np.arange(24, dtype="<f4")
    request = Request(mlp.model_id, (("samples", samples.tobytes()),), bytes(32))
    (tmp_path / "request").write_bytes(request.encode())
    for suffix in (".npz", ".npy", ".json"):
        done(
            "run",
            model,
            tmp_path / "request",
            "-o",
            tmp_path / f"run{suffix}",
            "--outputs",
            tmp_path / f"out{suffix}",
        )
    receipt = Receipt.decode((tmp_path / "run.npz" / "receipt").read_bytes())
    ((name, data),) = receipt.outputs
    right = np.frombuffer(data, "<f4").reshape(3, 5)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")[name], right)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), right)
    assert json.loads((tmp_path / "out.json").read_text()) == {name: right.tolist()}


def test_outputs_of_an_answer_without_a_commitment(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    found = done("run", files.model, files.request, "-o", tmp_path / "run", "--no-commit", "--outputs", out)
    assert np.load(out).tolist() == found["tokens"]


def test_a_name_that_says_no_format_is_refused_before_the_work(files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ".npz" in refused("run", files.model, files.request, "-o", run, "--outputs", tmp_path / "out.txt")
    assert not run.exists()


# -- help ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_short_help(command: str) -> None:
    result = call(*command.split(), "-h")
    assert result.status == 0
    assert f"Usage: proofcompute {command}".rstrip() in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_names_the_help_of_its_command(command: str) -> None:
    assert f"(see: proofcompute {command} --help)" in refused(command, "--no-such-option")


def test_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell asks, it gets; and that is no failure."""
    monkeypatch.setenv("_PROOFCOMPUTE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "proofcompute ver")
    monkeypatch.setenv("COMP_CWORD", "1")
    result = call()
    assert result.status == 0
    assert "verify" in result.out.split()
    monkeypatch.delenv("_PROOFCOMPUTE_COMPLETE")
    assert "--install-completion" in call("--help").out
