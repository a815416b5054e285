"""The operators of ONNX that reduce, resize and sample."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np

from proofcompute.importers.lowering import convolving, norms, resampling
from proofcompute.importers.lowering.values import Constant, RefusedError, constant
from proofcompute.importers.onnx.calls import Call, Given, axis_of, operator

__all__: list[str] = []


# -- reductions ------------------------------------------------------------------------------------------
_REDUCTIONS: Final = {
    "ReduceSum": "sum", "ReduceProd": "prod", "ReduceMax": "max", "ReduceMin": "min", "ReduceMean": "mean",
    "ReduceL1": "l1", "ReduceL2": "l2", "ReduceSumSquare": "sum_square", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}  # fmt: skip


def _reduce(c: Call, kind: str) -> Given:
    g, x = c.g, c.value(0)
    axes = c.axes(len(x.shape))
    if not axes:
        if c.whole("noop_with_empty_axes", 0):
            return norms.reduced(g, kind, x, []) if kind not in ("mean", "log_sum_exp") else x
        axes = list(range(len(x.shape)))
    keep = bool(c.whole("keepdims", 1))
    if isinstance(x, Constant) and x.array.size == 0 and kind in ("max", "min"):
        worst = -math.inf if kind == "max" else math.inf
        if x.dtype == "bool":
            worst = float(kind == "min")
        shape = np.sum(np.zeros(x.shape), tuple(axes), keepdims=keep).shape
        return constant(np.full(shape, worst), x.dtype)
    if not x.shape:
        x = g.reshape(x, (1,))
        return g.reshape(norms.reduced(g, kind, x, [0]), ())
    return norms.reduced(g, kind, x, axes, keep=keep)


for _name, _kind in _REDUCTIONS.items():
    operator(_name)(partial(_reduce, kind=_kind))


@operator("ArgMax", "ArgMin")
def _arg(c: Call) -> Given:
    x = c.value(0)
    return norms.arg_extreme(
        c.g,
        "max" if c.op == "ArgMax" else "min",
        x,
        axis_of(c.whole("axis", 0), len(x.shape)),
        keep=bool(c.whole("keepdims", 1)),
        last=bool(c.whole("select_last_index", 0)),
    )


# -- resizing --------------------------------------------------------------------------------------------
@operator("Upsample")
def _upsample(c: Call) -> Given:
    x = c.value(0)
    scales = [float(v) for v in (c.known(1) if c.has(1) else c.attributes["scales"])]
    how = resampling.Resize(c.text("mode", "nearest"), "asymmetric", "floor")
    for axis, (n, scale) in enumerate(zip(x.shape, scales, strict=True)):
        if scale != 1:
            x = resampling.resize_axis(c.g, x, axis, math.floor(n * scale), scale, how)
    return x


@operator("Resize")
def _resize(c: Call) -> Given:
    g, x = c.g, c.value(0)
    rank = len(x.shape)
    at = 1 if c.opset < 11 else 2
    axes = [axis_of(a, rank) for a in c.wholes("axes", list(range(rank)))]
    scales = [float(v) for v in c.known(at).reshape(-1)] if c.has(at) else []
    sizes = c.numbers(3) if c.has(3) and not scales else []
    if not scales and not sizes:
        raise RefusedError("neither scales nor sizes")
    how = resampling.Resize(
        c.text("mode", "nearest"),
        c.text("coordinate_transformation_mode", "half_pixel" if c.opset >= 11 else "asymmetric"),
        c.text("nearest_mode", "round_prefer_floor" if c.opset >= 11 else "floor"),
        c.real("cubic_coeff_a", -0.75),
        bool(c.whole("exclude_outside", 0)),
        bool(c.whole("antialias", 0)),
        c.real("extrapolation_value", 0.0),
    )
    crop = how.coordinates == "tf_crop_and_resize"
    roi = [float(v) for v in c.known(1).reshape(-1)] if crop else []
    policy = c.text("keep_aspect_ratio_policy", "stretch")
    if sizes and policy != "stretch":
        ratios = [s / x.shape[a] for s, a in zip(sizes, axes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        scales = [ratio] * len(axes)
        sizes = [math.floor(ratio * x.shape[a] + 0.5) for a in axes]
    for i, axis in enumerate(axes):
        n = x.shape[axis]
        scale = scales[i] if scales else sizes[i] / n
        if crop:
            a, b = roi[i], roi[i + len(axes)]
            out = sizes[i] if sizes else math.floor(n * (b - a) * scale)
            x = resampling.resize_axis(g, x, axis, out, scale, how, (a, b))
            continue
        out = sizes[i] if sizes else math.floor(n * scale)
        if out != n or scale != 1:
            x = resampling.resize_axis(g, x, axis, out, scale, how)
    return x


@operator("GridSample")
def _grid_sample(c: Call) -> Given:
    mode = c.text("mode", "linear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return resampling.grid_sample(
        c.g,
        c.value(0),
        c.value(1),
        mode,
        c.text("padding_mode", "zeros"),
        corners=bool(c.whole("align_corners", 0)),
    )


@operator("Col2Im")
def _col2im(c: Call) -> Given:
    g, x = c.g, c.value(0)
    shape, size = c.numbers(1), c.numbers(2)
    count = len(shape)
    strides, dilations = c.wholes("strides", [1] * count), c.wholes("dilations", [1] * count)
    pads = c.wholes("pads", [0] * 2 * count)
    whole = [n + pads[i] + pads[count + i] for i, n in enumerate(shape)]
    table = np.arange(math.prod(whole)).reshape(whole)
    spots = convolving.windowed(g, constant(table[None, ..., None], "i64"), size, strides, dilations)
    places = spots.shape[1 : 1 + count]
    n, depth, _ = x.shape
    channels, block = depth // math.prod(size), math.prod(size)
    # [places, window] of each channel are added where they came from
    cells = g.reshape(g.transpose(g.reshape(x, (n, channels, block, math.prod(places))), (3, 2, 0, 1)), (
        math.prod(places) * block, n, channels))  # fmt: skip
    numbers = constant(np.asarray(g.known(spots, "")).reshape(-1), "i64")
    empty = constant(np.zeros((math.prod(whole), n, channels)), x.dtype)
    made = g.put(empty, numbers, cells, "add")
    spread = g.transpose(g.reshape(made, (*whole, n, channels)), (count, count + 1, *range(count)))
    for i, length in enumerate(shape):
        spread = g.slice(spread, 2 + i, pads[i], pads[i] + length)
    return spread
