"""A small encoder that is built by hand: rows are tokens, attention sees all of them, one output row."""

from __future__ import annotations

import secrets
from functools import cache

import numpy as np

from proofcompute.arrays import F32
from proofcompute.encoding.wire import f32_bits
from proofcompute.limits import MAX_ROWS
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.program.operations import Attention, PoolRows, QuantiseHeads, Split
from proofcompute.protocol.messages import Request

__all__ = ["TOKENS", "built", "model", "request"]

WIDTH, HEADS, LAYERS, VOCABULARY, CONTEXT = 16, 2, 2, 40, 48
TOKENS = (3, 17, 5, 39, 0, 8, 21, 1, 1, 30, 12)


def built(*, ahead: int = MAX_ROWS, window: int = 0, kind: str = "mean", pooled: bool = True) -> Model:
    """Post-norm blocks as in BERT, each from the keys and values of all rows to those of the next block, and
    one pooled and normalised row, or three numbers for each row.
    """
    rng = np.random.default_rng(7)

    def some(*shape: int, scale: float = 0.0) -> F32:
        drawn = rng.standard_normal(shape) * (scale or shape[-1] ** -0.5)
        return drawn.astype(np.float32)

    b = ProgramBuilder(context=CONTEXT, pooled=pooled)
    tokens, types = b.input("tokens", (), "i32"), b.input("types", (), "i32")
    x = b.embed(tokens, some(VOCABULARY, WIDTH, scale=1), weight_limbs=2)
    x = x + b.embed(types, some(2, WIDTH, scale=1), weight_limbs=2)
    x = b.layer_norm(x, 1 + some(WIDTH, scale=0.1), some(WIDTH, scale=0.1))
    for layer in range(LAYERS):
        kv = b.linear(x, some(2 * WIDTH, WIDTH), some(2 * WIDTH, scale=0.1), weight_limbs=2)
        k, v = b.apply_all(Split((WIDTH,) * 2), kv, names=[f"{n}.{layer}" for n in "kv"])
        keys = b.apply_all(QuantiseHeads(HEADS, 2), k, names=(f"kq.{layer}", f"ks.{layer}"))
        values = b.apply_all(QuantiseHeads(HEADS, 2), v, names=(f"vq.{layer}", f"vs.{layer}"))
        b.cut(x, *keys, *values)
        q = b.linear(x, some(WIDTH, WIDTH), some(WIDTH, scale=0.1), weight_limbs=2)
        mixed = b.apply(Attention(HEADS, f32_bits(8**-0.5), window, 2, ahead=ahead), q, *keys, *values)
        x = x + b.linear(mixed, some(WIDTH, WIDTH), weight_limbs=2)
        x = b.layer_norm(x, 1 + some(WIDTH, scale=0.1), some(WIDTH, scale=0.1))
        up = b.gelu(b.linear(x, some(3 * WIDTH, WIDTH), some(3 * WIDTH, scale=0.1), weight_limbs=2))
        x = x + b.linear(up, some(WIDTH, 3 * WIDTH), weight_limbs=2)
        x = b.layer_norm(x, 1 + some(WIDTH, scale=0.1), some(WIDTH, scale=0.1))
    b.cut(x)
    if pooled:
        x = b.apply(PoolRows(kind), x)
        x = x / b.map("sqrt", b.reduce("sum", x * x, (0,)))
    else:
        x = b.linear(x, some(3, WIDTH), weight_limbs=2)
    b.output(b.reshape(x, x.shape, name="embedding"))
    return b.model()


@cache
def model(kind: str = "mean", pooled: bool = True) -> Model:
    """:func:`built`, made once."""
    return built(kind=kind, pooled=pooled)


def request(m: Model, tokens: tuple[int, ...] = TOKENS, types: tuple[int, ...] = ()) -> Request:
    """A request for the embedding of some tokens, by default of type 0."""
    rows = (("tokens", tokens), ("types", types or (0,) * len(tokens)))
    return Request(
        m.model_id, tuple((n, np.array(v, "<i4").tobytes()) for n, v in rows), secrets.token_bytes(32)
    )
