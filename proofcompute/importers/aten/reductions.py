"""The operators of ATen that reduce, order and accumulate."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.elements import cast
from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering import moves, norms
from proofcompute.importers.lowering.values import RefusedError, Value, constant

__all__: list[str] = []

_KINDS: Final = {"sum": "sum", "mean": "mean", "prod": "prod", "amax": "max", "amin": "min",
                 "logsumexp": "log_sum_exp"}  # fmt: skip


def _reduced(c: Call, kind: str, x: Value, axes: list[int], keep: bool) -> Value:
    if not x.shape:
        return c.g.reshape(norms.reduced(c.g, kind, c.g.reshape(x, (1,)), [0]), ())
    return norms.reduced(c.g, kind, x, axes, keep=keep)


def _reduce(c: Call, kind: str) -> Value:
    x = cast(c.g, c.value(), c.dtype)
    return _reduced(c, kind, x, c.axes(len(x.shape)), c.flag("keepdim"))


for _name, _kind in _KINDS.items():
    operator(_name)(partial(_reduce, kind=_kind))


@operator("any", "all")
def _any(c: Call) -> Value:
    x = c.g.cast(el.logical(c.g, c.value()), "u8")
    kind = "max" if c.op == "any" else "min"
    made = c.g.cast(_reduced(c, kind, x, c.axes(len(x.shape)), c.flag("keepdim")), "bool")
    return c.g.cast(made, c.dtype)


@operator("max", "min")
def _extreme(c: Call) -> Value | list[Value]:
    x = c.value()
    if "dim" not in c.arguments:
        return _reduced(c, c.op, x, list(range(len(x.shape))), keep=False)
    if not x.shape:
        return [x, constant(0, "i64")]
    axis, keep = c.axis(len(x.shape)), c.flag("keepdim")
    places = norms.arg_extreme(c.g, c.op, x, axis, keep=keep, last=False)
    return [c.g.reduce(c.op, x, (axis,), keep=keep), places]


@operator("argmax", "argmin")
def _arg(c: Call) -> Value:
    x = c.value()
    kind = c.op.removeprefix("arg")
    if not c.has("dim") or not x.shape:
        flat = c.g.reshape(x, (math.prod(x.shape),))
        return c.g.reshape(norms.arg_extreme(c.g, kind, flat, 0, keep=False, last=False), c.shape)
    return norms.arg_extreme(c.g, kind, x, c.axis(len(x.shape)), keep=c.flag("keepdim"), last=False)


@operator("var", "std", "var_mean", "std_mean")
def _var(c: Call) -> Value | list[Value]:
    g, x = c.g, c.value()
    axes, keep = c.axes(len(x.shape)), c.flag("keepdim")
    by = c.get("correction")
    if "unbiased" in c.arguments:
        by = int(c.flag("unbiased"))
    lost = 1.0 if by is None else float(by)
    count = math.prod(x.shape[a] for a in axes)
    if count <= lost:
        raise RefusedError(f"the variance of {count} elements")
    centre = norms.mean(g, x, axes, keep=True)
    apart = g.map("sub", x, centre)
    total = g.reduce("sum", g.map("mul", apart, apart), axes, keep=keep)
    made = g.map("div", total, count - lost)
    made = g.map("sqrt", made) if c.op.startswith("std") else made
    return [made, g.reshape(centre, made.shape)] if c.op.endswith("_mean") else made


@operator("linalg_vector_norm", "norm")
def _norm(c: Call) -> Value:
    g = c.g
    x = cast(g, c.value("self" if "self" in c.arguments else "x"), c.dtype)
    p = c.real("ord" if "ord" in c.arguments else "p", 2.0)
    axes, keep = c.axes(len(x.shape)), c.flag("keepdim")
    size = g.map("abs", x)
    if math.isinf(p):
        return norms.reduced(g, "max" if p > 0 else "min", size, axes, keep=keep)
    if p in (1, 2):
        return norms.reduced(g, f"l{int(p)}", x, axes, keep=keep)
    if p == 0:
        return g.reduce("sum", g.cast(g.map("lt", 0.0, size), x.dtype), axes, keep=keep)
    total = g.reduce("sum", el.power(g, size, constant(p, "f32")), axes, keep=keep)
    return el.power(g, total, constant(1 / p, "f32"))


@operator("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "special_softmax")
def _softmax(c: Call) -> Value:
    x = cast(c.g, c.value(), c.dtype)
    if not x.shape:
        return c.g.map("mul", x, 0.0) if "log" in c.op else c.g.map("exp", c.g.map("mul", x, 0.0))
    axis = c.axis(len(x.shape))
    if c.op != "_safe_softmax":
        return (norms.log_softmax if "log" in c.op else norms.softmax)(c.g, x, axis)
    # entries that are all -inf give zeros
    dead = c.g.map("eq", c.g.reduce("max", x, (axis,), keep=True), -math.inf)
    return c.g.select(dead, 0.0, norms.softmax(c.g, c.g.select(dead, 0.0, x), axis))


@operator("cumsum", "cumprod")
def _cumulate(c: Call) -> Value:
    x = cast(c.g, c.value(), c.dtype)
    return moves.running(c.g, c.op.removeprefix("cum"), x, c.axis(len(x.shape))) if x.shape else x


@operator("topk")
def _topk(c: Call) -> list[Value]:
    x = c.value()
    axis = c.axis(len(x.shape), default=-1)
    return list(moves.top_k(c.g, x, c.whole("k"), axis, largest=c.arguments.get("largest", True)))


@operator("sort", "argsort")
def _sort(c: Call) -> Value | list[Value]:
    x = c.value()
    axis = c.axis(len(x.shape), default=-1)
    found = moves.top_k(c.g, x, x.shape[axis], axis, largest=c.flag("descending"))
    return found[1] if c.op == "argsort" else list(found)
