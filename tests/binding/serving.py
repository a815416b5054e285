"""A node as it serves the small model: what it makes of receipts, and claims that nobody computed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from binding.setting import LIMIT, body_of, card
from proofcompute.openai import Call, Endpoint, Json, ProofField, Reply, Usage, call_of, read_json
from proofcompute.openai.checking import answer_of, usage_of
from proofcompute.protocol.answer import AnswerText, answer_text
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.protocol.stop import stop_reason
from synthetic import NODE

NONCE, DAY = bytes(range(32)), date(2026, 11, 30)
HELLO = [{"role": "user", "content": "Hello"}]


def read(**fields: Any) -> Call:
    endpoint: Endpoint = "chat" if "messages" in fields else "completions"
    return call_of(read_json(body_of(**fields), LIMIT), endpoint=endpoint)


def proof(choice: int, receipt: bytes) -> ProofField:
    return ProofField(
        choice=choice,
        receipt=receipt,
        nonce=NONCE,
        nonce_by="client",
        model_id=card().model_id,
        node=NODE.public,
        date=DAY,
        open="/v1/proofs/open",
    )


def served(
    call: Call, claims: Sequence[Claim], requests: Sequence[Request], cuts: Sequence[int]
) -> list[Json]:
    """The response as one would make it: whole, or choice by choice with some tokens in each chunk."""
    vocabulary = card().vocabulary
    assert vocabulary is not None
    reply = Reply.of(call, requests[0], 1)
    proofs = [proof(i, c.receipt.encode()) for i, c in enumerate(claims)]
    if not call.stream:
        texts = [
            (
                answer_text(vocabulary, r.generation, answer_of(c), c.receipt.stop_reason),
                c.receipt.stop_reason,
            )
            for r, c in zip(requests, claims, strict=True)
        ]
        return [dict(reply.whole(texts, usage_of(claims), proofs))]
    chunks: list[Json] = []
    prompt = claims[0].statement.prompt
    for i, (request, claim) in enumerate(zip(requests, claims, strict=True)):
        assert request.generation is not None
        shown, tokens = AnswerText(vocabulary, request.generation.stops), answer_of(claim)
        chunks.append(reply.chunk(i, "", first=True, usage=Usage(prompt, 0)))
        done = 0
        for cut in sorted({*cuts, len(tokens)}):
            if cut > len(tokens):
                continue
            text, done, last = shown.push(*tokens[done:cut]), cut, cut == len(tokens)
            reason = claim.receipt.stop_reason if last else None
            chunks.append(
                reply.chunk(
                    i,
                    text + (shown.finish(reason) if last else ""),
                    usage=Usage(prompt, cut),
                    reason=reason,
                    proof=proofs[i] if last else None,
                )
            )
    if call.include_usage:
        chunks.append(reply.last(usage_of(claims)))
    return chunks


def claim_of(request: Request, tokens: Sequence[int]) -> Claim:
    """The claim of an answer that nobody computed; what is signed, and whether, does not matter here."""
    assert request.generation is not None
    program = card().program
    reason = stop_reason(request.generation, tokens, card().vocabulary)
    outputs = {program.outputs[0]: np.array(tokens, "<i4")}
    statement = statement_of(request, program, inputs_of(request, program, card().model_id), outputs)
    receipt = Receipt(
        suite="sha256",
        model_id=card().model_id,
        request_digest=request.digest,
        outputs=((program.outputs[0], outputs[program.outputs[0]].tobytes()),),
        rows=statement.rows,
        stop_reason=reason or "length",
        trace_root=bytes(32),
        retention=0,
        node=NODE.public,
        signature=bytes(64),
    )
    return Claim(receipt, statement)
