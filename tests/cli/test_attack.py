"""The command that attacks a model of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from proofcompute.attacks.attack import Mode
from proofcompute.attacks.case import Case
from proofcompute.attacks.registry import ATTACKS
from proofcompute.attacks.report import FORMAT
from proofcompute.attacks.trials import Outcome

FEW = ("--only", "weights/one layer skipped", "--only", "receipt/replayed", "--only", "experts/fewer")
QUICK = ("--draws", 50, "--audits", 1, "--device", "numpy")


def test_a_model_is_attacked_in_every_mode(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    found = done("attack", files.model, *FEW, *QUICK, "-o", path)
    assert json.loads(path.read_text("utf-8")) == found
    assert (found["format"], found["complete"], found["builtin"]) == (FORMAT, True, False)
    assert found["counts"]["all"] == {"stopped": 7, "failed": 0, "not_applicable": 4}
    assert [(a["attack"], a["mode"], a["outcome"]) for a in found["attacks"][:4]] == [
        ("weights/one layer skipped", mode, "stopped") for mode in ("private", "public", "replay", "evidence")
    ]
    rate = found["attacks"][0]["rate"]
    assert rate["low"] <= rate["formula"] <= rate["high"]
    assert (rate["draws"], rate["audits"], rate["agreeing"]) == (50, 1, 1)
    reasons = {a["reason"] for a in found["attacks"] if a["outcome"] == "not applicable"}
    assert reasons == {"no mixture of experts"}


def test_the_documented_fields_are_those_of_a_report(files: Files) -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "attack.md").read_text("utf-8")
    found = done("attack", files.model, *FEW, *QUICK, "--mode", "private")
    for fields in (found, found["attacks"][0], *found["attacks"][0]["trials"], found["attacks"][0]["rate"]):
        assert [name for name in fields if f"`{name}`" not in guide] == []


def test_a_table_for_people(files: Files) -> None:
    result = call("attack", files.model, *FEW, *QUICK, "--mode", "replay")
    assert result.status == 0
    assert "weights/one layer skipped" in result.out
    assert "replay    2 stopped, 0 failed, 1 not applicable" in result.out


def test_an_attack_that_passes_ends_with_status_1(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Case, "verify", lambda self, kernels=None, progress=None: None)
    result = call("attack", files.model, "--only", "receipt/replayed", *QUICK, "--mode", "private", "--json")
    assert result.status == 1
    assert "4 must stop it; found: passed" in result.err
    assert json.loads(result.out.splitlines()[-1])["counts"]["private"]["failed"] == 1


def test_an_interrupted_command_says_what_was_done(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def interrupted(*arguments: object) -> Outcome:
        if made:
            raise KeyboardInterrupt
        made.append(arguments)
        return Outcome(ATTACKS["receipt/replayed receipt"], Mode.REPLAY, reason="not now")

    monkeypatch.setattr("proofcompute.attacks.report.attempt", interrupted)
    path = tmp_path / "report.json"
    result = call("attack", files.model, *FEW, *QUICK, "-o", path)
    assert result.status == 130
    found = json.loads(path.read_text("utf-8"))
    assert (found["complete"], len(found["attacks"])) == (False, 1)


def test_attacks_are_listed() -> None:
    found = done("attack", "--list", "--only", "hint/", "--mode", "private")
    assert len(found["attacks"]) == sum(a.subject == "hint" for a in ATTACKS.values())
    assert all(one["expected"]["private"] in (["8"], ["1"]) for one in found["attacks"])
    assert "hint/a hint of zeros" in call("attack", "--list").out


def test_what_cannot_be_attacked_is_refused(files: Files) -> None:
    assert "give a model file, or --builtin" in refused("attack")
    assert "give a model file, or --builtin" in refused("attack", files.model, "--builtin")
    assert "no mode 'most'" in refused("attack", files.model, "--mode", "most")
    assert "no attack has such a name" in refused("attack", files.model, "--only", "no such attack")
    assert "cpu or numpy" in refused("attack", files.model, "--device", "cuda")
    assert "none of these attacks applies" in refused(
        "attack", files.model, "--only", "experts/fewer", *QUICK, "--mode", "replay"
    )
