"""Requests for models made by :mod:`proofcompute.testing.models`."""

from __future__ import annotations

from secrets import token_bytes
from typing import Any

import numpy as np

from proofcompute.arrays import I32
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request

__all__ = ["byte_request", "sample_request", "token_request"]


def byte_request(
    model: Model, prompt: str = "Hello, world", *, max_tokens: int = 8, **changes: Any
) -> Request:
    """Return a request whose tokens are the bytes of ``prompt``, for :func:`.models.random_chat_model`.

    Fields of :class:`.Generation` and of :class:`.Request` may be given by keyword. The nonce is always the
    same unless it is given, so a request is a function of the arguments.
    """
    generation = {k: changes.pop(k) for k in ("sampling", "seed", "stops", "ignore_end") if k in changes}
    tokens = np.frombuffer(prompt.encode(), np.uint8).astype("<i4")
    fields: dict[str, Any] = {
        "model_id": model.model_id,
        "inputs": (("tokens", tokens.tobytes()),),
        "nonce": bytes([9] * 32),
        "generation": Generation(max_tokens, **generation),
        "text": prompt,
        **changes,
    }
    return Request(**fields)


def token_request(
    model: Model, prompt: int, tokens: int, suite: str = "sha256", given: I32 | None = None
) -> Request:
    """Return a greedy request of the tokens ``given``, or of ``prompt`` random ones, answered in full."""
    if given is None:
        vocabulary = model.program.weight["embedding"].rows
        given = np.random.default_rng(1).integers(0, vocabulary, prompt).astype(np.int32)
    ids = np.ascontiguousarray(given, "<i4")
    generation = Generation(tokens, ignore_end=True)  # as many as were asked for, whatever the model says
    return Request(
        model.model_id, (("tokens", ids.tobytes()),), token_bytes(32), generation=generation, suite=suite
    )


def sample_request(model: Model, rows: int) -> Request:
    """Return a request of ``rows`` random samples for a network built by hand."""
    name, spec = model.program.inputs[0]
    x = np.random.default_rng(1).standard_normal((rows, spec.size)).astype("<f4")
    return Request(model.model_id, ((name, x.tobytes()),), token_bytes(32))
