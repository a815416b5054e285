"""The examples run, and say what they are meant to show."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import proofcompute as pc
from serving.running import chat_model, running
from synthetic import KERNELS

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_verify_gemm(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of("verify_gemm.py", capsys)
    assert [line.split(":")[0] for line in lines] == ["int8", "int8", "float32", "float32", "job", "job"]
    assert lines[0] == "int8: 300 rows right over GF(2^31 - 1), 62 bits"
    assert "rejected (step 8" in lines[1]
    assert "missed with probability 2^-40" in lines[2]
    assert "rejected (step 8" in lines[3]
    assert "20 of 200 rows right over GF(2^61 - 1), int64 results" in lines[4]
    assert lines[5].endswith("rejected (step 5)")


def test_hand_built_mlp(capsys: pytest.CaptureFixture[str]) -> None:
    honest, cheat = output_of("hand_built_mlp.py", capsys)
    assert honest.startswith("honest: 300 of 300 cells right, 62 bits")
    assert cheat.startswith("a skipped layer: rejected (step 8 [segment 1")


def test_embed_runner(capfd: pytest.CaptureFixture[str]) -> None:
    """The script starts its daemon, and fails unless receipt, opening, cancellation and drain are right."""
    runpy.run_path(str(EXAMPLES / "embed_runner.py"), run_name="__main__")
    out, err = capfd.readouterr()
    begun = ["answered", "opened", "cancelled", "left", "stopped"]
    assert [line.split(":")[0] for line in out.splitlines()] == begun
    assert err == ""


def test_cheating_node(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The script fails unless the command that it names finds each kind, for the reason that it names."""
    monkeypatch.setattr(sys, "argv", ["cheating_node.py"])
    lines = output_of("cheating_node.py", capsys)
    assert [line for line in lines if line.startswith("(exit")] == ["(exit status 1)"] * 6
    assert lines[-1] == "all 6 kinds of cheating were caught"
    product = lines[lines.index(next(line for line in lines if "--name product" in line)) :]
    assert [line.split(",")[0] for line in product[1:4]] == ["1: verified", "2: verified", "3: contradicted"]


def test_a_node_that_does_not_cheat_is_not_caught(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What finds the cheats does not find them in an honest node, so the script would fail."""
    cheating = runpy.run_path(str(EXAMPLES / "cheating_node.py"))
    model = chat_model()
    (tmp_path / "CARD").write_bytes(model.card.encode())
    pc.write_key(model, KERNELS, tmp_path / "KEY")
    kinds = ("layer", "text", "stale")
    with running(models=dict.fromkeys(kinds, model)) as node:
        assert [kind for kind in kinds if cheating["caught"](kind, node.url, tmp_path)] == []
    assert capsys.readouterr().out.count("(exit status 0)") == 3
