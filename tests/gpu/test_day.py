"""Tests ``make gpu-day`` without a GPU: its steps on the rig, and what it does when one fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.day import models, run
from benchmarks.gpu.day.__main__ import main
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import STEPS, Settings
from cuda_rig import why_not
from proofcompute.arithmetic.backends.cuda import probe

rig = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
EMULATED = ["--device", "emulated", "--few"]
QUICK = ["environment", "model"]


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())["steps"]
    return found


def findings(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


@rig
def test_all_steps_on_the_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EMULATED, "-o", str(tmp_path)]) == run.OK
    ended = results(tmp_path)
    assert list(ended) == [step.name for step in STEPS]
    assert all(ended[step.name]["status"] == ("ok" if step.emulated else "not run") for step in STEPS)
    found = findings(tmp_path)
    assert {row["step"] for row in found} == {step.name for step in STEPS if step.emulated}
    assert not any(row["bad"] for row in found)
    log = (tmp_path / "log.txt").read_text()
    assert log.count("== ") == sum(step.emulated for step in STEPS)
    capsys.readouterr()
    # what succeeded is repeated only for other sources, another device, or when asked
    assert main([*EMULATED, "-o", str(tmp_path)]) == run.OK
    assert (tmp_path / "log.txt").read_text() == log
    assert capsys.readouterr().out.count(" before") == sum(step.emulated for step in STEPS)


@rig
def test_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = [*EMULATED, "-o", str(tmp_path), "--only", "model"]
    assert main([*EMULATED, "-o", str(tmp_path), "--prepare"]) == run.OK
    (path,) = tmp_path.glob("expected-*.json")
    expected = json.loads(path.read_text())
    assert len(expected) == 2
    path.write_text(json.dumps(dict.fromkeys(expected, "0" * 64)))
    assert main(out) == run.BAD
    assert results(tmp_path)["model"]["status"] == "BAD"
    assert [row["bad"] for row in findings(tmp_path)] == [True, True]
    path.write_text("{")
    assert main(out) == run.BAD
    assert results(tmp_path)["model"]["status"] == "FAILED"
    path.unlink()
    monkeypatch.setattr(run, "STEPS", [replace(step, limit=0) for step in STEPS])
    assert main(out) == run.BAD
    assert results(tmp_path)["model"]["status"] == "TIME"
    monkeypatch.undo()
    assert main([*out, "--budget", "1"]) == run.LATE
    monkeypatch.setattr(run, "_LEAST", 0)
    assert main([*out, "--budget", "0.3"]) == run.LATE  # begun, and stopped by the budget
    assert results(tmp_path)["model"]["status"] == "not run"
    monkeypatch.undo()
    assert main(out) == run.OK


def test_without_a_device_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "probe", lambda: probe.Probe((), 0, "no driver; install one"))
    assert main(["-o", str(tmp_path)]) == run.MISSING
    said = capsys.readouterr().out
    assert said.startswith("cannot run: no driver; install one\n")
    assert "--device emulated" in said
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])


def test_results_are_of_these_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_process", lambda step, limit, settings: {"status": "ok"})
    settings = Settings("emulated", True, tmp_path)
    assert run.run(settings, [], 100, again=False) == run.OK
    key = json.loads((tmp_path / "results.json").read_text())["key"]
    monkeypatch.setattr(run, "_process", lambda step, limit, settings: {"status": "BAD"})
    assert run.run(settings, [], 100, again=False) == run.OK
    monkeypatch.setattr(run, "digest", lambda: "of others")
    assert run.run(settings, [], 100, again=False) == run.BAD
    assert json.loads((tmp_path / "results.json").read_text())["key"] != key


def test_the_cpus_receipts_are_made_beside_the_first_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, made = Settings("cuda", True, tmp_path), []

    def process(step: Any, limit: float, settings: Settings) -> dict[str, Any]:
        made.append((step.name, settings.expected.exists()))
        return {"status": "ok"}

    monkeypatch.setattr(run, "lacking", list)
    monkeypatch.setattr(run, "_process", process)
    assert run.run(settings, ["environment", "model", "memcheck"], 200, again=False) == run.OK
    assert made == [("environment", False), ("model", True), ("memcheck", True)]


@rig
@pytest.mark.parametrize("name", ["large", "ceilings", "products", "parts", "decode", "serving"])
def test_steps_of_a_device_run_at_all(tmp_path: Path, name: str) -> None:
    """They run small on the rig, whose times mean nothing, to test their code."""
    step = next(step for step in STEPS if step.name == name)
    found = Findings(tmp_path / "findings.jsonl", name)
    step.call()(found, Settings("emulated", True, tmp_path))
    assert not found.bad
    assert len(findings(tmp_path)) > 1


def test_the_plan() -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert sum(step.limit for step in STEPS) > 470  # most end early; the budget stops the rest
    assert all(callable(step.call()) for step in STEPS)
    small = models.made_model(models.SMALL)
    assert small.model_id == models.made_model(models.SMALL).model_id
