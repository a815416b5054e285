"""The small model, key and request that every attack is about, and forgeries of answers to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks.case import Case
from proofcompute.attacks.case import bad_cells as bad_cells_of
from proofcompute.attacks.case import case as case_of
from proofcompute.attacks.identities import NODE, STRANGER
from proofcompute.attacks.target import ANSWER, FIRST, ROWS, SAMPLED, Target
from proofcompute.errors import Cell
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.testing import TINY, Forgery, random_chat_model
from proofcompute.testing.forging import Choose, Rewrite, unchanged
from proofcompute.testing.forging import forge as forge_anything
from proofcompute.verifier import Key, keygen

KERNELS = synthetic.KERNELS

SMALL = replace(TINY, width=16, head_dim=4, ffn_width=24, context=160)
PROMPT = "Hello, world"
EMBEDDING, BLOCK_0, BLOCK_1, HEAD = range(4)
FIRST_HEAD_ROW = FIRST

__all__ = [
    "ANSWER",
    "BLOCK_0",
    "BLOCK_1",
    "EMBEDDING",
    "FIRST_HEAD_ROW",
    "HEAD",
    "KERNELS",
    "NODE",
    "PROMPT",
    "ROWS",
    "SAMPLED",
    "SMALL",
    "STRANGER",
    "bad_cells",
    "case",
    "forge",
    "honest",
    "key",
    "model",
    "request",
    "target",
]


@cache
def model(seed: int = 0, precision: str = "w8a16") -> Model:
    return random_chat_model(KERNELS, seed, precision, SMALL)


@cache
def target() -> Target:
    """The small model as it is attacked."""
    return Target(model(), KERNELS, tuple(PROMPT.encode()), other=model(1))


@cache
def _key(seed: int, precision: str, columns: int, secret: int) -> Key:
    return keygen(model(seed, precision), KERNELS, columns=columns, seed=bytes([secret] * 32))


def key(seed: int = 0, precision: str = "w8a16", columns: int = 2, secret: int = 7) -> Key:
    """Made once, with a new log each time: the requests of tests have one nonce."""
    if (seed, precision, columns) == (0, "w8a16", 2):
        return target().key(secret)
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


def honest() -> Forgery:
    return target().honest()


def case(forgery: Forgery, *cells: Cell, holder: Key | Model | None = None, **options: Any) -> Case:
    """:func:`proofcompute.attacks.case.case` with the auditor's key."""
    return case_of(target(), forgery, *cells, holder=holder, **options)


def bad_cells(forgery: Forgery, using: Model | None = None) -> dict[Cell, int]:
    """The cells that an audit of just them rejects, and the step of each."""
    return bad_cells_of(target(), forgery, using)
