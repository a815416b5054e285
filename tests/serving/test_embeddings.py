"""Embeddings over HTTP: receipts bind the numbers, and a client that checks finds every lie."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest

import proofcompute as pc
from adversary.mutation import Edit, apply
from proofcompute.client import ProofTransport
from proofcompute.engine import Keep
from proofcompute.errors import InputError, VerificationError
from proofcompute.openai import OpenCall
from proofcompute.tokens.embedding import Embedder
from serving.embedding import TEXTS, embedder
from serving.running import Running, chat_model, running
from synthetic import KERNELS, NODE

BODY = {"model": "bert", "input": TEXTS}


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(models={"bert": embedder(), "tiny": chat_model()}) as made:
        yield made


def post(node: Running, body: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{node.url}/v1/embeddings", json=body, headers=headers, timeout=60)


def expected(text: str) -> Any:
    made = pc.Node(embedder(), device="numpy")
    return made.answer(Embedder(embedder()).text(text)).outputs["embedding"][0]


# -- the node ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_each_text_has_its_vector_and_a_receipt(node: Running, encoding: str) -> None:
    found = post(node, {**BODY, "encoding_format": encoding}).raise_for_status().json()
    assert (found["object"], found["model"]) == ("list", "bert")
    assert [entry["index"] for entry in found["data"]] == [0, 1, 2]
    for text, entry in zip(TEXTS, found["data"], strict=True):
        vector = entry["embedding"]
        if encoding == "base64":
            vector = np.frombuffer(base64.b64decode(vector), "<f4")
        assert np.array(vector, np.float32).tobytes() == expected(text).tobytes()
    tokens = sum(len(Embedder(embedder()).text(text).inputs[0][1]) // 4 for text in TEXTS)
    assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    receipts = [pc.Receipt.decode(base64.b64decode(r)) for r in found["proofcompute"]["receipts"]]
    assert {receipt.node for receipt in receipts} == {NODE.public}
    assert len({receipt.request_digest for receipt in receipts}) == 3


def test_token_ids_are_taken_as_they_are(node: Running) -> None:
    text = Embedder(embedder()).text("abc de")
    ids = np.frombuffer(text.inputs[0][1], "<i4").tolist()
    one, several = (post(node, {**BODY, "input": value}).json()["data"] for value in (ids, [ids]))
    assert one == several
    assert np.array(one[0]["embedding"], np.float32).tobytes() == expected("abc de").tobytes()


def test_answers_are_opened_and_audited(node: Running) -> None:
    nonce = secrets.token_bytes(32)
    response = post(node, {**BODY, "input": TEXTS[0]}, **{"Proofcompute-Nonce": nonce.hex()})
    proof = response.json()["proofcompute"]
    receipt = base64.b64decode(proof["receipt"])
    assert response.headers["Proofcompute-Receipt"] == proof["receipt"]
    asked = Embedder(embedder()).text(TEXTS[0], nonce=nonce, node=NODE.public)

    def opened(challenge: pc.Challenge) -> bytes:
        body = OpenCall(asked, receipt, challenge).encode()
        return httpx.post(f"{node.url}/v1/proofs/open", content=body, timeout=60).raise_for_status().content

    assert pc.Auditor(pc.keygen(embedder(), KERNELS)).audit(asked, receipt, opened, "all").complete


def test_a_trace_that_was_not_kept_is_computed_again() -> None:
    with running(models={"bert": embedder()}, keep=Keep.NOTHING, trace_bytes=0) as node:
        test_answers_are_opened_and_audited(node)


def test_many_clients_at_once(node: Running) -> None:
    bodies = [{**BODY, "input": [text, text * 3]} for text in ("a", "bc", "def!", "ghij", "k l m", "no?")]
    with ThreadPoolExecutor(len(bodies)) as threads:
        found = list(threads.map(lambda body: post(node, body).raise_for_status().json(), bodies))
    for body, one in zip(bodies, found, strict=True):
        for text, entry in zip(body["input"], one["data"], strict=True):
            assert np.array(entry["embedding"], np.float32).tobytes() == expected(text).tobytes()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "bert"}, "input"),
        ({"model": "bert", "input": ""}, "input[0]"),
        ({"model": "bert", "input": []}, "input"),
        ({"model": "bert", "input": [[]]}, "input[0]"),
        ({"model": "bert", "input": [[1], "x", 3]}, "input[2]"),
        ({"model": "bert", "input": [-1]}, "input[0]"),
        ({"model": "bert", "input": [61]}, "input[0]"),
        ({"model": "bert", "input": ["x"] * 129}, "input"),
        ({"model": "bert", "input": "x " * 60}, "input[0]"),
        ({"model": "bert", "input": "x" * (1 << 16)}, "input[0]"),
        ({"model": "bert", "input": {"text": "x"}}, "input"),
        ({"model": "bert", "input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "bert", "input": "x", "dimensions": 8}, "dimensions"),
        ({"model": "bert", "input": "x", "stream": True}, "stream"),
        ({"model": "tiny", "input": "x"}, "model"),
        ({"input": "x"}, "model"),
    ],
)
def test_what_has_no_embedding_is_refused(node: Running, body: Any, param: str) -> None:
    response = post(node, body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_other_endpoints_refuse_the_model(node: Running) -> None:
    body = {"model": "bert", "prompt": "x", "max_tokens": 1}
    response = httpx.post(f"{node.url}/v1/completions", json=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"


def test_a_nonce_is_used_once(node: Running) -> None:
    headers = {"Proofcompute-Nonce": secrets.token_hex(32)}
    assert post(node, BODY, **headers).status_code == 200
    assert post(node, {**BODY, "input": ["other"]}, **headers).status_code == 400


# -- a client that checks ------------------------------------------------------------------------------------
class Lying(httpx.HTTPTransport):
    """Changes what the node sends."""

    def __init__(self, change: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self._change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.url.path != "/v1/embeddings":
            return response
        body = json.loads(response.read())
        self._change(body)
        return httpx.Response(200, json=body)


def asked_by(node: Running, change: Callable[[dict[str, Any]], Any], **body: Any) -> tuple[Any, int]:
    url, card = f"{node.url}/v1", embedder().card
    transport = ProofTransport(url, card, inner=Lying(change), node=NODE.public)
    with httpx.Client(transport=transport, timeout=60) as client:
        found = client.post(f"{url}/embeddings", json={**BODY, **body})
        return found.json(), len(transport.checked)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("given", [TEXTS, TEXTS[1], [5, 6, 7]], ids=["texts", "text", "tokens"])
def test_honest_answers_pass(node: Running, given: Any, encoding: str) -> None:
    found, checked = asked_by(node, lambda body: None, input=given, encoding_format=encoding)
    assert checked == len(found["data"]) == (3 if given is TEXTS else 1)


def _add(body: dict[str, Any]) -> None:
    body["data"][1]["embedding"][4] += 1e-7


def _swap(body: dict[str, Any]) -> None:
    one, two, _ = body["data"]
    one["embedding"], two["embedding"] = two["embedding"], one["embedding"]


def _swap_receipts(body: dict[str, Any]) -> None:
    body["proofcompute"]["receipts"].reverse()


LIES: dict[str, tuple[Callable[[dict[str, Any]], Any], int]] = {
    "a number": (_add, 5),
    "vectors exchanged": (_swap, 5),
    "receipts exchanged": (_swap_receipts, 4),
    "a number too few": (lambda b: b["data"][0]["embedding"].pop(), 5),
    "a number too many": (lambda b: b["data"][0]["embedding"].append(0.0), 1),
    "a text for a number": (lambda b: b["data"][0]["embedding"].__setitem__(0, "0"), 1),
    "a vector too few": (lambda b: b["data"].pop(), 5),
    "another index": (lambda b: b["data"][0].update(index=1), 5),
    "another model": (lambda b: b.update(model="other"), 5),
    "another kind": (lambda b: b.update(object="x"), 5),
    "other usage": (lambda b: b["usage"].update(total_tokens=1), 5),
    "a field that nothing binds": (lambda b: b.update(score=1), 5),
    "no receipts": (lambda b: b.pop("proofcompute"), 1),
    "one receipt too few": (lambda b: b["proofcompute"]["receipts"].pop(), 1),
    "another nonce": (lambda b: b["proofcompute"].update(nonce="0" * 64), 4),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(node: Running, lie: str) -> None:
    change, step = LIES[lie]
    with pytest.raises(VerificationError) as caught:
        asked_by(node, change)
    assert caught.value.step == step


def test_base64_is_compared_too(node: Running) -> None:
    def change(body: dict[str, Any]) -> None:
        raw = bytearray(base64.b64decode(body["data"][0]["embedding"]))
        raw[0] ^= 1
        body["data"][0]["embedding"] = base64.b64encode(raw).decode()

    with pytest.raises(VerificationError) as caught:
        asked_by(node, change, encoding_format="base64")
    assert caught.value.step == 5


@pytest.mark.parametrize(
    ("edit", "lie"),
    [
        (
            Edit("openai.embedding", "not np.array_equal(np.array(numbers, np.float64), expected)", "False"),
            _add,
        ),
        (Edit("openai.embedding", "        _check_vector(call, claim,", "        (call, claim,"), _swap),
    ],
)
def test_without_the_check_a_lie_would_pass(node: Running, edit: Edit, lie: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, [edit])
        assert asked_by(node, lie)[1] == 3
    with pytest.raises(VerificationError):
        asked_by(node, lie)


def test_openais_client_asks_for_base64_and_is_answered(node: Running) -> None:
    url = f"{node.url}/v1"
    transport = ProofTransport(url, embedder().card, node=NODE.public)
    made = httpx2.Client(transport=transport)
    with openai.OpenAI(base_url=url, api_key="none", http_client=made) as client:
        found = client.embeddings.create(model="bert", input=TEXTS)
    for text, entry in zip(TEXTS, found.data, strict=True):
        np.testing.assert_allclose(entry.embedding, expected(text), atol=1e-7)
    assert len(transport.checked) == 3


def test_requests_of_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="no embeddings"):
        Embedder(chat_model())
