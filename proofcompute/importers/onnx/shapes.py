"""The operators of ONNX that make, move, look up and order elements."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from proofcompute.importers.lowering import moves
from proofcompute.importers.lowering.graph import guard
from proofcompute.importers.lowering.values import Constant, RefusedError, constant, is_float
from proofcompute.importers.onnx.calls import Call, Given, axis_of, operator
from proofcompute.importers.onnx.tensors import dtype_of

__all__: list[str] = []


@operator("Constant")
def _constant(c: Call) -> Given:
    for name, dtype in (
        ("value_float", "f32"),
        ("value_floats", "f32"),
        ("value_int", "i64"),
        ("value_ints", "i64"),
    ):
        if name in c.attributes:
            return constant(np.array(c.attributes[name]), dtype)
    found = c.attributes.get("value")
    if not isinstance(found, Constant):
        raise RefusedError("its value is no dense tensor of numbers")
    return found


@operator("ConstantOfShape")
def _constant_of_shape(c: Call) -> Given:
    shape = guard(c.numbers(0))
    value = c.attributes.get("value")
    one = value if isinstance(value, Constant) else constant(np.zeros(1), "f32")
    return Constant(np.broadcast_to(one.array.reshape(()), shape), one.dtype)


@operator("Shape")
def _shape(c: Call) -> Given:
    shape = c.value(0).shape
    rank = len(shape)
    start, end = c.whole("start", 0), c.whole("end", rank)
    start, end = (min(max(n + rank if n < 0 else n, 0), rank) for n in (start, end))
    return constant(np.array(shape[start:end], np.int64), "i64")


@operator("Size")
def _size(c: Call) -> Given:
    return constant(math.prod(c.value(0).shape), "i64")


@operator("Reshape")
def _reshape(c: Call) -> Given:
    x = c.value(0)
    shape = c.numbers(1) if c.has(1) else c.wholes("shape")
    if not c.whole("allowzero", 0):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = math.prod(x.shape) // known if known else 0
    return c.g.reshape(x, shape)


@operator("Flatten")
def _flatten(c: Call) -> Given:
    x, axis = c.value(0), c.whole("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return c.g.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@operator("Squeeze")
def _squeeze(c: Call) -> Given:
    x = c.value(0)
    axes = c.axes(len(x.shape))
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else axes
    if any(x.shape[a] != 1 for a in gone):
        raise RefusedError(f"an axis of {list(x.shape)} that has more than one entry")
    return c.g.reshape(x, [n for i, n in enumerate(x.shape) if i not in gone])


@operator("Unsqueeze")
def _unsqueeze(c: Call) -> Given:
    x = c.value(0)
    named = c.numbers(1) if c.has(1) else c.wholes("axes")
    rank = len(x.shape) + len(named)
    new = {axis_of(a, rank) for a in named}
    left = iter(x.shape)
    return c.g.reshape(x, [1 if i in new else next(left) for i in range(rank)])


@operator("Transpose")
def _transpose(c: Call) -> Given:
    x = c.value(0)
    return c.g.transpose(x, c.wholes("perm", list(reversed(range(len(x.shape))))))


@operator("Concat")
def _concat(c: Call) -> Given:
    return c.g.concat([c.value(i) for i in range(len(c.inputs))], c.whole("axis", 1 if c.opset < 4 else None))


def _sizes(c: Call, n: int) -> list[int]:
    """Return the lengths of the pieces of an axis of n."""
    if c.has(1):
        return c.numbers(1)
    if "split" in c.attributes:
        return c.wholes("split")
    count = c.whole("num_outputs", len(c.outputs))
    each = -(-n // count)
    return [max(0, min(each, n - i * each)) for i in range(count)]


@operator("Split")
def _split(c: Call) -> list[Given]:
    x = c.value(0)
    axis = axis_of(c.whole("axis", 0), len(x.shape))
    sizes = _sizes(c, x.shape[axis])
    if sum(sizes) != x.shape[axis] or min(sizes, default=0) < 0:
        raise RefusedError(f"pieces of {sizes} are not an axis of {x.shape[axis]}")
    made: list[Given] = []
    at = 0
    for i, n in enumerate(sizes):
        made.append(c.g.slice(x, axis, at, at + n) if c.wants(i) else None)
        at += n
    return made


@operator("Slice")
def _slice(c: Call) -> Given:
    x = c.value(0)
    rank = len(x.shape)
    if c.opset < 10:
        starts, ends = c.wholes("starts"), c.wholes("ends")
        axes = c.wholes("axes", list(range(len(starts))))
        steps = [1] * len(starts)
    else:
        starts, ends = c.numbers(1), c.numbers(2)
        axes = c.numbers(3) if c.has(3) else list(range(len(starts)))
        steps = c.numbers(4) if c.has(4) else [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = axis_of(axis, rank)
        found = slice(start, end, step).indices(x.shape[axis])
        # what slices to nothing in Python does so here
        x = c.g.slice(x, axis, *found)
    return x


@operator("Expand")
def _expand(c: Call) -> Given:
    x = c.value(0)
    return c.g.broadcast(x, np.broadcast_shapes(x.shape, guard(c.numbers(1))))


@operator("Tile")
def _tile(c: Call) -> Given:
    return moves.tile(c.g, c.value(0), c.numbers(1))


@operator("Pad")
def _pad(c: Call) -> Given:
    x, mode = c.value(0), c.text("mode", "constant")
    rank = len(x.shape)
    pads = c.numbers(1) if c.opset >= 11 else c.wholes("pads" if c.opset > 1 else "paddings")
    axes = [axis_of(a, rank) for a in c.numbers(3)] if c.has(3) else list(range(rank))
    low, high = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        low[axis], high[axis] = pads[i], pads[i + len(axes)]
    if mode == "constant":
        fill = c.known(2).reshape(-1)[0].item() if c.has(2) else c.attributes.get("value", 0)
        return c.g.pad(x, low, high, fill)
    for axis in range(rank):
        n = x.shape[axis]
        if not low[axis] and not high[axis]:
            continue
        guard((n + low[axis] + high[axis],))
        at = np.arange(-low[axis], n + high[axis])
        if mode == "reflect":
            period = max(1, 2 * (n - 1))
            at = np.abs((at + n - 1) % period - (n - 1)) if n > 1 else 0 * at
        elif mode == "edge":
            at = np.clip(at, 0, n - 1)
        elif mode == "wrap":
            at = at % n
        else:
            raise RefusedError(f"mode {mode!r}")
        x = moves.gather(c.g, x, constant(at, "i64"), axis)
    return x


@operator("CenterCropPad")
def _center(c: Call) -> Given:
    x = c.value(0)
    rank = len(x.shape)
    axes = [axis_of(a, rank) for a in c.wholes("axes", list(range(rank)))]
    low, high = [0] * rank, [0] * rank
    for axis, size in zip(axes, c.numbers(1), strict=True):
        n = x.shape[axis]
        if size > n:
            low[axis] = (size - n) // 2
            high[axis] = size - n - low[axis]
        else:
            low[axis] = -((n - size) // 2)
            high[axis] = size - n - low[axis]
    return c.g.pad(x, low, high, 0)


@operator("Range")
def _range(c: Call) -> Given:
    start, limit, delta = (c.known(i).reshape(()).item() for i in range(3))
    if not delta:
        raise RefusedError("a step of 0")
    count = guard((max(0, math.ceil((limit - start) / delta)),))[0]
    dtype = c.value(0).dtype
    return constant(start + np.arange(count) * delta, dtype)


@operator("Gather")
def _gather(c: Call) -> Given:
    x = c.value(0)
    return moves.gather(c.g, x, c.value(1), axis_of(c.whole("axis", 0), len(x.shape)))


@operator("GatherElements")
def _gather_elements(c: Call) -> Given:
    x = c.value(0)
    return moves.gather_elements(c.g, x, c.value(1), axis_of(c.whole("axis", 0), len(x.shape)))


@operator("GatherND")
def _gather_nd(c: Call) -> Given:
    return moves.gather_nd(c.g, c.value(0), c.value(1), c.whole("batch_dims", 0))


@operator("Scatter", "ScatterElements")
def _scatter(c: Call) -> Given:
    x = c.value(0)
    axis = axis_of(c.whole("axis", 0), len(x.shape))
    return moves.scatter_elements(c.g, x, c.value(1), c.value(2), axis, c.text("reduction", "none"))


@operator("ScatterND")
def _scatter_nd(c: Call) -> Given:
    return moves.scatter_nd(c.g, c.value(0), c.value(1), c.value(2), c.text("reduction", "none"))


@operator("TensorScatter")
def _tensor_scatter(c: Call) -> Given:
    g, past, update = c.g, c.value(0), c.value(1)
    rank = len(past.shape)
    axis = axis_of(c.whole("axis", -2), rank)
    n = update.shape[axis]
    first = c.value(2) if c.has(2) else constant(np.zeros(past.shape[0]), "i64")
    start = g.reshape(g.cast(first, "i64"), (past.shape[0], *(1,) * (rank - 1)))
    places = g.map("add", start, moves.iota(n, axis, rank))
    if c.text("mode", "linear") == "circular":
        places = g.map("rem", places, past.shape[axis])
    return moves.scatter_elements(g, past, g.broadcast(places, update.shape), update, axis, "none")


@operator("OneHot")
def _one_hot(c: Call) -> Given:
    off_on = c.value(2)
    off, on = (c.g.reshape(c.g.slice(off_on, 0, i, i + 1), ()) for i in range(2))
    numbers = c.value(0)
    whole = numbers if not is_float(numbers.dtype) else c.g.cast(numbers, "i64")
    return moves.one_hot(c.g, whole, int(c.known(1).reshape(-1)[0]), off, on, c.whole("axis", -1))


@operator("TopK")
def _top_k(c: Call) -> list[Given]:
    x = c.value(0)
    k = c.number(1) if c.has(1) else c.whole("k")
    axis = axis_of(c.whole("axis", -1), len(x.shape))
    return list(moves.top_k(c.g, x, k, axis, largest=bool(c.whole("largest", 1))))


def _running(c: Call, kind: str) -> Given:
    x = c.value(0)
    axis = axis_of(c.number(1), len(x.shape))
    return moves.running(
        c.g, kind, x, axis, exclusive=bool(c.whole("exclusive", 0)), reverse=bool(c.whole("reverse", 0))
    )


operator("CumSum")(partial(_running, kind="sum"))
operator("CumProd")(partial(_running, kind="prod"))


@operator("Trilu")
def _trilu(c: Call) -> Given:
    k = c.number(1) if c.has(1) else 0
    return moves.triangle(c.g, c.value(0), k, upper=bool(c.whole("upper", 1)))


@operator("EyeLike")
def _eye(c: Call) -> Given:
    x = c.value(0)
    dtype = dtype_of(c.whole("dtype")) if "dtype" in c.attributes else x.dtype
    n, m = guard(x.shape)
    return constant(np.eye(n, m, c.whole("k", 0)), dtype)


@operator("DepthToSpace")
def _depth_to_space(c: Call) -> Given:
    return moves.depth_to_space(
        c.g, c.value(0), c.whole("blocksize"), columns_first=c.text("mode", "DCR") == "CRD"
    )


@operator("SpaceToDepth")
def _space_to_depth(c: Call) -> Given:
    if c.text("mode", "DCR") != "DCR":
        g, x, b = c.g, c.value(0), c.whole("blocksize")
        n, ch, h, w = x.shape
        apart = g.transpose(g.reshape(x, (n, ch, h // b, b, w // b, b)), (0, 1, 3, 5, 2, 4))
        return g.reshape(apart, (n, ch * b * b, h // b, w // b))
    return moves.space_to_depth(c.g, c.value(0), c.whole("blocksize"))


@operator("ReverseSequence")
def _reverse(c: Call) -> Given:
    return moves.reverse_sequence(
        c.g, c.value(0), c.value(1), c.whole("time_axis", 0), c.whole("batch_axis", 1)
    )


# -- results whose shape depends on elements: only of constants ------------------------------------------
@operator("NonZero")
def _non_zero(c: Call) -> Given:
    return constant(np.array(np.nonzero(c.known(0)), np.int64), "i64")


@operator("Compress")
def _compress(c: Call) -> Given:
    chosen = np.nonzero(c.known(1).reshape(-1))[0]
    x = c.value(0)
    if "axis" not in c.attributes:
        return moves.gather(c.g, c.g.reshape(x, (math.prod(x.shape),)), constant(chosen, "i64"), 0)
    return moves.gather(c.g, x, constant(chosen, "i64"), axis_of(c.whole("axis"), len(x.shape)))


@operator("Unique")
def _unique(c: Call) -> list[Given]:
    x, dtype = c.known(0), c.value(0).dtype
    axis = c.whole("axis") if "axis" in c.attributes else None
    found, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not c.whole("sorted", 1):
        by = np.argsort(first)
        places = np.empty_like(by)
        places[by] = np.arange(len(by))
        found = np.take(found, by, axis or 0)
        first, inverse, counts = first[by], places[inverse], counts[by]
    return [Constant(found, dtype), *(constant(v, "i64") for v in (first, inverse, counts))]
