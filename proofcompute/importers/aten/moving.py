"""The operators of ATen that move elements: shapes, slices, joins, margins."""

from __future__ import annotations

import math

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.elements import as_type, cast
from proofcompute.importers.lowering import moves
from proofcompute.importers.lowering.values import RefusedError, Value, constant
from proofcompute.program.operations import contiguous

__all__: list[str] = []


# -- shapes ----------------------------------------------------------------------------------------------
@operator(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_copy",
    "_reshape_alias", "view_as", "reshape_as", "squeeze_copy", "unsqueeze_copy",
)  # fmt: skip
def _reshape(c: Call) -> Value:
    if c.op == "view" and "dtype" in c.arguments:
        raise RefusedError("the bits of elements as another type")
    return c.g.reshape(c.value(), c.shape)


@operator("expand", "expand_as", "broadcast_to", "expand_copy")
def _expand(c: Call) -> Value:
    return c.g.broadcast(c.value(), c.shape)


@operator("permute", "permute_copy")
def _permute(c: Call) -> Value:
    x = c.value()
    return c.g.transpose(x, c.axes(len(x.shape), "dims"))


@operator("transpose", "swapaxes", "transpose_copy")
def _transpose(c: Call) -> Value:
    x = c.value()
    rank = len(x.shape)
    if not rank:
        return x
    first, second = c.axis(rank, "dim0"), c.axis(rank, "dim1")
    order = list(range(rank))
    order[first], order[second] = second, first
    return c.g.transpose(x, order)


@operator("t", "numpy_T", "mT", "adjoint", "t_copy")
def _turned(c: Call) -> Value:
    x = c.value()
    rank = len(x.shape)
    if rank < 2:
        return x
    if c.op == "numpy_T":
        return c.g.transpose(x, tuple(range(rank))[::-1])
    return c.g.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


@operator("movedim", "moveaxis")
def _movedim(c: Call) -> Value:
    x = c.value()
    rank = len(x.shape)
    source, target = c.axes(rank, "source"), c.axes(rank, "destination")
    order = [a for a in range(rank) if a not in source]
    for to, a in sorted(zip(target, source, strict=True)):
        order.insert(to, a)
    return c.g.transpose(x, order)


@operator("slice", "slice_copy")
def _slice(c: Call) -> Value:
    x = c.value()
    axis = c.axis(len(x.shape), default=0)
    start, stop, step = slice(c.get("start"), c.get("end"), c.whole("step", 1)).indices(x.shape[axis])
    return c.g.slice(x, axis, start, max(start, stop), step)


@operator("narrow", "narrow_copy")
def _narrow(c: Call) -> Value:
    x = c.value()
    axis = c.axis(len(x.shape))
    start = c.whole("start") % max(1, x.shape[axis])
    return c.g.slice(x, axis, start, start + c.whole("length"))


@operator("select", "select_copy")
def _select(c: Call) -> Value:
    x = c.value()
    return moves.gather(c.g, x, constant(c.whole("index"), "i64"), c.axis(len(x.shape)))


@operator("split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "unsafe_chunk", "tensor_split")
def _split(c: Call) -> list[Value]:
    x = c.value()
    axis = c.axis(len(x.shape), default=0)
    made: list[Value] = []
    start = 0
    for result in c.results:
        if result is None:
            raise RefusedError("a part is no tensor")
        n = 1 if c.op == "unbind" else result.shape[axis]
        made.append(c.g.reshape(c.g.slice(x, axis, start, start + n), result.shape))
        start += n
    return made


@operator("cat", "concat", "concatenate")
def _cat(c: Call) -> Value:
    xs = [cast(c.g, x, c.dtype) for x in c.values("tensors") if x.shape != (0,)]
    return c.g.concat(xs, c.axis(len(c.shape), default=0))


@operator("stack")
def _stack(c: Call) -> Value:
    axis = c.axis(len(c.shape), default=0)
    xs = [cast(c.g, x, c.dtype) for x in c.values("tensors")]
    return c.g.concat([c.g.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in xs], axis)


@operator("repeat", "tile")
def _repeat(c: Call) -> Value:
    times = c.wholes("repeats" if c.op == "repeat" else "dims")
    x = c.value()
    times = [1] * (len(x.shape) - len(times)) + times
    x = c.g.reshape(x, ((1,) * (len(times) - len(x.shape)) + x.shape))
    return moves.tile(c.g, x, times)


@operator("repeat_interleave")
def _interleave(c: Call) -> Value:
    x, count = c.value(), c.whole("repeats")
    if not c.has("dim"):
        x = c.g.reshape(x, (math.prod(x.shape),))
    axis = c.axis(len(x.shape), default=0)
    wide = c.g.reshape(x, (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))
    return c.g.reshape(c.g.broadcast(wide, (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])), c.shape)


@operator("flip")
def _flip(c: Call) -> Value:
    x = c.value()
    for axis in c.axes(len(x.shape), "dims"):
        x = moves.flip(c.g, x, axis)
    return x


@operator("roll")
def _roll(c: Call) -> Value:
    x, shifts = c.value(), c.wholes("shifts")
    shape = x.shape
    if not c.get("dims"):
        x = c.g.reshape(x, (math.prod(shape),))
    axes = c.axes(len(x.shape), "dims") if c.get("dims") else [0]
    for axis, by in zip(axes, shifts, strict=True):
        n = x.shape[axis]
        at = -by % max(1, n)
        if at:
            x = c.g.concat([c.g.slice(x, axis, at, n), c.g.slice(x, axis, 0, at)], axis)
    return c.g.reshape(x, shape)


@operator("tril", "triu")
def _triangle(c: Call) -> Value:
    return moves.triangle(c.g, c.value(), c.whole("diagonal", 0), upper=c.op == "triu")


@operator("diagonal", "diagonal_copy")
def _diagonal(c: Call) -> Value:
    g, x = c.g, c.value()
    rank, offset = len(x.shape), c.whole("offset", 0)
    a, b = c.axis(rank, "dim1", 0), c.axis(rank, "dim2", 1)
    front = g.transpose(x, (*(i for i in range(rank) if i not in (a, b)), a, b))
    *lead, n, m = front.shape
    start = offset if offset >= 0 else -offset * m
    inner = math.prod(lead)
    flat = g.strided(front, (inner, c.shape[-1]), (n * m, m + 1), start)
    return g.reshape(flat, c.shape)


@operator("unfold", "unfold_copy")
def _unfold(c: Call) -> Value:
    x = c.value()
    axis, size, step = c.axis(len(x.shape), "dimension"), c.whole("size"), c.whole("step")
    strides = list(contiguous(x.shape))
    by = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :], strides[axis])
    if c.shape[-1] != size:
        raise RefusedError(f"windows of {size} elements")
    return c.g.strided(x, c.shape, by)


@operator("pixel_shuffle", "pixel_unshuffle")
def _shuffle(c: Call) -> Value:
    x = c.value()
    lead = x.shape[:-3]
    x = c.g.reshape(x, (math.prod(lead), *x.shape[-3:]))
    if c.op == "pixel_shuffle":
        made = moves.depth_to_space(c.g, x, c.whole("upscale_factor"), columns_first=True)
    else:
        by = c.whole("downscale_factor")
        n, channels, h, w = x.shape
        apart = c.g.reshape(x, (n, channels, h // by, by, w // by, by))
        made = c.g.transpose(apart, (0, 1, 3, 5, 2, 4))
    return c.g.reshape(made, c.shape)


@operator("constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
          "replication_pad1d", "replication_pad2d", "replication_pad3d")  # fmt: skip
def _pad(c: Call) -> Value:
    g, x, amounts = c.g, c.value(), c.wholes("pad" if c.has("pad") else "padding")
    mode = c.text("mode", "constant") if c.op in ("pad", "constant_pad_nd") else c.op.partition("_")[0]
    rank = len(x.shape)
    low, high = [0] * rank, [0] * rank
    for i in range(len(amounts) // 2):
        low[rank - 1 - i], high[rank - 1 - i] = amounts[2 * i], amounts[2 * i + 1]
    if mode == "constant":
        return g.pad(x, low, high, as_type(g, c.get("value") or 0, x.dtype))  # type: ignore[arg-type]
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        if not (a or b):
            continue
        n = x.shape[axis]
        numbers = np.arange(-a, n + b)
        if mode.startswith("reflect"):
            period = max(1, 2 * (n - 1))
            numbers = np.abs((numbers + n - 1) % period - (n - 1)) if n > 1 else 0 * numbers
        elif mode.startswith("replic"):
            numbers = np.clip(numbers, 0, n - 1)
        elif mode == "circular":
            numbers = numbers % n
        else:
            raise RefusedError(f"padding {mode!r}")
        x = moves.gather(g, x, constant(numbers, "i64"), axis)
    return x


@operator("as_strided", "as_strided_copy")
def _as_strided(c: Call) -> Value:
    raise RefusedError("strides of memory, which a program has not")
