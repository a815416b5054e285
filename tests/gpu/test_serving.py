"""Tests a runner and a service on a real device (``make gpu-test``); ``tests/cuda`` does so on the rig."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gpu.beside import SOON, asked, challenge_of, differences, expected, opened, opening
from gpu.over_http import two_models
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import DeviceMemoryError
from proofcompute.limits import GIB
from proofcompute.prover.runner import Runner
from serving.running import chat_model
from synthetic import NODE, model

pytestmark = pytest.mark.gpu


def test_a_runner() -> None:
    found = dict(differences(kernels_for("cuda"), live=12, tokens=40))
    assert not any(found.values()), found


def test_a_service_of_two_models() -> None:
    two_models(kernels_for("cuda"))


def test_memory_that_is_not_there() -> None:
    """The device says so, and goes on."""
    kernels = kernels_for("cuda")
    with Runner(model(), NODE, device=kernels, chunk=16, trace_bytes=0) as runner:
        with pytest.raises(DeviceMemoryError, match="no room"), runner._loop._turns.using():
            kernels.zeros((1 << 20, GIB), "u1")
        ticket = runner.submit(asked(1, 5))
        assert ticket.result(SOON).receipt == expected(asked(1, 5))
        challenge = challenge_of(asked(1, 5), 5)
        assert opening(runner, asked(1, 5), challenge) == opened(asked(1, 5), challenge)


def test_the_command(tmp_path: Path) -> None:
    chat_model().save(tmp_path / "model")
    NODE.save(tmp_path / "identity")
    command = [sys.executable, "-m", "proofcompute", "serve", "model", "--name", "tiny=model"]
    command += ["--identity", "identity", "--port", "0", "--device", "cuda", "--log-format", "json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            found = re.match(r"serving at (http://127\.0\.0\.1:\d+)/v1", node.stdout.readline())
            assert found is not None
            sent = {"model": "tiny", "prompt": "hello", "max_tokens": 8}
            answer = httpx.post(found[1] + "/v1/completions", json=sent, timeout=SOON)
            assert answer.status_code == 200, answer.text
            assert json.loads(answer.text)["proofcompute"]["receipts"]
        finally:
            node.send_signal(signal.SIGTERM)
            node.communicate(timeout=SOON)
    assert node.returncode == 0
