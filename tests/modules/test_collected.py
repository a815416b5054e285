"""Requests and receipts of calls are kept, served by digest, and forgotten in time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import proofcompute as pc
from proofcompute.errors import InputError
from proofcompute.modules.collecting import Collected
from proofcompute.openai import KeptCall, OpenCall
from proofcompute.serving import Service, application


def _model() -> pc.Model:
    rng = np.random.default_rng(0)
    b = pc.ProgramBuilder(device="numpy")
    x = b.input("x", 8)
    b.output(b.linear(x, rng.standard_normal((48, 8), np.float32), name="y"))
    return b.model()


@pytest.fixture(scope="module")
def node() -> pc.Node:
    return pc.Node(_model(), device="numpy")


def _asked(node: pc.Node) -> tuple[pc.Request, bytes]:
    request = pc.array_request(node.model, np.ones((2, 8), np.float32), node=node.public)
    return request, node.answer(request).receipt


def _pair(data: bytes | None) -> tuple[bytes, bytes]:
    assert data is not None
    kept = KeptCall.decode(data)
    return kept.request.encode(), kept.receipt


@pytest.mark.parametrize("stored", [False, True])
def test_calls_are_kept_until_their_retention_ends(stored: bool, tmp_path: Path, node: pc.Node) -> None:
    kept = Collected(tmp_path / "traces" if stored else None, 100)
    request, receipt = _asked(node)
    digest = kept.keep(request, receipt, now=1000.0)
    assert digest == pc.Receipt.decode(receipt).digest
    if stored:
        (file,) = os.scandir(tmp_path / "traces")
        assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600
        os.utime(file.path, (1000, 1000))
    assert _pair(kept.get(digest, now=1100.0)) == (request.encode(), receipt)
    assert kept.get(digest, now=1101.0) is None
    assert kept.get(bytes(32), now=1000.0) is None
    kept.expire(2000.0)
    assert kept.get(digest, now=1000.0) is None
    assert not stored or not os.listdir(tmp_path / "traces")


def test_another_process_finds_what_a_directory_holds(tmp_path: Path, node: pc.Node) -> None:
    request, receipt = _asked(node)
    digest = Collected(tmp_path, 100).keep(request, receipt)
    assert _pair(Collected(tmp_path, 100).get(digest)) == (request.encode(), receipt)
    (tmp_path / f"{digest.hex()}.proof").chmod(0o644)
    assert Collected(tmp_path, 100).get(digest) is None  # anybody might have written it
    with pytest.raises(InputError):
        Collected(tmp_path, 100).get(b"../secret")


@pytest.mark.parametrize("data", [b"", b"\x41", b"\x41a", b"\x41a\x41b", b"\x5b" + b"\xff" * 8])
def test_what_is_no_call_is_refused(data: bytes, node: pc.Node) -> None:
    with pytest.raises((pc.FormatError, pc.LimitError)):
        KeptCall.decode(data)
    whole = KeptCall(*_asked(node)).encode()
    for wrong in (whole + b"\x41a", whole[:-1]):
        with pytest.raises(pc.FormatError):
            KeptCall.decode(wrong)


def test_memory_holds_the_newest_calls(node: pc.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.modules.collecting._MOST", 3000)
    kept = Collected(None, 100)
    digests = [kept.keep(*_asked(node)) for _ in range(8)]
    found = [kept.get(d) is not None for d in digests]
    assert not found[0]
    assert found[-1]


def test_a_service_opens_what_its_runners_answered_wherever_it_is_mounted() -> None:
    with pc.Runner(_model(), device="numpy") as runner:
        request = pc.array_request(runner.model, np.ones((2, 8), np.float32), node=runner.public)
        answer = runner.submit(request).result(60)
        kept = Collected(None, 100)
        digest = kept.keep(request, answer.receipt)
        name = runner.model.model_id.hex()
        service = Service({name: runner}, runner.identity, runner.kernels, kept=(kept,))
        app = Starlette(routes=[Mount("/proofs", application(service))])
        with TestClient(app) as client:
            base = "/proofs/v1/proofs"
            found = client.get(f"{base}/kept/{digest.hex()}")
            assert found.status_code == 200
            assert found.headers["content-type"] == "application/cbor-seq"
            asked, receipt = _pair(found.content)
            assert client.get(f"{base}/card/{name}").content == runner.model.card.encode()

            def opened(challenge: pc.Challenge) -> bytes:
                body = OpenCall(pc.Request.decode(asked), receipt, challenge).encode()
                response = client.post(f"{base}/open", content=body)
                assert response.status_code == 200, response.text
                return response.content

            auditor = pc.Auditor(pc.keygen(runner.model, runner.kernels), device="numpy", node=runner.public)
            assert auditor.audit(request, receipt, opened, "all").cells == 2
            for other in ("00" * 32, digest.hex()[:-2], "zz" * 32, digest.hex() + "00"):
                assert client.get(f"{base}/kept/{other}").status_code == 404
            # bodies are limited by path, also where the application is mounted
            assert client.post(f"{base}/open", content=bytes(17 << 20)).status_code == 413
            assert client.post(f"{base}/kept/{digest.hex()}", content=b"x").status_code in (405, 413)
        assert runner.is_alive()  # whoever started it ends it
