"""The examples run, and say what they are meant to show."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

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
