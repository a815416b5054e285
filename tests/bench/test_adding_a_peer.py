"""docs/peers.md, followed word by word: its module, its commands, its page."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import markdown_blocks as markdown
from benchmarks import page
from benchmarks.peers import __main__ as command
from benchmarks.peers.cases import CASES, SYSTEMS
from proofcompute.arithmetic.devices import kernels_for

ROOT = Path(__file__).resolve().parents[2]
MODULE, COMMANDS = markdown.blocks((ROOT / "docs" / "peers.md").read_text("utf-8"))


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The words of the commands, in a directory that holds the module."""
    (tmp_path / "toy_peer.py").write_text(MODULE.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(command, "kernels_for", lambda _: kernels_for("numpy"))
    before = dict(SYSTEMS), list(CASES)
    yield [shlex.split(line) for line in markdown.shell_script(COMMANDS).splitlines()]
    sys.modules.pop("toy_peer", None)
    SYSTEMS.clear()
    SYSTEMS.update(before[0])
    CASES[:] = before[1]


def test_the_page_is_true(commands: list[list[str]], tmp_path: Path) -> None:
    assert [words[:3] for words in commands] == [
        ["python", "-m", "benchmarks.peers"],
        ["python", "-m", "benchmarks.page"],
    ]
    assert command.main(commands[0][3:]) == 0
    (case,) = json.loads((tmp_path / "figures" / "peers.json").read_text())["cases"]
    (row,) = case["rows"]
    assert (row["system"], row["status"], row["proof_bytes"]) == ("toy", "measured", 32)
    assert len(row["rounds"]["verify"]) == 5
    assert row["peak_memory_bytes"] > 2**20
    assert page.main(commands[1][3:]) == 0
    text = (tmp_path / "figures" / "page.md").read_text("utf-8")
    assert "| MLP 16-32-10 beside a toy | toy | - |" in text
    assert "32 B" in text


def test_started_again_it_keeps_what_is_there(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = commands[0][3:]
    command.main(words)
    for name in ("toy_peer",):
        sys.modules.pop(name)
    SYSTEMS.pop("toy")
    CASES[:] = [c for c in CASES if "toy" not in c.parts]
    capsys.readouterr()
    command.main(words)
    assert "measured already, kept" in capsys.readouterr().err


def test_a_module_that_cannot_be_added_is_named(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_peer.py").write_text("import no_such_module\n")
    twice = "from benchmarks.peers.cases import System, register\nregister('ezkl', System(__name__, {}))\n"
    (tmp_path / "twice_peer.py").write_text(twice)
    for module, message in (
        ("absent_peer", "No module named 'absent_peer'"),
        ("broken_peer", "no_such_module"),
        ("twice_peer", "registered already"),
    ):
        with pytest.raises(SystemExit) as refused:
            command.main(["-o", str(tmp_path / "out"), "--add", module])
        assert refused.value.code == 2
        assert message in capsys.readouterr().err
