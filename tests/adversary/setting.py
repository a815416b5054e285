"""The small model, key and request that every attack is about, and forgeries of answers to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.testing import TINY, Forgery, random_chat_model
from proofcompute.testing.forging import Choose, Rewrite, unchanged
from proofcompute.testing.forging import forge as forge_anything
from proofcompute.verifier import Key, keygen

KERNELS = synthetic.KERNELS
NODE = synthetic.NODE
STRANGER = NodeIdentity(bytes(range(1, 33)))
SAMPLED = synthetic.SAMPLED

SMALL = replace(TINY, width=16, head_dim=4, ffn_width=24, context=160)
PROMPT = "Hello, world"
ANSWER = 6
"""Tokens asked for."""
ROWS = len(PROMPT) + ANSWER - 1
EMBEDDING, BLOCK_0, BLOCK_1, HEAD = range(4)
FIRST_HEAD_ROW = len(PROMPT) - 1


@cache
def model(seed: int = 0, precision: str = "w8a16") -> Model:
    return random_chat_model(KERNELS, seed, precision, SMALL)


@cache
def _key(seed: int, precision: str, columns: int, secret: int) -> Key:
    return keygen(model(seed, precision), KERNELS, columns=columns, seed=bytes([secret] * 32))


def key(seed: int = 0, precision: str = "w8a16", columns: int = 2, secret: int = 7) -> Key:
    """Made once, with a new log each time: the requests of tests have one nonce."""
    return replace(_key(seed, precision, columns, secret), log=MemoryLog())


def request(m: Model | None = None, prompt: str = PROMPT, **changes: Any) -> Request:
    """A greedy request of ANSWER tokens; generation settings and request fields by keyword."""
    changes.setdefault("max_tokens", ANSWER)
    return synthetic.request(m or model(), prompt, **changes)


def forge(
    claims: Model | None = None,
    asked: Request | None = None,
    *,
    runs: Model | None = None,
    settings: Generation | None = None,
    write_as: Rewrite = unchanged,
    see_as: Rewrite = unchanged,
    choose: Choose = lambda number, token: token,
    stop: Callable[[list[int]], str | None] | None = None,
    prompt: Sequence[int] | None = None,
    kernels: Kernels = KERNELS,
) -> Forgery:
    """:func:`proofcompute.testing.forge` on this model and request."""
    claims = claims or model()
    return forge_anything(
        claims,
        asked or request(claims),
        kernels,
        NODE,
        runs=runs,
        settings=settings,
        write_as=write_as,
        see_as=see_as,
        choose=choose,
        stop=stop,
        prompt=prompt,
    )


@cache
def honest() -> Forgery:
    return forge()
