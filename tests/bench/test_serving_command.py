"""The command of benchmarks/serving: what is kept and measured anew, what the engine's parts do, the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import __main__ as command
from benchmarks.serving.bench import Plan
from benchmarks.serving.engine import Engines, unhashed
from benchmarks.serving.page import DATA, PAGE, page
from benchmarks.serving.peers import LLAMA_BENCH, LLAMA_PYTHON, LLAMA_SERVER, OURS, Wanted, find
from benchmarks.serving.record import PARTS, Record, conditions
from benchmarks.serving.tables import GOALS, tables
from benchmarks.serving.whole import LENGTHS, whole
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.busy import QUIET, Busy
from proofcompute.engine import Engine, Session
from proofcompute.errors import ExecutionError, InputError
from proofcompute.protocol.messages import Receipt
from proofcompute.protocol.trace import Trace
from proofcompute.testing.models import random_chat_model


# -- what is written, kept and measured anew ----------------------------------------------------------------
class Run:
    """The command with measurements of no cost, which are counted."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.measured: list[str] = []
        self.stop_before = ""
        self.status = "measured"
        self.code = "0123456789ab"
        monkeypatch.setattr(command, "prepare", lambda folder, plan, wanted: None)
        monkeypatch.setattr(command, "load", lambda: Busy(0.0, 0.0))
        monkeypatch.setattr(command, "kernels_for", lambda _: kernels_for("numpy"))
        monkeypatch.setattr("benchmarks.serving.record.code", lambda _: self.code)
        monkeypatch.setattr(command, "MEASURES", {part: self._measure(part) for part in PARTS})

    def _measure(self, part: str) -> Callable[[Any], list[dict[str, Any]]]:
        def measure(_: Any) -> list[dict[str, Any]]:
            if part == self.stop_before:
                raise KeyboardInterrupt
            self.measured.append(part)
            return [{"system": "x", "status": self.status, "reason": "r", "serial": len(self.measured)}]

        return measure

    def __call__(self, *options: str) -> list[str]:
        """Names of the parts measured by this call."""
        self.measured.clear()
        assert command.main(["-o", str(self.path), *options]) == 0
        return list(self.measured)

    def parts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "serving.json").read_text())
        return dict(found["parts"])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path / "out", monkeypatch)


def test_every_part_has_a_measure() -> None:
    assert set(command.MEASURES) == set(PARTS)


def test_an_interrupted_run_goes_on(run: Run) -> None:
    run.stop_before = PARTS[2]
    with pytest.raises(KeyboardInterrupt):
        run("--note", "a test")
    assert list(run.parts()) == list(PARTS[:2])
    before = run.parts()
    assert before[PARTS[0]]["note"] == "a test"
    run.stop_before = ""
    assert run() == list(PARTS[2:])
    assert {name: run.parts()[name] for name in PARTS[:2]} == before
    assert run() == []


def test_a_part_that_fails_does_not_hold_up_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> list[dict[str, Any]]:
        raise ExecutionError("no luck")

    monkeypatch.setitem(command.MEASURES, PARTS[1], fail)
    assert command.main(["-o", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert "failed: ExecutionError: no luck" in said
    assert f"not measured: {PARTS[1]};" in said
    assert list(run.parts()) == [PARTS[0], *PARTS[2:]]


def test_only_and_again(run: Run) -> None:
    assert run("--only", PARTS[3], "--only", PARTS[0]) == [PARTS[0], PARTS[3]]
    assert run("--only", PARTS[3]) == []
    assert run("--only", PARTS[3], "--again") == [PARTS[3]]
    assert list(run.parts()) == [PARTS[0], PARTS[3]]


def test_other_code_or_settings_are_measured_anew(run: Run) -> None:
    run()
    assert run("--seconds", "5") == ["soak"]
    assert run("--rounds", "2", "--seconds", "5") == list(PARTS)
    run.code = "ba9876543210"
    assert run("--rounds", "2", "--seconds", "5") == list(PARTS)


def test_a_part_in_which_a_system_failed_is_tried_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.status = "failed"
    run("--only", PARTS[0])
    assert "x: failed: r" in capsys.readouterr().err
    run.status = "missing"
    assert run("--only", PARTS[0]) == [PARTS[0]]
    assert run("--only", PARTS[0]) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0, "parts": {}}'])
def test_a_file_of_another_form_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "serving.json"
    path.write_text(text)
    with pytest.raises(InputError, match="choose another directory"):
        Record(path)
    assert path.read_text() == text


def test_the_digest_leaves_out_what_only_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.record.HERE", tmp_path)
    kernels, settings = kernels_for("numpy"), Plan().settings("loops")
    before = conditions(kernels, settings)
    for name in ("page.py", "tables.py"):
        (tmp_path / name).write_text("words")
    assert conditions(kernels, settings) == before
    (tmp_path / "load.py").write_text("x = 1")
    assert conditions(kernels, settings)["code"] != before["code"]


# -- other systems -----------------------------------------------------------------------------------------
def test_missing_systems_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    found = find(tmp_path, tmp_path, Wanted(python=str(python)), slots=16, ends=(0,))
    assert found.kinds() == []
    assert found.bench is None
    assert set(found.missing) == {LLAMA_SERVER, LLAMA_BENCH, LLAMA_PYTHON}
    assert "on PATH" in found.missing[LLAMA_SERVER]
    assert "pip install" in found.missing[LLAMA_PYTHON]


def test_a_program_without_a_model_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    wanted = Wanted(server="/bin/true", bench="/bin/true", python="/bin/false")
    found = find(tmp_path, tmp_path, wanted, slots=16, ends=(0,))
    assert found.kinds() == []
    assert "cannot be made" in found.missing[LLAMA_SERVER]
    assert "cannot be made" in found.missing[LLAMA_BENCH]


def test_all_systems_are_there(tmp_path: Path) -> None:
    wanted = Wanted(server="/bin/true", bench="/bin/true", python="/bin/true")
    found = find(tmp_path, tmp_path, wanted, slots=16, ends=(3, 5))
    server, python = found.kinds()
    assert found.missing == {}
    assert server.fields["ignore_eos"]
    assert python.fields["logit_bias"] == {"3": -100.0, "5": -100.0}
    assert "--parallel 16 --ctx-size 16384" in " ".join(server.command(1))
    assert "one request at a time" in python.note


# -- the engine's parts ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def engines() -> Engines:
    kernels = kernels_for("numpy")
    model = random_chat_model(kernels)
    return Engines(model, Engine(model, kernels), 5, 4)


def test_requests_at_once_are_answered_in_full(engines: Engines) -> None:
    one, three = engines.speeds((1, 3), 2)
    assert (one["live"], one["over_one"], three["live"]) == (1, 1.0, 3)
    times = three["rounds"]["seconds"]
    assert len(times) == 2
    assert three["tokens_per_second"] == pytest.approx(sum(3 * 4 / t for t in times) / 2)


def test_an_answer_that_ends_early_has_no_figure(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "tokens", 5)
    request = engines._request()
    monkeypatch.setattr(engines, "_request", lambda: request)
    monkeypatch.setattr(engines, "tokens", 4)
    with pytest.raises(ExecutionError, match="5 tokens instead of 4"):
        engines.run(1, receipts=True)


def test_nothing_is_hashed_without_receipts(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cost of receipts is measured against hashes no row at all; what has receipts signs each."""
    hashed: list[int] = []
    hash_rows = engines.engine.kernels.hash_rows

    def counted(suite: str, *rest: Any) -> Any:
        hashed.append(1)
        return hash_rows(suite, *rest)

    signed: list[Receipt] = []
    monkeypatch.setattr(engines.engine.kernels, "hash_rows", counted)
    monkeypatch.setattr(
        "benchmarks.serving.engine.make_receipt",
        lambda model, session, kernels, identity: signed.append(_receipt(model, session, kernels, identity)),
    )
    with unhashed():
        engines.run(3, receipts=False)
    assert (hashed, signed) == ([], [])
    engines.run(3, receipts=True)
    assert hashed
    assert len({r.request_digest for r in signed}) == 3


def _receipt(model: Any, session: Session, kernels: Any, identity: Any) -> Receipt:
    from proofcompute.prover.commit import make_receipt

    return make_receipt(model, session, kernels, identity)


def test_the_cost_is_the_ratio_of_the_same_round(engines: Engines) -> None:
    (row,) = engines.receipts(3)
    bare, whole = row["rounds"]["without"], row["rounds"]["with"]
    assert len(bare) == len(whole) == 3
    assert row["cost"] == sorted(b / a - 1 for a, b in zip(bare, whole, strict=True))[1]
    assert Trace.hash_ahead.__qualname__ == "Trace.hash_ahead"  # nothing stays replaced


def test_opening_every_cell() -> None:
    kernels = kernels_for("numpy")
    (row,) = whole(random_chat_model(kernels), kernels, 2, ((5, 4),))
    assert (row["prompt"], row["tokens"]) == (5, 4)
    assert row["cells"] > 8
    assert row["opening_bytes"] > 1_000
    times = row["rounds"]
    assert len(times["running"]) == len(times["opening"]) == 2
    both = [b / a for a, b in zip(times["running"], times["opening"], strict=True)]
    assert row["over_running"] == sum(both) / 2


# -- the page ----------------------------------------------------------------------------------------------
def loop_row(system: str, clients: int, rates: list[float], over_one: float) -> dict[str, Any]:
    latencies = dict.fromkeys(
        ("first_p50_seconds", "first_p99_seconds", "gap_p50_seconds", "gap_p99_seconds"), 0.1
    )
    return {
        "system": system,
        "status": "measured",
        "clients": clients,
        "tokens_per_second": rates[0],
        "over_one": over_one,
        **latencies,
        "rounds": {"tokens_per_second": rates},
        "note": "it waits" if system == LLAMA_PYTHON else "",
    }


ROWS: dict[str, list[dict[str, Any]]] = {
    "engine": [
        {"live": n, "tokens_per_second": 100.0 * r, "over_one": r, "rounds": {}}
        for n, r in ((1, 1.0), (8, 2.6), (16, 3.1))
    ],
    "receipts": [{"live": 8, "without_seconds": 1.0, "with_seconds": 1.01, "cost": 0.01, "rounds": {}}],
    "loops": [
        loop_row(OURS, 1, [100.0, 100.0, 100.0], 1.0),
        loop_row(OURS, 8, [200.0, 300.0, 250.0], 2.5),
        loop_row(LLAMA_SERVER, 8, [200.0, 200.0, 200.0], 1.5),
        loop_row(LLAMA_PYTHON, 8, [100.0, 100.0, 100.0], 1.0),
        {"system": LLAMA_BENCH, "status": "missing", "reason": "no program"},
    ],
    "bursts": [
        {
            "system": OURS,
            "status": "measured",
            "requests": 8,
            "alone_seconds": 0.1,
            "median_seconds": 0.2,
            "last_seconds": 0.2,
            "median_over_alone": 2.0,
            "last_over_alone": 2.0,
            "rounds": {},
        }
    ],
    "prefixes": [
        {
            "system": OURS,
            "status": "measured",
            "shared": 448,
            "own": 64,
            "alike_p50_seconds": 0.1,
            "other_p50_seconds": 0.5,
            "alike_over_other": 0.2,
            "rounds": {},
        }
    ],
    "delay": [
        {"clients": 8, "wakings": 1000, "p50_seconds": 3e-4, "p99_seconds": 5e-3, "worst_seconds": 0.02}
    ],
    "opening": [
        {"what": what, "rows": 1088, "seconds": s, "over_generating": over, "others_lose": lose, "rounds": {}}
        for what, s, over, lose in (
            ("from the cache", 0.04, None, None),
            ("computed again", 2.0, 0.4, None),
            ("computed again, beside 4 requests", 4.0, 0.8, 0.1),
        )
    ],
    "whole": [
        {
            "prompt": prompt,
            "tokens": tokens,
            "cells": 100,
            "opening_bytes": 10**7,
            "running_seconds": 2.0,
            "opening_seconds": 0.7,
            "over_running": 0.35,
            "rounds": {},
        }
        for prompt, tokens in LENGTHS
    ],
    "client": [
        {"what": "a request from a body", "seconds": 0.003, "goal": "request"},
        {"what": "`proofcompute ask`", "seconds": 1.2, "goal": "ask"},
    ],
    "flood": [
        {
            "flood": False,
            "clients": 4,
            "first_p50_seconds": 0.1,
            "first_p99_seconds": 0.2,
            "rounds": {"tokens_per_second": [200.0]},
        },
        {
            "flood": True,
            "clients": 4,
            "first_p50_seconds": 0.1,
            "first_p99_seconds": 0.2,
            "rounds": {"tokens_per_second": [180.0]},
            "kept": 0.9,
            "strangers": 4,
            "requests_per_second": 100.0,
            "strangers_cpu": 0.05,
            "seen": {"challenges: 200": 3},
        },
    ],
    "soak": [
        {
            "seconds": 600,
            "clients": 8,
            "answers": 900,
            "hung_up": 300,
            "opened": 90,
            "errors": 0,
            "verified": 900,
            "memory_bytes": 10**9,
            "growth": 0.01,
        }
    ],
}


@pytest.fixture
def found() -> dict[str, Any]:
    machine = {"cpu": "c", "cores": 2, "memory_gib": 1, "system": "s", "threads": 2}
    part = {"date": "d", "note": "", "load": 0.0, "machine": machine, "settings": {}, "code": "c"}
    parts = {name: {**part, "rows": rows} for name, rows in json.loads(json.dumps(ROWS)).items()}
    return {"schema": 1, "command": "python -m benchmarks.serving -o DIR", "parts": parts}


def test_all_goals_met(found: dict[str, Any]) -> None:
    text = page(found)
    assert "missed" not in text
    assert "not quiet" not in text
    assert "differ" not in text
    assert text.count(": met") == 17
    assert "no program" in text
    assert "it waits" in text


@pytest.mark.parametrize(
    ("part", "row", "change"),
    [
        ("engine", 1, {"over_one": 2.4}),
        ("engine", 2, {"over_one": 2.9}),
        ("receipts", 0, {"cost": 0.021}),
        ("loops", 1, {"over_one": 2.1}),
        ("loops", 2, {"rounds": {"tokens_per_second": [210.0, 310.0, 240.0]}}),
        ("bursts", 0, {"last_over_alone": 2.6}),
        ("delay", 0, {"p99_seconds": 0.011}),
        ("opening", 0, {"seconds": 0.051}),
        ("opening", 1, {"over_generating": 0.46}),
        ("opening", 2, {"others_lose": 0.16}),
        ("whole", 0, {"over_running": 0.41}),
        ("whole", 1, {"over_running": 1.01}),
        ("client", 0, {"seconds": 0.006}),
        ("client", 1, {"seconds": 1.6}),
        ("flood", 1, {"kept": 0.79}),
        ("soak", 0, {"growth": 0.11}),
        ("soak", 0, {"errors": 1}),
    ],
)
def test_a_missed_goal_is_on_the_page(
    found: dict[str, Any], part: str, row: int, change: dict[str, Any]
) -> None:
    found["parts"][part]["rows"][row].update(change)
    assert page(found).count("**missed**") == 1


def test_conditions_are_on_the_page(found: dict[str, Any]) -> None:
    found["parts"]["loops"]["load"] = QUIET + 1
    del found["parts"]["soak"]
    text = page(found)
    assert text.count("**not quiet**") == 1
    assert "Not measured so far: soak." in text
    found["parts"]["loops"]["code"] = "another"
    assert "**Parts differ" in page(found)


@pytest.mark.skipif(not DATA.exists(), reason="serving has not been measured for the page so far")
def test_the_page_is_made_from_the_committed_json() -> None:
    assert PAGE.read_text("utf-8") == page(json.loads(DATA.read_text("utf-8")))


def test_the_page_and_its_figures_come_together() -> None:
    assert PAGE.exists() == DATA.exists()


def test_every_part_has_a_table_and_every_goal_a_place(found: dict[str, Any]) -> None:
    assert list(found["parts"]) == list(PARTS)
    shown = list(tables(found["parts"]))
    assert len(shown) == len(PARTS)
    for name in GOALS:
        assert GOALS[name] > 0
    for table in shown:
        assert all(len(row) == len(table.head) for row in table.rows)
