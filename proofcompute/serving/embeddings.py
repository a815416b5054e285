"""Answer calls for embeddings: each input is a request of its own, and the inputs are computed together."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from proofcompute.openai import (
    EmbeddingCall,
    ParameterError,
    embedding_call_of,
    embeddings_object,
    read_json,
)
from proofcompute.serving.computing import Asked, Computing, begun
from proofcompute.serving.gate import Exchange
from proofcompute.serving.refusals import json_bytes
from proofcompute.serving.service import Service

__all__ = ["embed"]


async def embed(service: Service, exchange: Exchange, body: bytes, nonce: str | None) -> Response:
    """Answer a call for embeddings. Raises what :func:`.refusal_of` turns into a response."""
    call = await service.prepare(len(body), lambda: embedding_call_of(read_json(body, service.limits.body)))
    work = await begun(service, len(body), partial(_begin, service, exchange, call, nonce))
    exchange.computes()
    try:
        answers = [await ticket.answer() for ticket in work.tickets]
        proofs = [work.proof(i, answer) for i, answer in enumerate(answers)]
        vectors = [answer.outputs[name][0] for answer in answers for name in answer.outputs]
        rows = sum(answer.rows for answer in answers)
        response = Response(
            json_bytes(embeddings_object(call, vectors, rows, proofs)), media_type="application/json"
        )
        work.name_receipt(response, answers[0].receipt)
        return response
    finally:
        work.leave()


def _begin(service: Service, exchange: Exchange, call: EmbeddingCall, header: str | None) -> Computing:
    """Let the model's runner compute all inputs."""
    asked = Asked.now(exchange.client, header)
    served = service.model(call.model)
    if served.embedder is None:
        raise ParameterError("model", "gives no embeddings of texts")
    requests = call.requests(served.embedder, nonce=asked.nonce, node=service.public)
    return Computing.start(service, served, asked, requests)
