"""Say which commands each call of the backend becomes, for one row.

A call without an entry here is not recorded, and another that uses its result then finds it unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.arguments import preparation
from proofcompute.arithmetic.backends.numba.mapping import parts_of
from proofcompute.arithmetic.backends.numba.steps import moving
from proofcompute.arithmetic.backends.numba.steps.arena import Value
from proofcompute.arithmetic.backends.numba.steps.plan import MOST_ROWS, address
from proofcompute.arithmetic.backends.numba.steps.recording import (
    ALWAYS,
    Operand,
    Recording,
    UnknownCallError,
    Words,
)
from proofcompute.arithmetic.kernels import PLAIN, AttentionOptions, Matrix, Prologue, Routing
from proofcompute.arithmetic.primitives import ELEMENTS, TWO_LIMBS, Expression, View
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I32, Array

__all__ = ["record"]

_SHARE_BYTES: Final = 1 << 16
"""Bytes of weights in one unit of a product."""
_TOGETHER: Final = 3
"""Least number of rows whose rotations and keys are shared out."""
_SHARED: Final = 1 << 13
"""Elements times costs from which lines are shared out: some microseconds."""
_SUM, _QUANTISED, _NORM, _GATE, _GELU = 1, 2, 4, 6, 6
"""Costs of an element, in additions."""


def record(r: Recording, name: str, arguments: Sequence[Any], named: Mapping[str, Any], result: Any) -> None:
    """Record a call of the backend."""
    handle = _CALLS.get(name)
    if handle is None:
        return  # a call that uses the result does not find it among the results
    try:
        handle(r, result, *arguments, **named)
    except UnknownCallError:
        r.possible = False


def _together(width: int, cost: int) -> int:
    """Return the number of lines from which on they are shared out."""
    return max(2, -(-_SHARED // max(1, width * cost)))


def _pieces(size: int, cost: int) -> int:
    """Return into how many lines of one size a row of elements is cut, so that each is worth sharing."""
    count = 1
    while size % (2 * count) == 0 and size // (2 * count) * cost >= _SHARED // 2:
        count *= 2
    return count


# -- elements ----------------------------------------------------------------------------------------------
def _embed(r: Recording, result: F32, q: Array, s: F32) -> None:
    x, scale = r.row(q), r.row(s)
    r.add("EMBED", x=x, scale=scale, width=q.size, out=r.made(result))


def _evaluate(
    r: Recording,
    result: Array,
    expression: Expression,
    inputs: Sequence[Array],
    n: int,
    shape: Sequence[int],
    views: Sequence[View | None] = (),
) -> None:
    if expression == TWO_LIMBS:
        x, low, scale = map(r.row, inputs)
        r.add("EMBED", x=x, q=low, scale=scale, width=inputs[0].size, out=r.made(result))
        return
    if n != 1 or any(v is not None for v in views):
        raise UnknownCallError
    parts = parts_of(expression, [x.shape[1:] for x in inputs], shape, worth=r.compiles)
    if parts is None:
        r.lacking = True
        raise UnknownCallError
    size, final = math.prod(shape), len(inputs) + len(expression.terms) - 1
    values: dict[int, tuple[Operand, int, int]] = {i: (*r.operand(x), x.size) for i, x in enumerate(inputs)}
    for part in parts:
        for i, dtype in part.writes:
            made = r.made(result) if i == final else Value(size * ELEMENTS[dtype].itemsize)
            values[i] = made, made.width, size
        words = [values[i] for i in (*part.reads, *(i for i, _ in part.writes))]
        plan = (r.table(part.plan), 0, part.plan.size)
        count = -(-part.units // part.share)
        how = {"m": part.units, "share": part.share, "count": count, "together": part.together}
        r.add("LOOP", code=part.address, ids=Words([plan, *words]), **how)


def _settle(r: Recording, result: F32, x: F32) -> None:
    r.add("SETTLE", x=r.row(x), width=x.size, out=r.made(result))


def _each(kind: str, cost: int) -> Callable[[Recording, F32, F32], None]:
    def handle(r: Recording, result: F32, x: F32) -> None:
        count = _pieces(x.size, cost)
        width = x.size // count
        sizes = {"width": width, "count": count, "together": _together(width, cost)}
        r.add(kind, x=r.row(x), **sizes, out=r.made(result))

    return handle


def _add(r: Recording, result: F32, x: F32, y: F32) -> None:
    count = _pieces(x.size, _SUM)
    width = x.size // count
    sizes = {"width": width, "count": count, "together": _together(width, _SUM)}
    r.add("ADD", x=r.row(x), residual=r.row(y), **sizes, out=r.made(result))


# -- rows --------------------------------------------------------------------------------------------------
def _rms_norm(r: Recording, result: F32, x: F32, w: F32, eps: np.float32) -> None:
    count, width = x.shape
    sizes = {"width": width, "count": count, "together": _together(width, _NORM)}
    r.add("NORM", x=r.row(x), before=r.fixed(w), factor=eps, **sizes, out=r.made(result))


def _layer_norm(r: Recording, result: F32, x: F32, w: F32, b: F32, eps: np.float32) -> None:
    count, width = x.shape
    sizes = {"width": width, "count": count, "together": _together(width, _NORM)}
    weights = {"before": r.fixed(w), "bias": r.fixed(b), "factor": eps}
    r.add("LAYER", x=r.row(x), **weights, **sizes, out=r.made(result))


def _gate(r: Recording, result: F32, x: F32) -> None:
    count, width = x.shape
    sizes = {"width": width, "count": count, "together": _together(width, _GATE)}
    r.add("GATE", x=r.row(x), **sizes, out=r.made(result))


def _heads(
    r: Recording,
    result: Sequence[Array],
    x: F32,
    cos: F32,
    sin: F32,
    heads: int,
    kv_heads: int,
    interleaved: bool,
    limbs: int = 1,
) -> None:
    row, turns = r.row(x), {"cos": r.turning(cos), "sin": r.turning(sin)}
    q, k, ks, v, vs = map(r.made, result)
    pairs = cos.shape[1]
    sizes = {"heads": kv_heads, "d": result[1].shape[-1], "pairs": -pairs if interleaved else pairs}
    sizes["limbs"] = limbs
    made = {"out": q, "k": k, "ks": ks, "v": v, "vs": vs}
    r.add("HEADS", x=row, width=x.size, **turns, **sizes, **made, together=_TOGETHER)


def _rope(
    r: Recording, result: F32, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0
) -> None:
    turns = {"cos": r.turning(cos), "sin": r.turning(sin)}
    pairs = -cos.shape[1] if interleaved else cos.shape[1]
    sizes = {"width": x.size, "d": x.size // heads, "pairs": pairs, "start": start}
    r.add("ROPE", x=r.row(x), **turns, **sizes, out=r.made(result), together=_TOGETHER)


def _quantise_heads(
    r: Recording, result: Sequence[Array], x: F32, heads: int, limbs: int = 1, latent: int = 0
) -> None:
    row, (k, ks) = r.row(x), map(r.made, result)
    sizes = {"width": x.size, "heads": heads, "d": x.size // heads, "limbs": limbs, "latent": latent}
    r.add("QUANTISE", x=row, **sizes, k=k, ks=ks, together=_TOGETHER)


def _attention(
    r: Recording,
    result: F32,
    q: F32,
    kq: Array,
    ks: F32,
    vq: Array | None,
    vs: F32 | None,
    first: int,
    scale: np.float32,
    window: int,
    options: AttentionOptions = PLAIN,
) -> None:
    from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

    if vq is None or vs is None:
        vq, vs = kq, ks
    cached = [r.columns[r.prefix(x)] for x in (kq, ks, vq, vs)]
    if first != r.span.a or options.ahead or kq.shape[1] * MOST_ROWS > MOST_UNITS:
        raise UnknownCallError
    sizes = {
        "width": q.size,
        "heads": kq.shape[1],
        "d": kq.shape[-1],
        "columns": vq.shape[-1],
        "limbs": options.limbs,
        "key_limbs": 2 if kq.ndim == 4 else 1,
        "value_limbs": 2 if vq.ndim == 4 else 1,
        "latent": options.latent,
        "window": window,
    }
    factors = {"factor": scale, "cap": options.softcap, "sinks": r.fixed(options.sinks)}
    where = dict(zip(("k", "ks", "v", "vs"), cached, strict=True))
    r.add("ATTENTION", x=r.row(q), **where, **sizes, **factors, out=r.made(result))


# -- products ----------------------------------------------------------------------------------------------
def _prepared(r: Recording, x: F32, limbs: int, prologue: Prologue, d: int) -> tuple[Value, Value]:
    """Prepare and quantise lines of x; return their integers [d], and their scales."""
    from proofcompute.arithmetic.backends.numba.kernels import linear

    mode, weight, eps = preparation(linear, prologue)
    count, width = x.shape
    cost = _QUANTISED + {linear.NORM: _NORM, linear.GATED: _GATE}.get(mode, 0)
    q, scale = Value(2 * d * count), Value(4 * count)
    how = {"mode": mode, "before": r.fixed(weight), "factor": eps, "limbs": limbs}
    sizes = {"width": width, "d": d, "count": count, "together": _together(width, cost)}
    r.add("PREPARE", x=r.row(x), **how, **sizes, q=q, scale=scale)
    return q, scale


def _share(limbs: int, m: int, d: int, times: int) -> tuple[int, int]:
    """Return the groups of a unit, and the units, of a product that is made so many times in a step."""
    from proofcompute.arithmetic.backends.numba.kernels.products import GROUP
    from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

    groups = -(-m // GROUP)
    share = max(1, _SHARE_BYTES // (limbs * d * GROUP), -(-groups * times // MOST_UNITS))
    units = -(-groups // share)
    if units * times > MOST_UNITS:
        raise UnknownCallError
    return share, units


def _linear(
    r: Recording,
    result: F32,
    x: F32,
    w: Matrix,
    limbs: int,
    prologue: Prologue = None,
    residual: F32 | None = None,
) -> None:
    if len(x) != 1:
        raise UnknownCallError
    w_limbs, m, d = w.q.shape
    rest: Operand = 0 if residual is None else r.row(residual)
    q, scale = _prepared(r, x, limbs, prologue, d)
    share, units = _share(w_limbs, m, d, 1)
    values = {"w": r.fixed(w.q), "w_scale": r.fixed(w.scale), "bias": r.fixed(w.bias)}
    sizes = {"m": m, "d": d, "limbs": w_limbs, "share": share, "units": units}
    r.add("PRODUCT", q=q, scale=scale, **values, **sizes, residual=rest, out=r.made(result))


def _experts(r: Recording, result: F32, x: F32, w: Matrix, numbers: I32, limbs: int) -> None:
    if len(numbers) != 1 or not numbers.size:
        raise UnknownCallError
    groups, w_limbs, m, d = w.q.shape
    count = numbers.size
    share, units = _share(w_limbs, m, d, count * MOST_ROWS)
    ids = r.row(numbers)
    q, scale = _prepared(r, x, limbs, None, d)
    order, begins, ordered = Value(4 * count), Value(4 * (count + 2)), Value(2 * d * count)
    how = {"d": d, "count": count, "groups": groups, "each": count // len(x)}
    found = {"ids": ids, "q": q, "order": order, "begins": begins, "sorted": ordered}
    r.add("SORT", **how, **found)
    values = {"w": r.fixed(w.q), "w_scale": r.fixed(w.scale), "bias": r.fixed(w.bias)}
    sizes = {"m": m, "limbs": w_limbs, "share": share, "units": units}
    r.add("EXPERTS", scale=scale, **values, **sizes, **how, **found, out=r.made(result))


def _route(r: Recording, result: tuple[I32, F32], x: F32, how: Routing, correction: F32 | None) -> None:
    numbers, shares = map(r.made, result)
    row, own = r.row(x), r.fixed(correction)
    score = ("softmax", "sigmoid", "chosen").index(how.score)
    options = {"limbs": int(how.normalise), "heads": how.groups, "pairs": how.top_groups, "latent": how.best}
    sizes = {"width": x.size, "m": how.top_k, "mode": score}
    r.add("ROUTE", x=row, bias=own, **sizes, **options, ids=numbers, out=shares, together=_TOGETHER)


def _mix(r: Recording, result: F32, x: F32, shares: F32) -> None:
    _, count, width = x.shape
    sizes = {"m": count, "width": width, "together": _together(width, 2 * count)}
    r.add("MIX", x=r.row(x), scale=r.row(shares), **sizes, out=r.made(result))


def _sample(
    r: Recording, result: Array, logits: F32, history: Array, first: int, how: Sampling, draws: Array
) -> None:
    known, value = r.member.draws, r.row(logits)
    if known is None or how != r.member.sampling or first != r.span.a or len(result) != 1:
        raise UnknownCallError
    if address(draws) != address(known[first : first + 1]) or len(draws) != 1:
        raise UnknownCallError
    value.last = ALWAYS
    r.sampled.append((result, value, r.prefix(history)))


_CALLS: Final[Mapping[str, Callable[..., None]]] = {
    "add": _add,
    "attention": _attention,
    "embed": _embed,
    "evaluate": _evaluate,
    "experts": _experts,
    "gate": _gate,
    "gather": moving.gather,
    "gelu": _each("GELU", _GELU),
    "heads": _heads,
    "join": moving.join,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "mix": _mix,
    "positions": moving.positions,
    "quantise_heads": _quantise_heads,
    "relu": _each("RELU", _SUM),
    "rms_norm": _rms_norm,
    "rope": _rope,
    "route": _route,
    "sample": _sample,
    "settle": _settle,
    "slice_columns": moving.slice_columns,
    "take": moving.take,
    "view": moving.view,
    "write_rows": moving.write_rows,
}
