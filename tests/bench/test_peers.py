"""The comparison's own logic: the networks, what is kept of an earlier run, what is reported of a peer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.cases import CASES, SYSTEMS, Case, System
from benchmarks.peers.networks import (
    NETWORKS,
    Convolutional,
    Network,
    convolutional_onnx,
    far_from_floats,
    onnx_model,
)
from benchmarks.peers.ours_case import build
from benchmarks.peers.published import PUBLISHED
from benchmarks.peers.record import Record, conditions
from benchmarks.peers.tables import comparisons
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.protocol.messages import Request
from proofcompute.testing.subject import Subject


def test_our_program_computes_the_network() -> None:
    network = Network((6, 5, 3), rows=4)
    subject = Subject(build(network), kernels_for("numpy"))
    samples = network.samples()
    request = Request(subject.model.model_id, (("x", samples.astype("<f4").tobytes()),), bytes(32))
    found = subject.execute(request).outputs["y"]
    first, second = network.weights()
    expected = np.maximum(samples @ first.T, 0) @ second.T
    assert np.abs(found - expected).max() < 0.05


def test_the_onnx_file_holds_the_same_weights() -> None:
    pytest.importorskip("onnx", reason="the extra peers is not installed")
    import onnx

    network = NETWORKS["MLP 16-32-10"]
    model = onnx_model(network)
    onnx.checker.check_model(model)
    held = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    for mine, theirs in zip(network.weights(), held, strict=True):
        assert np.array_equal(mine.T, theirs)


def test_every_system_reads_the_same_convolutions() -> None:
    """The file is whole, ours reads it, and outputs are compared with floats."""
    pytest.importorskip("onnx", reason="the extra peers is not installed")
    import onnx

    from proofcompute.importers.onnx import compile_onnx
    from proofcompute.importers.onnx.opening import parsed

    network = Convolutional()
    file = convolutional_onnx(network)
    onnx.checker.check_model(file)
    subject = Subject(
        compile_onnx(parsed(file.SerializeToString()), kernels_for("numpy")), kernels_for("numpy")
    )
    samples = network.samples()
    request = Request(subject.model.model_id, (("x", samples.astype("<f4").tobytes()),), bytes(32))
    found = subject.execute(request).outputs["y"]
    assert far_from_floats(file, samples, found) < 1e-3
    assert far_from_floats(file, samples, found * np.float32(1.01)) > 5e-3


# -- one measurement ---------------------------------------------------------------------------------------
def test_a_missing_peer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSTEMS, "ezkl", System("benchmarks.peers.x", {"no_such_module": "no-such-package"}))
    (row,) = command.measured("ezkl", "MLP 16-32-10", 1)
    assert row["status"] == "missing"
    assert "no_such_module (pip install no-such-package)" in row["reason"]


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("raise SystemExit('boom: no luck')", "failed", "boom: no luck"),
        ("import time; time.sleep(60)", "too long", "not finished after 1 s"),
    ],
)
def test_a_peer_that_fails_is_reported(
    script: str, status: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    (row,) = command.measured("ours", "MLP 16-32-10", 1)
    assert (row["status"], row["reason"]) == (status, reason)


def test_our_side_of_a_case_is_measured() -> None:
    (row,) = command.measured("ours", "MLP 16-32-10", 300)
    assert row["status"] == "measured", row
    assert row["proof_bytes"] > 0
    assert row["peak_memory_bytes"] > 2**20
    assert 0 < row["native_seconds"] < row["prove_seconds"]


# -- what is written, kept and measured anew ----------------------------------------------------------------
class Run:
    """The command with measurements of no cost, which are counted."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.measured: list[tuple[str, str]] = []
        self.stop_before = ""
        self.status: dict[str, str] = {}
        self.packages = {"code": "0123456789ab"}
        monkeypatch.setattr(command, "measured", self._measured)
        monkeypatch.setattr(command, "kernels_for", lambda _: kernels_for("numpy"))
        monkeypatch.setattr("benchmarks.peers.record._code", lambda: self.packages["code"])

    def _measured(self, part: str, name: str, limit: float) -> list[dict[str, Any]]:
        if name == self.stop_before:
            raise KeyboardInterrupt
        self.measured.append((name, part))
        status = self.status.get(part, "measured")
        return [{"system": part, "status": status, "reason": "a reason", "serial": len(self.measured)}]

    def __call__(self, *options: str) -> list[str]:
        """Names of the cases measured by this call."""
        self.measured.clear()
        assert command.main(["-o", str(self.path), *options]) == 0
        return list(dict.fromkeys(name for name, _ in self.measured))

    def cases(self) -> dict[str, dict[str, Any]]:
        found = json.loads((self.path / "peers.json").read_text())
        return {c["case"]: c for c in found["cases"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path / "out", monkeypatch)


ALL = [c.name for c in CASES]


def test_an_interrupted_run_goes_on(run: Run) -> None:
    run.stop_before = ALL[2]
    with pytest.raises(KeyboardInterrupt):
        run()
    assert list(run.cases()) == ALL[:2]
    assert [p.name for p in run.path.iterdir()] == ["peers.json"]
    before = run.cases()
    run.stop_before = ""
    assert run() == ALL[2:]
    assert list(run.cases()) == ALL
    assert {name: run.cases()[name] for name in ALL[:2]} == before
    assert run() == []


def test_each_case_says_when_and_under_what(run: Run) -> None:
    run("--note", "a test")
    for case in run.cases().values():
        assert case["note"] == "a test"
        assert case["date"].endswith("UTC")
        assert {"machine", "packages", "code", "load"} <= set(case)
        assert "load" not in case["machine"]
    assert set(run.cases()[ALL[0]]["packages"]) == {"numba", "ezkl", "onnx"}


def test_again_measures_what_is_there(run: Run) -> None:
    assert run("--only", ALL[1]) == [ALL[1]]
    assert run("--only", ALL[1]) == []
    assert run("--only", ALL[1], "--again") == [ALL[1]]


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s != "ours"])
def test_only_one_system_keeps_the_others(run: Run, system: str) -> None:
    run()
    before = run.cases()
    theirs = [c.name for c in CASES if system in c.parts]
    assert run("--only", system, "--again", "--note", "later") == theirs
    after = run.cases()
    assert list(after) == ALL
    assert {name for name in ALL if after[name] != before[name]} == set(theirs)


def test_other_code_or_versions_are_measured_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr("benchmarks.peers.record._version", lambda name: "9" if name == "ezkl" else "")
    assert run("--only", "ezkl") == [c.name for c in CASES if "ezkl" in c.parts]
    monkeypatch.undo()


def test_changed_code_is_measured_anew(run: Run) -> None:
    run()
    run.packages["code"] = "ba9876543210"
    assert run("--only", ALL[-1]) == [ALL[-1]]
    assert run("--only", ALL[-1]) == []


def test_what_failed_is_tried_again(run: Run) -> None:
    run.status = {"ezkl": "failed"}
    run("--only", ALL[0])
    run.status = {}
    assert run("--only", ALL[0]) == [ALL[0]]
    assert run("--only", ALL[0]) == []


def test_a_case_is_measured_as_a_whole(run: Run) -> None:
    """Ratios between systems stay within one run: whatever is asked for, ours is measured beside it."""
    for case in CASES:
        run("--only", case.parts[-1], "--again")
        assert [part for name, part in run.measured if name == case.name] == list(case.parts)
        serials = [row["serial"] for row in run.cases()[case.name]["rows"]]
        assert serials == list(range(serials[0], serials[0] + len(case.parts)))


def test_the_digest_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.peers import record

    kernels = kernels_for("numpy")
    case = Case("a case", ("ours",), "proof")
    (tmp_path / "peers").mkdir()
    monkeypatch.setattr(record, "HERE", tmp_path / "peers")
    for name in ("networks.py", "x_case.py", "published.py"):
        (tmp_path / "peers" / name).write_text("")
    before = conditions(case, kernels)
    (tmp_path / "peers" / "published.py").write_text("words")
    assert conditions(case, kernels) == before
    (tmp_path / "peers" / "x_case.py").write_text("x = 1")
    after = conditions(case, kernels)
    assert after["code"] != before["code"]
    assert {**after, "code": before["code"]} == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "rows": []}'])
def test_a_file_of_another_form_is_left_alone(
    run: Run, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run.path.mkdir()
    (run.path / "peers.json").write_text(text)
    with pytest.raises(SystemExit) as refused:
        run()
    assert refused.value.code == 2
    assert "choose another directory" in capsys.readouterr().err
    assert (run.path / "peers.json").read_text() == text
    assert run.measured == []


def test_an_output_that_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["-o", str(tmp_path / "no" / "such")])
    assert refused.value.code == 2
    assert "cannot be made a directory" in capsys.readouterr().err


# -- the tables --------------------------------------------------------------------------------------------
def last_table(run: Run) -> str:
    found = {"cases": list(run.cases().values())}
    *_, when = comparisons(found)
    return "\n".join(when.markdown())


def test_a_page_of_one_run_says_so(run: Run) -> None:
    for part in SYSTEMS:
        run.status[part] = "failed"
    run()
    assert "All cases ran on one machine" in last_table(run)


def test_a_page_that_mixes_runs_says_so(run: Run) -> None:
    for part in SYSTEMS:
        run.status[part] = "failed"
    run("--only", "ezkl")
    run.packages["code"] = "ba9876543210"
    run("--only", "toploc")
    text = last_table(run)
    assert "differ in code" in text
    assert "Not measured so far: SmolLM2-135M, speed," in text
    assert "0123456789ab" in text
    assert "ba9876543210" in text


def test_published_figures_name_their_source() -> None:
    assert len({p.system for p in PUBLISHED}) == len(PUBLISHED)
    for p in PUBLISHED:
        assert p.source
        assert p.checked


def test_a_record_starts_empty(tmp_path: Path) -> None:
    assert Record(tmp_path / "peers.json").cases == {}
