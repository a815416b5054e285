"""The comparison's own logic: the networks, what is reported of a peer that does not run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.networks import NETWORKS, Network, onnx_model
from benchmarks.peers.ours_case import build
from proofcompute.bench.subject import Subject
from proofcompute.devices import kernels_for
from proofcompute.messages import Request


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


def test_a_missing_peer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.NEEDS, "ezkl", ("no_such_module",))
    row = command.measured("ezkl", "MLP 16-32-10", 1)
    assert row["status"] == "missing"
    assert "no_such_module" in row["reason"]


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
    row = command.measured("ours", "MLP 16-32-10", 1)
    assert (row["status"], row["reason"]) == (status, reason)


def test_what_was_not_asked_for_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.NEEDS, "toploc", ("no_such_module",))
    assert command.main(["-o", str(tmp_path / "out"), "--only", "toploc", "--note", "a test"]) == 0
    found = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert found["note"] == "a test"
    assert {r["status"] for r in found["rows"]} == {"left out", "missing"}
    assert [r["system"] for r in found["rows"] if r["status"] == "missing"] == ["toploc"]
    assert len(found["rows"]) == len(command.CASES)
    assert all(p["source"] for p in found["published"])


def test_an_output_that_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["-o", str(tmp_path / "no" / "such")])
    assert refused.value.code == 2
    assert "cannot be made a directory" in capsys.readouterr().err
