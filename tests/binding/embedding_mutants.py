"""What is removed from the checks of embeddings, and which wrong response then passes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

import proofcompute as pc
from adversary.mutation import Edit
from binding.mutant import SAME, Mutant, left_out, never
from binding.serving import DAY, NONCE
from proofcompute.openai import EmbeddingCall, ProofField, check_embeddings, embeddings_object
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.tokens.embedding import Embedder
from serving.embedding import TEXTS, embedder
from synthetic import NODE

E = "openai.embedding"
VECTOR = "openai/embedding:_check_vector:"


@cache
def right(encoding: str) -> tuple[EmbeddingCall, tuple[Request, ...], list[Claim], dict[str, Any]]:
    """Return a call, its requests, the claims of their receipts, and the response of an honest node."""
    call = EmbeddingCall(model="bert", inputs=tuple(TEXTS[:2]), encoding=encoding)
    model = embedder()
    requests = call.requests(Embedder(model), nonce=NONCE, node=NODE.public)
    node = pc.Node(model, NODE, device="numpy")
    claims, vectors, proofs = [], [], []
    for i, request in enumerate(requests):
        answer = node.answer(request)
        inputs = inputs_of(request, model.program, model.model_id)
        statement = statement_of(request, model.program, inputs, answer.outputs)
        claims.append(Claim(pc.Receipt.decode(answer.receipt), statement))
        vectors.append(answer.outputs["embedding"][0])
        proofs.append(
            ProofField(
                choice=i,
                receipt=answer.receipt,
                nonce=NONCE,
                nonce_by="client",
                model_id=model.model_id,
                node=NODE.public,
                date=DAY,
                open="/v1/proofs/open",
            )
        )
    tokens = sum(c.statement.prompt for c in claims)
    return call, requests, claims, dict(embeddings_object(call, vectors, tokens, proofs))


def changed(change: Callable[[dict[str, Any]], object], encoding: str = "float") -> Callable[[], object]:
    """A response that a node changed, checked as a client does."""

    def attack() -> object:
        call, requests, claims, response = right(encoding)
        sent = deepcopy(response)
        change(sent)
        assert sent != response
        check_embeddings(embedder().card, call, requests, claims, sent)
        return sent

    return attack


def _bytes(response: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(response["data"][0]["embedding"]))
    raw[0] ^= 1
    response["data"][0]["embedding"] = base64.b64encode(raw).decode()


def _text_of_a_number(response: dict[str, Any]) -> None:
    vector = response["data"][0]["embedding"]
    vector[0] = repr(vector[0])


def _another_number(response: dict[str, Any]) -> None:
    vector = response["data"][1]["embedding"]
    vector[4] = float(np.nextafter(vector[4], 2.0))


def _one_more(response: dict[str, Any]) -> None:
    response["data"].append(response["data"][0] | {"index": 2})


def same(call: str, change: Callable[[dict[str, Any]], object], **more: Any) -> Mutant:
    return Mutant(SAME, left_out(E, call), changed(change), **more)


EMBEDDING_MUTANTS: dict[str, Mutant] = {
    "base64 of a vector": Mutant(
        f"{VECTOR} 1: response: {{}} is not base64",
        Edit(E, "except (binascii.Error, ValueError) as e:", "except ZeroDivisionError as e:"),
        changed(lambda r: r["data"][0].update(embedding="*"), "base64"),
        escapes=binascii.Error,
    ),
    "bytes of a vector": Mutant(
        f"{VECTOR} 5: response: {{}} does not have the bytes of the receipt",
        never(E, 'found != data or text != base64.b64encode(data).decode("ascii")'),
        changed(_bytes, "base64"),
    ),
    "numbers of a vector": Mutant(
        f"{VECTOR} 5: response: {{}} does not have the numbers of the receipt",
        Edit(E, "not np.array_equal(np.array(numbers, np.float64), expected)", "False"),
        changed(_another_number),
    ),
    "how many numbers": Mutant(
        f"{VECTOR} 5: response: {{}} does not have the numbers of the receipt",
        Edit(
            E,
            "len(numbers) != expected.size or not np.array_equal(np.array(numbers, np.float64), expected)",
            "not np.array_equal(np.array(numbers, np.float64), expected[: len(numbers)])",
        ),
        changed(lambda r: r["data"][0]["embedding"].pop()),
    ),
    "a number": Mutant(
        "openai/embedding:_number: 1: response: {} is not a number",
        never(E, "isinstance(value, bool) or not isinstance(value, int | float)"),
        changed(_text_of_a_number),
    ),
    "kind of embeddings": same(
        'check_same("object", "list", sent.get("object"))', lambda r: r.update(object="x")
    ),
    "model of embeddings": same(
        'check_same("model", call.model, sent.get("model"))', lambda r: r.update(model="other")
    ),
    "how many embeddings": same(
        'check_same("the number of embeddings", call.n, len(data))', _one_more, escapes=ValueError
    ),
    "kind of an embedding": same(
        'check_same(f"data[{i}].object", "embedding", entry.get("object"))',
        lambda r: r["data"][1].update(object="x"),
    ),
    "place of an embedding": same(
        'check_same(f"data[{i}].index", i, entry.get("index"))', lambda r: r["data"][1].update(index=0)
    ),
    "usage of embeddings": same(
        'check_same(f"usage.{name}", tokens, sent_int(usage.get(name), f"usage.{name}"))',
        lambda r: r["usage"].update(total_tokens=1),
    ),
}
