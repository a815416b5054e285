"""The command ``gateway``: what it refuses at once, and a real gateway before a real node."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from proofcompute.cli import main
from serving.running import SOON, chat_model, running
from synthetic import NODE


def files(folder: Path, url: str = "http://127.0.0.1:1/v1") -> list[str]:
    chat_model().save(folder / "weights")
    (folder / "card").write_bytes(chat_model().card.encode())
    node = {"name": "north", "url": url, "key": NODE.public.hex(), "models": ["tiny"]}
    (folder / "nodes.json").write_text(json.dumps({"version": 1, "nodes": [node]}))
    audit = "audit: {by: replay, share: 1}"
    (folder / "models.yaml").write_text(
        f"version: 1\nmodels:\n  - {{name: tiny, card: card, weights: weights, {audit}}}\n"
    )
    return ["--nodes", str(folder / "nodes.json"), "--models", str(folder / "models.yaml")]


@pytest.mark.parametrize(
    "words", [["--tls-cert", "x"], ["--log-level", "loud"], ["--identity", "none"], ["--api-keys", "none"]]
)
def test_what_cannot_be_used_is_refused_at_once(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", *files(tmp_path), *words]) == 2
    assert capsys.readouterr().err


def test_a_gateway_before_a_real_node(tmp_path: Path) -> None:
    with running() as node:
        command = [sys.executable, "-m", "proofcompute", "gateway", *files(tmp_path, f"{node.url}/v1")]
        command += ["--port", "0", "--device", "numpy", "--state", str(tmp_path / "state")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().split()[2].removesuffix(",").removesuffix("/v1")
                assert "nodes north" in process.stdout.readline()
                body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
                request = urllib.request.Request(  # noqa: S310 - an address of this machine
                    f"{url}/v1/chat/completions", json.dumps({**body, "stream": True}).encode()
                )
                with urllib.request.urlopen(request, timeout=SOON) as response:  # noqa: S310
                    said = response.read()
                assert b'"level":"receipted"' in said
                assert said.endswith(b"data: [DONE]\n\n")
                with urllib.request.urlopen(f"{url}/", timeout=SOON) as response:  # noqa: S310
                    assert "default-src 'none'" in response.headers["content-security-policy"]
                process.send_signal(signal.SIGTERM)
                assert process.wait(SOON) == 0
            finally:
                process.kill()
