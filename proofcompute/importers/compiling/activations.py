"""Writes activations of feed-forward layers as operations of a program."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.errors import UnsupportedError
from proofcompute.importers.architecture import Mlp
from proofcompute.importers.compiling.draft import Draft
from proofcompute.program import operations as ops

__all__ = ["activation", "capped", "clipped", "sigmoid"]

_ROOT: Final = float(np.uint32(0x3F4C422A).view(np.float32))
"""The root of 2 / pi, in binary32."""
_CUBE: Final = float(np.float32(0.044715))


def activation(draft: Draft, ffn: Mlp, x: str, name: str, out: str = "g", rows: int = 0) -> str:
    """Add the activation of a feed-forward layer, whose gate and ``up`` are the halves of ``x`` if gated.

    The result has the name ``out``. With ``rows``, that many layers of one shape stand in a row.
    """
    if not ffn.gated:
        return _act(draft, ffn.act, x, name, out)
    if ffn.act == "silu" and not ffn.limit:
        return draft.add(name, ops.Gate(), x, out=out)
    width = ffn.width
    shape, strides = ((rows, width), (2 * width, 1)) if rows else ((width,), (1,))
    gate = draft.add(f"{name}.gate", ops.View(shape, strides, 0), x)
    up = draft.add(f"{name}.up", ops.View(shape, strides, width), x)
    if not ffn.limit:
        return draft.add(name, ops.Map("mul"), _act(draft, ffn.act, gate, name, f"{name}.act"), up, out=out)
    high, low = draft.number(f"{name}.high", ffn.limit), draft.number(f"{name}.low", -ffn.limit)
    g = draft.add(f"{name}.below", ops.Map("min"), gate, high)
    u = draft.add(f"{name}.lower", ops.Map("max"), draft.add(f"{name}.upper", ops.Map("min"), up, high), low)
    scaled = draft.add(f"{name}.scaled", ops.Map("mul"), g, draft.number(f"{name}.alpha", ffn.alpha))
    one = draft.number(f"{name}.one", 1.0)
    swish = draft.add(f"{name}.act", ops.Map("div"), g, _one_plus_exp(draft, scaled, name, one))
    return draft.add(name, ops.Map("mul"), draft.add(f"{name}.more", ops.Map("add"), u, one), swish, out=out)


def _act(draft: Draft, kind: str, x: str, name: str, out: str) -> str:
    if kind == "gelu":
        return draft.add(name, ops.Gelu(), x, out=out)
    if kind == "relu":
        return draft.add(name, ops.Relu(), x, out=out)
    if kind == "relu2":
        positive = draft.add(f"{name}.relu", ops.Relu(), x)
        return draft.add(f"{name}.square", ops.Map("mul"), positive, positive, out=out)
    one = draft.number(f"{name}.one", 1.0)
    if kind == "silu":
        return draft.add(f"{name}.silu", ops.Map("div"), x, _one_plus_exp(draft, x, name, one), out=out)
    if kind != "gelu_tanh":
        raise UnsupportedError(f"the activation {kind!r} is not supported")
    square = draft.add(f"{name}.square", ops.Map("mul"), x, x)
    cube = draft.add(f"{name}.cube", ops.Map("mul"), square, x)
    small = draft.add(f"{name}.small", ops.Map("mul"), cube, draft.number(f"{name}.c", _CUBE))
    inner = draft.add(f"{name}.inner", ops.Map("add"), x, small)
    turned = draft.add(f"{name}.root", ops.Map("mul"), inner, draft.number(f"{name}.r", _ROOT))
    bent = draft.add(f"{name}.tanh", ops.Map("tanh"), turned)
    half = draft.add(f"{name}.half", ops.Map("mul"), x, draft.number(f"{name}.h", 0.5))
    more = draft.add(f"{name}.more", ops.Map("add"), bent, one)
    return draft.add(f"{name}.gelu", ops.Map("mul"), half, more, out=out)


def _one_plus_exp(draft: Draft, x: str, name: str, one: str) -> str:
    """Add 1 + exp(-x)."""
    falling = draft.add(f"{name}.exp", ops.Map("exp"), draft.add(f"{name}.neg", ops.Map("neg"), x))
    return draft.add(f"{name}.sum", ops.Map("add"), one, falling)


def sigmoid(draft: Draft, x: str, name: str) -> str:
    """Add 1 / (1 + exp(-x))."""
    one = draft.number(f"{name}.one", 1.0)
    return draft.add(f"{name}.sigmoid", ops.Map("div"), one, _one_plus_exp(draft, x, name, one))


def capped(draft: Draft, x: str, cap: float, name: str) -> str:
    """Add tanh(x / cap) * cap."""
    c = draft.number(f"{name}.cap", cap)
    bent = draft.add(f"{name}.tanh", ops.Map("tanh"), draft.add(f"{name}.div", ops.Map("div"), x, c))
    return draft.add(f"{name}.capped", ops.Map("mul"), bent, c)


def clipped(draft: Draft, x: str, limit: float, name: str) -> str:
    """Add min(max(x, -limit), limit)."""
    low, high = draft.number(f"{name}.low", -limit), draft.number(f"{name}.high", limit)
    return draft.add(
        f"{name}.below", ops.Map("min"), draft.add(f"{name}.above", ops.Map("max"), x, low), high
    )
