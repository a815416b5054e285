"""The examples run, and say what they are meant to show."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@pytest.mark.parametrize(
    ("name", "cells", "caught"),
    [
        ("cnn", "18 of 18 cells right", "one bit of one weight: rejected (step 8 [segment 1"),
        ("trees", "100 of 100 cells right", "other branches at the roots: rejected (step 9 [segment 0"),
        ("lstm", "40 of 40 cells right", "another recurrent matrix: rejected (step 8 [segment 0"),
    ],
)
def test_hand_built_networks(name: str, cells: str, caught: str, capsys: pytest.CaptureFixture[str]) -> None:
    honest, cheat = output_of(f"hand_built_{name}.py", capsys)
    assert honest.startswith(f"honest: {cells}")
    assert cheat.startswith(caught)


def test_embed_runner(capfd: pytest.CaptureFixture[str]) -> None:
    """The script starts its daemon, and fails unless receipt, opening, cancellation and drain are right."""
    runpy.run_path(str(EXAMPLES / "embed_runner.py"), run_name="__main__")
    out, err = capfd.readouterr()
    begun = ["answered", "opened", "cancelled", "left", "stopped"]
    assert [line.split(":")[0] for line in out.splitlines()] == begun
    assert [line for line in err.splitlines() if not line.startswith("compiling kernels")] == []


def test_cheating_node(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The script fails unless the command that it names finds each kind, for the reason that it names."""
    monkeypatch.setattr(sys, "argv", ["cheating_node.py"])
    lines = output_of("cheating_node.py", capsys)
    assert [line for line in lines if line.startswith("(exit")] == ["(exit status 1)"] * 6
    assert lines[-1] == "all 6 kinds of cheating were caught"
    product = lines[lines.index(next(line for line in lines if "--name product" in line)) :]
    answers = [line.split(",")[0] for line in product if line[:1].isdigit()]
    assert answers[:3] == ["1: verified", "2: verified", "3: contradicted"]


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


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "serve_demo.py"), "--max-tokens", "8", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_serve_demo(tmp_path: Path) -> None:
    chat_model().save(tmp_path / "model")
    done = demo("--model", str(tmp_path / "model"))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line[:5] for line in lines[-4:]] == ["yes  "] * 4
    assert "caught" in lines[-1]
    assert sum(line.startswith("$ proofcompute ask") for line in lines) == 2


def test_serve_demo_says_why_it_cannot_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").write_bytes(b"no model")
    done = demo("--model", str(tmp_path / "model"))
    assert done.returncode == 2
    assert "'proofcompute keygen' ended with status 2" in done.stderr
    demos = runpy.run_path(str(EXAMPLES / "serve_demo.py"))
    monkeypatch.setitem(demos["check_memory"].__globals__, "MEMORY", 1 << 60)
    with pytest.raises(demos["Impossible"], match="MiB are free here"):
        demos["check_memory"]()
    crash = ["-c", "import sys; sys.exit('no memory for it')"]
    with pytest.raises(demos["Impossible"], match="ended with status 1:\nno memory for it"):
        with demos["node"]("a node", crash, tmp_path):
            pass
    leaves = ["-c", "print('serving at http://127.0.0.1:9/v1, node 0\\nmodel m', flush=True); input()"]
    with pytest.raises(demos["Impossible"], match="ended with status"):
        with demos["node"]("a node", leaves, tmp_path) as url:
            assert url == "http://127.0.0.1:9"


@pytest.mark.parametrize("honest", [True, False])
def test_serve_demo_fails_unless_all_is_as_it_must_be(honest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the node that should cheat is honest, or the other way round, the demo's status is 1."""
    demos = runpy.run_path(str(EXAMPLES / "serve_demo.py"))
    said = "assurance sampled verified 3" if honest else "contradicted 3 REJECTED: step 5"

    @contextmanager
    def node(shown: str, command: object, folder: Path) -> Iterator[str]:
        yield "http://127.0.0.1:9"

    names = demos["demo"].__globals__
    monkeypatch.setitem(names, "run", lambda words, folder: (0 if honest else 1, said))
    monkeypatch.setitem(names, "prepare", lambda words, folder: None)
    monkeypatch.setitem(names, "node", node)
    monkeypatch.setattr(sys, "argv", ["serve_demo.py", "--model", __file__])
    assert demos["main"]() == 1
