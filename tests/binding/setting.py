"""A small model that talks, its prompter, and what a client does with a response, from bytes to claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.openai import (
    Call,
    Endpoint,
    ProofField,
    StreamCheck,
    call_of,
    check_completion,
    check_proofs,
    proofs_of,
    read_json,
    read_response,
)
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request
from proofcompute.testing import TINY, random_chat_model
from proofcompute.tokens import Prompter
from proofcompute.verifier import check_receipt
from synthetic import KERNELS

DATA = Path(__file__).resolve().parents[1] / "data" / "chat.card"
TEMPLATE = (
    "{{ '<a>today\n' + strftime_now('%d %B %Y') + '<b>\n' }}"
    "{% if messages[0]['role'] != 'system' %}{{ '<a>system\nBe brief.<b>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<a>' + m['role'] + '\n' + m['content'] + '<b>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<a>assistant\n' }}{% endif %}"
)
"""Shows the day, says what a system message says if there is none, and marks turns by control tokens."""
LIMIT = 1 << 20


@cache
def model() -> Model:
    """A random model of single bytes, with a context of 256, the template above, and bos before prompts."""
    plain = random_chat_model(KERNELS, of=replace(TINY, context=256))
    vocabulary = plain.card.vocabulary
    assert vocabulary is not None
    tokenizer = replace(vocabulary, before=(256,)).encode()
    return replace(plain, card=replace(plain.card, tokenizer=tokenizer, template=TEMPLATE))


@cache
def card() -> ModelCard:
    return ModelCard.decode(DATA.read_bytes())


@cache
def prompter() -> Prompter:
    """Kept, with its process, to the end of the tests."""
    return Prompter(card())


class Told(NamedTuple):
    """What a client knows: its own call, and the response that came."""

    endpoint: Endpoint
    body: bytes
    nonce: bytes | None
    """The nonce that it sent, if it sent one."""
    node: bytes | None
    """The node that it wants, if it wants one."""
    today: date
    sent: bytes | Sequence[bytes]
    """The response, or the events of the stream."""


class Checked(NamedTuple):
    call: Call
    proofs: tuple[ProofField, ...]
    requests: tuple[Request, ...]
    claims: tuple[Claim, ...]


def checked(told: Told) -> Checked:
    """Check a response as a client does, from its own bytes and those that came."""
    call = call_of(read_json(told.body, LIMIT), endpoint=told.endpoint)
    if isinstance(told.sent, bytes):
        response = read_response(told.sent, LIMIT)
        proofs = proofs_of(call, response)
        found = _claimed(told, call, proofs)
        check_completion(card(), call, found.requests, found.claims, response)
        return found
    stream = StreamCheck(call)
    for event in told.sent:
        stream.push(read_response(event, LIMIT))
    found = _claimed(told, call, stream.close())
    stream.check(card(), found.requests, found.claims)
    return found


def _claimed(told: Told, call: Call, proofs: tuple[ProofField, ...]) -> Checked:
    check_proofs(proofs, model_id=card().model_id, nonce=told.nonce, today=told.today, node=told.node)
    first = proofs[0]
    requests = call.requests(prompter(), nonce=first.nonce, date=first.date, node=first.node)
    claims = tuple(check_receipt(card(), r, p.receipt) for r, p in zip(requests, proofs, strict=True))
    return Checked(call, proofs, requests, claims)


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", **fields}).encode()
