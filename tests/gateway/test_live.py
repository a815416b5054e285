"""A real gateway before a real node, over real connections."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import proofcompute as pc
from gateway.live import SOON, Live, live
from proofcompute.client import Challenger, ProofTransport
from proofcompute.gateway import Gateway, ModelsFile, NodesFile
from proofcompute.gateway.federation import Audits, ModelEntry, NodeEntry
from proofcompute.verifier import Verified
from serving.embedding import TEXTS, embedder
from serving.running import Running, chat_model, running
from synthetic import KERNELS, NODE

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(models={"bert": embedder(), "tiny": chat_model()}) as made:
        yield made


@pytest.fixture
def before(node: Running, tmp_path: Path) -> Iterator[Live]:
    embedder().save(tmp_path / "bert")
    entry = NodeEntry(name="north", url=f"{node.url}/v1", key=NODE.public.hex(), models=("bert", "tiny"))
    plan = Audits(by="replay", share=1.0, cells=16)
    bert = ModelEntry(
        name="bert", model_id=embedder().model_id.hex(), weights=str(tmp_path / "bert"), audit=plan
    )
    tiny = ModelEntry(name="tiny", model_id=chat_model().model_id.hex())
    made = Gateway(
        NodesFile(version=1, nodes=(entry,)), ModelsFile(version=1, models=(bert, tiny)), kernels=KERNELS
    )
    with live(made) as standing:
        yield standing


def test_embeddings_come_with_a_receipt_for_each_text_and_are_audited(before: Live) -> None:
    found = httpx2.post(f"{before.url}/v1/embeddings", json={"model": "bert", "input": TEXTS}, timeout=SOON)
    assert found.status_code == 200
    answer = found.json()
    assert len(answer["data"]) == len(answer["assurance"]["request_digests"]) == len(TEXTS)
    assert answer["assurance"]["level"] == "receipted"
    end = time.monotonic() + SOON
    url = f"{before.url}/v1/assurance/{answer['assurance']['answer']}"
    while httpx2.get(url).json()["level"] != "fully audited":
        assert time.monotonic() < end
    assert len(httpx2.get(url).json()["choices"]) == len(TEXTS)


def test_a_client_audits_a_node_through_the_gateway(before: Live) -> None:
    """Challenges are passed on to the node that signed the receipt."""
    url = f"{before.url}/v1"
    transport = ProofTransport(url, chat_model().model_id, node=NODE.public, terms=False)
    with httpx2.Client(transport=transport, timeout=SOON) as client:
        found = client.post(f"{url}/chat/completions", json=CHAT)
        assert found.status_code == 200, found.text
    (checked,) = transport.checked
    challenger = Challenger(url, chat_model(), device=KERNELS, node=NODE.public)
    audited = challenger.audit(checked, "all")
    assert isinstance(audited.found, Verified)
    assert audited.found.complete
    challenger.close()


def test_a_challenge_for_another_node_is_refused(before: Live) -> None:
    stranger = pc.Node(chat_model(), device=KERNELS)
    with pc.Prompter(chat_model()) as prompter:
        request = prompter.text("x", max_tokens=1)
    receipt = stranger.answer(request).receipt
    challenge = pc.Auditor(chat_model(), device=KERNELS).challenge(request, receipt)
    from proofcompute.openai import OpenCall

    body = OpenCall(request, receipt, challenge).encode()
    found = httpx2.post(f"{before.url}/v1/proofs/open", content=body)
    assert (found.status_code, found.json()["error"]["code"]) == (400, "unknown_node")
    assert httpx2.post(f"{before.url}/v1/proofs/open", content=b"x").status_code == 400


def test_a_client_that_leaves_frees_the_node(before: Live, node: Running) -> None:
    body = {**CHAT, "max_tokens": 400, "stream": True, "ignore_eos": True}
    url = f"{before.url}/v1/chat/completions"
    with httpx2.Client(timeout=SOON) as client, client.stream("POST", url, json=body) as response:
        response.raise_for_status()
        assert "choices" in next(response.iter_lines())
    member = before.gateway.fleet.members["north"]
    end = time.monotonic() + SOON
    while member.live or node.service.active:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert before.gateway.records.newest(1)[0].level == "advertised"
    assert member.failures == 0


def test_a_gateway_drains(node: Running, before: Live) -> None:
    """What runs is finished, and new questions are refused."""

    async def drain() -> bool:
        return await before.gateway.drain()

    assert asyncio.run_coroutine_threadsafe(drain(), before.loop).result(SOON)
    found = httpx2.post(f"{before.url}/v1/chat/completions", json=CHAT)
    assert (found.status_code, found.json()["error"]["code"]) == (503, "draining")


@pytest.mark.slow
def test_the_demonstration_of_a_fleet() -> None:
    demo = Path(__file__).resolve().parents[2] / "examples" / "fleet_demo.py"
    done = subprocess.run(
        [sys.executable, str(demo)], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("evidence holds") == 3
