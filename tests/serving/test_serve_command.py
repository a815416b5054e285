"""``proofcompute serve``: what it says, how it ends, and what it refuses before it loads a model."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.cli import main
from proofcompute.engine import Keep
from proofcompute.errors import InputError
from proofcompute.serving import Service, Settings
from serving.running import SOON, chat_model
from synthetic import NODE


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("serve")
    chat_model().save(made / "model")
    NODE.save(made / "identity")
    return made


def test_a_node_from_its_start_to_its_end(files: Path) -> None:
    command = [sys.executable, "-m", "proofcompute", "serve", "model", "--name", "tiny=model", "--rate", "50"]
    command += ["--identity", "identity", "--port", "0", "--device", "numpy", "--log-format", "json"]
    with subprocess.Popen(
        command, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as node:
        assert node.stdout is not None
        found = re.fullmatch(
            r"serving at (http://127\.0\.0\.1:\d+)/v1, node ([0-9a-f]{64})\n", node.stdout.readline()
        )
        assert found is not None
        assert found[2] == NODE.public.hex()
        assert node.stdout.readline() == f"model tiny, model id {chat_model().model_id.hex()}\n"
        assert node.stdout.readline() == "openings of n rows within 30 s + n / 50, for 604800 s\n"
        secret = "the prompt that nobody may log"
        sent = {"model": "tiny", "prompt": secret, "max_tokens": 3}
        answer = httpx.post(found[1] + "/v1/completions", json=sent, timeout=SOON)
        assert answer.status_code == 200
        node.send_signal(signal.SIGTERM)
        _, log = node.communicate(timeout=SOON)
    assert node.returncode == 0
    records = [json.loads(line) for line in log.splitlines()]
    (seen,) = [r for r in records if r["event"] == "request"]
    assert (seen["route"], seen["status"], seen["client"]) == ("/v1/completions", 200, "127.0.0.1")
    assert secret not in log
    assert answer.json()["proofcompute"]["nonce"][:8] not in log


def test_options_reach_the_service(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Settings] = []

    def load(settings: Settings) -> None:
        found.append(settings)
        raise InputError("that is enough")

    monkeypatch.chdir(files)
    monkeypatch.setattr("proofcompute.serving.Service.load", load)
    words = "--header-seconds 2.5 --body-seconds 3.5 --write-seconds 4.5 --rows 40 --chunk 20 --keep prefixes"
    words += " --prefix-memory 3 --trace-memory 5 --share-prefixes --max-openings 7 --drain 1"
    assert main(["serve", "model", "--identity", "identity", "--port", "0", *words.split()]) == 2
    assert main(["serve", "model", "--identity", "identity", "--port", "0"]) == 2
    made, plain = found
    limits = made.limits
    assert (limits.header_seconds, limits.body_seconds, limits.write_seconds) == (2.5, 3.5, 4.5)
    assert (limits.openings, limits.drain_seconds) == (7, 1)
    assert (made.rows, made.chunk, made.keep) == (40, 20, Keep.PREFIXES)
    assert (made.prefixes, made.trace_bytes, made.shared_prefixes) == (3 << 20, 5 << 20, True)
    assert (plain.rows, plain.chunk, plain.keep) == (512, 256, Keep.ALL)
    assert not plain.shared_prefixes
    assert replace(plain.limits, drain_seconds=1.0, openings=7) == replace(
        limits, header_seconds=20.0, body_seconds=30.0, write_seconds=60.0
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--identity", "none"], "none"),
        (["--identity", "model"], "identity"),
        (["--identity", "open"], "others"),
        (["--identity", "identity", "--name", "tiny"], "NAME=MODEL"),
        (["--identity", "identity", "--name", "model=identity"], "model"),
        (["--identity", "identity", "--tls-cert", "model"], "--tls-key"),
        (["--identity", "identity", "--tls-cert", "model", "--tls-key", "model"], "TLS cannot use"),
        (["--identity", "identity", "--api-keys", "none"], "none"),
        (["--identity", "identity", "--host", "256.0.0.1"], "cannot listen"),
        (["--identity", "identity", "--log-level", "loud"], "log-level"),
        (["--identity", "identity", "--log-format", "xml"], "text or json"),
        (["--identity", "identity", "--keep", "some"], "--keep"),
        (["--identity", "identity", "--keep", "nothing", "--prefix-memory", "1"], "cache of prefixes"),
        (["--identity", "identity", "--share-prefixes"], "cache of prefixes"),
    ],
)
def test_what_is_refused_before_a_model_is_loaded(
    files: Path,
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    (files / "open").write_bytes((files / "identity").read_bytes())
    (files / "open").chmod(0o644)
    monkeypatch.setattr(
        "proofcompute.models.model.Model.load", lambda path: pytest.fail("a model was loaded")
    )
    assert main(["serve", "model", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_nobody_waits_for_a_compiler(files: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels are there before the node listens, whatever a first request needs."""
    done: list[str] = []
    monkeypatch.setattr("proofcompute.serving.service.warm_up", lambda: done.append("warm"))
    settings = Settings(
        models=(("tiny", files / "model"),), identity=files / "identity", device=device, rate=50
    )
    asyncio.run(Service.load(settings).close())
    assert done == (["warm"] if kernels_for(device).name == "numba" else [])
