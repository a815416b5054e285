"""The operators of ATen for pools."""

from __future__ import annotations

import math

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.lowering import pooling
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import RefusedError, Value

__all__: list[str] = []


def _places(c: Call) -> int:
    """Return the number of axes of places, which an operator's name says."""
    return int(next(letter for letter in c.op if letter.isdigit()))


def _batched(c: Call) -> tuple[Value, int, bool]:
    x, count = c.value("self" if "self" in c.arguments else "input"), _places(c)
    single = len(x.shape) == count + 1
    return (c.g.reshape(x, (1, *x.shape)) if single else x), count, single


@operator(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices",
)  # fmt: skip
def _max_pool(c: Call) -> Value | list[Value]:
    g = c.g
    x, count, single = _batched(c)
    size = c.wholes("kernel_size", count)
    strides = c.wholes("stride", count) if c.get("stride") else size
    margins, dilations = c.wholes("padding", count), c.wholes("dilation", count)
    high = pooling.fitted(x.shape[2:], size, strides, dilations, margins, margins, ceil=c.flag("ceil_mode"))
    made = pooling.max_pool(g, x, size, strides, dilations, margins, high)
    made = g.reshape(made, made.shape[1:]) if single else made
    if "indices" not in c.op:
        return made
    places = pooling.max_pool_places(g, x, size, strides, dilations, margins, high)
    # PyTorch counts in each channel of each sample
    inner = math.prod(x.shape[2:])
    return [made, g.reshape(g.map("rem", places, inner), made.shape)]


@operator("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(c: Call) -> Value:
    g = c.g
    x, count, single = _batched(c)
    if c.get("divisor_override"):
        raise RefusedError("a divisor of its own")
    size = c.wholes("kernel_size", count)
    strides = c.wholes("stride", count) if c.get("stride") else size
    margins, ones = c.wholes("padding", count), [1] * count
    wide = pooling.fitted(x.shape[2:], size, strides, ones, margins, margins, ceil=c.flag("ceil_mode"))
    counted = margins if c.arguments.get("count_include_pad", True) else None
    made = pooling.average_pool(g, x, size, strides, ones, margins, wide, counted=counted)
    return g.reshape(made, made.shape[1:]) if single else made


def _adaptive(c: Call, kind: str) -> Value:
    """Pool each axis to a length, between the places that are as far along as the result's."""
    g = c.g
    x, count, single = _batched(c)
    given = c.get("output_size")
    wanted = [given] * count if isinstance(given, int) else list(given)
    wanted = wanted * count if len(wanted) == 1 else wanted
    for i, out in enumerate(wanted):
        axis = 2 + i
        n = x.shape[axis]
        out = n if out is None else out
        if out < 1:
            raise RefusedError(f"a pool to {out} places")
        if out != n:
            x = _adapted(g, x, axis, n, out, kind)
    return g.reshape(x, x.shape[1:]) if single else x


def _adapted(g: Graph, x: Value, axis: int, n: int, out: int, kind: str) -> Value:
    def pooled(part: Value) -> Value:
        found = g.reduce("sum" if kind == "mean" else "max", part, (axis,), keep=True)
        return found if kind == "max" else g.map("div", found, float(part.shape[axis]))

    if n % out == 0:
        split = g.reshape(x, (*x.shape[:axis], out, n // out, *x.shape[axis + 1 :]))
        made = g.reduce("sum" if kind == "mean" else "max", split, (axis + 1,))
        return made if kind == "max" else g.map("div", made, float(n // out))
    ends = [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
    return g.concat([pooled(g.slice(x, axis, a, b)) for a, b in ends], axis)


@operator("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
          "_adaptive_avg_pool3d")  # fmt: skip
def _adaptive_mean(c: Call) -> Value:
    return _adaptive(c, "mean")


@operator("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max(c: Call) -> list[Value | None]:
    return [_adaptive(c, "max"), None]
