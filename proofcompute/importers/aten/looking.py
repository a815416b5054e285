"""The operators of ATen that look elements up by number, and update them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.elements import cast
from proofcompute.importers.lowering import moves
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant
from proofcompute.program.operations import contiguous

__all__: list[str] = []


@operator("embedding")
def _embedding(c: Call) -> Value:
    return moves.gather(c.g, c.value("weight"), c.value("indices"), 0)


@operator("index_select")
def _index_select(c: Call) -> Value:
    x = c.value()
    return moves.gather(c.g, x, c.value("index"), c.axis(len(x.shape)))


@operator("gather", "take_along_dim")
def _gather(c: Call) -> Value:
    x, numbers = c.value(), c.value("indices" if c.op == "take_along_dim" else "index")
    axis = c.axis(len(x.shape))
    for a, n in enumerate(numbers.shape):
        if a != axis and n != x.shape[a]:
            x = c.g.slice(x, a, 0, n)
    return moves.gather_elements(c.g, x, numbers, axis)


def _places(c: Call, x: Value) -> tuple[list[int], list[Value]]:
    """Return the axes that are indexed, and the numbers along each, broadcast together."""
    given = c.get("indices")
    if not isinstance(given, list | tuple):
        raise RefusedError("its indices are no list")
    axes: list[int] = []
    numbers: list[Value] = []
    at = 0
    for one in given:
        if isinstance(one, Constant) and one.dtype == "bool":
            for found in np.nonzero(one.array):
                axes.append(at)
                numbers.append(constant(found, "i64"))
                at += 1
            continue
        if isinstance(one, Row) and one.dtype == "bool":
            raise RefusedError("a mask of elements that depends on the inputs: the result has no known shape")
        if isinstance(one, Constant | Row):
            axes.append(at)
            numbers.append(cast(c.g, one, "i64"))
        elif one is not None:
            raise RefusedError("an index is no tensor")
        at += 1
    if not axes or at > len(x.shape):
        raise RefusedError(f"{at} indices of a tensor with {len(x.shape)} axes")
    shape = np.broadcast_shapes(*(n.shape for n in numbers))
    found_numbers = [
        moves.indices(c.g, c.g.broadcast(n, shape), x.shape[a]) for a, n in zip(axes, numbers, strict=True)
    ]
    return axes, found_numbers


def _flat_places(g: Graph, shape: Sequence[int], numbers: Sequence[Value]) -> Value:
    total: Value | None = None
    for step, one in zip(contiguous(shape), numbers, strict=True):
        part = one if step == 1 else g.map("mul", one, step)
        total = part if total is None else g.map("add", total, part)
    if total is None:
        raise RefusedError("no indices")
    return total


@operator("index", "_unsafe_index")
def _index(c: Call) -> Value:
    g, x = c.g, c.value()
    axes, numbers = _places(c, x)
    rest = [a for a in range(len(x.shape)) if a not in axes]
    front = g.transpose(x, (*axes, *rest))
    sizes = tuple(x.shape[a] for a in axes)
    flat = g.reshape(front, (math.prod(sizes), *(x.shape[a] for a in rest)))
    taken = g.take(flat, _flat_places(g, sizes, numbers))
    new = len(numbers[0].shape)
    if axes == list(range(axes[0], axes[0] + len(axes))):
        lead = axes[0]  # neighbours keep their place, others go to the front
        order = (*range(new, new + lead), *range(new), *range(new + lead, new + len(rest)))
        return g.transpose(taken, order)
    return taken


@operator("index_put", "_unsafe_index_put")
def _index_put(c: Call) -> Value:
    g, x = c.g, c.value()
    axes, numbers = _places(c, x)
    rest = [a for a in range(len(x.shape)) if a not in axes]
    order = (*axes, *rest)
    sizes = tuple(x.shape[a] for a in axes)
    left = tuple(x.shape[a] for a in rest)
    flat = g.reshape(g.transpose(x, order), (math.prod(sizes), *left))
    lead = axes[0] if axes == list(range(axes[0], axes[0] + len(axes))) else 0
    place = numbers[0].shape
    values = cast(g, c.value("values"), x.dtype)
    values = g.broadcast(values, (*left[:lead], *place, *left[lead:]))
    back = (*range(lead, lead + len(place)), *range(lead), *range(lead + len(place), len(values.shape)))
    values = g.transpose(values, back)
    how = "add" if c.flag("accumulate") else "none"
    made = g.reshape(g.put(flat, _flat_places(g, sizes, numbers), values, how), (*sizes, *left))
    return g.transpose(made, [order.index(a) for a in range(len(order))])


@operator("scatter", "scatter_add", "scatter_reduce")
def _scatter(c: Call) -> Value:
    g, x, numbers = c.g, c.value(), c.value("index")
    kind = c.text("reduce", "none") if c.op != "scatter_add" else "sum"
    how = {
        "none": "none",
        "sum": "add",
        "add": "add",
        "prod": "mul",
        "multiply": "mul",
        "amax": "max",
        "amin": "min",
    }
    if kind not in how or (c.op == "scatter_reduce" and c.get("include_self") is False):
        raise RefusedError(f"reduction {kind!r}")
    values = cast(g, c.value("src" if c.has("src") else "value"), x.dtype)
    if values.shape != numbers.shape and values.shape:
        for a, n in enumerate(numbers.shape):
            values = g.slice(values, a, 0, n)
    values = g.broadcast(values, numbers.shape)
    axis = c.axis(len(x.shape))
    return moves.scatter_elements(g, x, numbers, values, axis, how[kind])


@operator("slice_scatter", "select_scatter", "copy")
def _scattered(c: Call) -> Value:
    g, x = c.g, c.value()
    source = cast(g, c.value("src"), x.dtype)
    if c.op == "copy":
        return g.broadcast(source, x.shape)
    axis = c.axis(len(x.shape), default=0)
    n = x.shape[axis]
    if c.op == "select_scatter":
        at = c.whole("index") % n
        start, stop, step = at, at + 1, 1
        source = g.reshape(source, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    else:
        start, stop, step = slice(c.get("start"), c.get("end"), c.whole("step", 1)).indices(n)
    where = range(start, max(start, stop), step)
    if step == 1:
        return g.concat([g.slice(x, axis, 0, start), source, g.slice(x, axis, where.stop, n)], axis)
    numbers = np.full(n, -1)
    numbers[start:stop:step] = np.arange(len(where))
    wide = moves.gather(g, source, constant(np.maximum(numbers, 0), "i64"), axis)
    here = constant((numbers >= 0).reshape([n if a == axis else 1 for a in range(len(x.shape))]), "bool")
    return g.select(here, wide, x)


@operator("one_hot")
def _one_hot(c: Call) -> Value:
    depth = c.whole("num_classes", -1)
    if depth < 0:
        raise RefusedError("a number of classes that depends on the inputs; give num_classes")
    off, on = constant(0, "i64"), constant(1, "i64")
    return moves.one_hot(c.g, c.value(), depth, off, on, -1)
