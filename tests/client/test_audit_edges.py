"""What seldom happens to an audit: terms that cannot be had, a disk that refuses, a client of its own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from client.doors import Call, Silence, at_door
from client.lies import ask, transport
from client.standin import NAME, Service, model
from proofcompute.cli import main
from proofcompute.client import Audited
from proofcompute.client.budget import Budget, Meter
from proofcompute.client.entries import Begun
from proofcompute.client.line import Line
from proofcompute.client.lookalike import Client
from proofcompute.client.record import Record
from proofcompute.client.tally import Tally
from proofcompute.client.verdicts import audited_state
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, InputError, StorageError, VerificationError
from proofcompute.protocol.messages import Challenge

BEGUN = Begun("http://node.example/v1", model().model_id.hex())


def test_evidence_takes_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card").write_bytes(model().card.encode())
    NodeIdentity.new().save(tmp_path / "identity")
    (tmp_path / "evidence").write_bytes(b"a bundle")
    words = [f"--{name}={tmp_path / name}" for name in ("card", "identity", "evidence")]
    assert main(["audit", "http://127.0.0.1:9", "--name", "x", *words]) == 2
    assert "takes a directory" in capsys.readouterr().err
    assert (tmp_path / "evidence").read_bytes() == b"a bundle"


@pytest.mark.parametrize(
    ("answer", "state"),
    [((200, {}, b"no terms"), "contradicted"), (Silence(seconds=0), "verified")],
    ids=["terms that are none", "no answer"],
)
def test_terms_that_are_asked_for_after_the_answers(
    answer: Any, state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model().save(tmp_path / "model")

    def answering(call: Call, honest: Callable[[], Any]) -> Any:
        return answer if call.path.endswith("/proofs/terms") else honest()

    words = ["--model", str(tmp_path / "model"), "--cells", "1", "--count", "1", "--max-tokens", "3"]
    with at_door(Service(terms=None), answering) as door:
        status = main(["audit", door.url, *words, "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status, found["states"][state]) == (int(state == "contradicted"), 1)


def test_silence_of_a_node_without_terms_is_silence_at_once() -> None:
    through = transport(Service(terms=None))
    ask(through, {"model": NAME, "prompt": "Once", "max_tokens": 2}, "/completions")
    (checked,) = through.checked
    assert checked.terms is None
    challenge = Challenge(checked.claim.receipt.digest, (Cell(0, 0, 1),))
    audited = Audited(checked, VerificationError(10, "silence"), challenge, waited=1.0)
    assert audited_state(audited, 0.5) == "silent"


def test_a_line_gives_up_and_is_read_in_one_way_by_all() -> None:
    class Slow:
        def handle_request(self, request: Any) -> Any:
            return httpx2.Response(200, content=b"abc")

    line = Line(httpx2, Meter(Budget()), inner=Slow(), patience=60.0)
    response = line.handle_request(httpx2.Request("GET", "http://node.example/"))

    async def read() -> bytes:
        found = b"".join([piece async for piece in response.stream])
        await response.aclose()
        return found

    assert asyncio.run(read()) == b"abc"
    with pytest.raises(httpx2.ReadTimeout):
        line.arrived(response, 1, time.monotonic() - 61)


def test_a_canary_looks_like_a_client_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert Client.drawn(Random(0)).version[0].isdigit()


def test_a_record_is_not_begun_on_a_disk_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(StorageError, match="No space"):
        Record(tmp_path / "record", BEGUN, Tally())


def test_a_line_of_a_record_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with Record(tmp_path / "record", BEGUN, Tally()) as record:
        body = b'{"event":"answer","id":'
        chain = record._next(body)
    with (tmp_path / "record").open("ab") as stream:
        stream.write(body + b',"chain":"' + chain.encode() + b'"}\n')
    with pytest.raises(InputError, match="no JSON"):
        Record(tmp_path / "record", BEGUN, Tally())
