"""The operators of ONNX for layers of networks: products, convolutions, pools, norms, reductions."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np

from proofcompute.importers.lowering import convolving, norms, pooling, products, resampling
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant
from proofcompute.importers.onnx.calls import Call, Given, axis_of, operator

__all__ = ["geometry"]


@operator("MatMul")
def _matmul(c: Call) -> Given:
    return products.matmul(c.g, c.value(0), c.value(1))


@operator("Gemm")
def _gemm(c: Call) -> Given:
    g, a, b = c.g, c.value(0), c.value(1)
    alpha, beta = c.real("alpha", 1.0), c.real("beta", 1.0)
    a = g.transpose(a, (1, 0)) if c.whole("transA", 0) else a
    b = g.transpose(b, (1, 0)) if c.whole("transB", 0) else b
    b = b if alpha == 1 else g.map("mul", b, alpha)
    extra = c.maybe(2)
    if extra is not None and beta != 1:
        extra = g.map("mul", extra, beta)
    m = b.shape[-1]
    if isinstance(b, Constant) and isinstance(extra, Constant) and extra.shape in ((m,), (1, m)):
        return products.linear(g, a, g.transpose(b, (1, 0)), g.reshape(extra, (m,)))
    made = products.matmul(g, a, b)
    return made if extra is None else g.map("add", made, extra)


@operator("FusedMatMul", domain="com.microsoft")
def _fused_matmul(c: Call) -> Given:
    g, a, b = c.g, c.value(0), c.value(1)
    if c.whole("transBatchA", 0) or c.whole("transBatchB", 0):
        raise RefusedError("transposed batches")
    a = products.swapped(g, a) if c.whole("transA", 0) else a
    b = products.swapped(g, b) if c.whole("transB", 0) else b
    made = products.matmul(g, a, b)
    alpha = c.real("alpha", 1.0)
    return made if alpha == 1 else g.map("mul", made, alpha)


def geometry(
    c: Call, shape: tuple[int, ...], size: list[int], *, wide: bool = False
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return strides, dilations, and margins before and after each axis of places."""
    count = len(shape)
    strides = c.wholes("strides", [1] * count)
    dilations = c.wholes("dilations", [1] * count)
    pads = c.wholes("pads", [0] * 2 * count)
    if not len(strides) == len(dilations) == len(size) == count or len(pads) != 2 * count:
        raise RefusedError(f"strides, dilations or margins do not fit {count} axes of places")
    if min((*strides, *dilations, *size)) < 1:
        raise RefusedError("a stride, dilation or window of less than 1")
    auto = c.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = [0] * 2 * count
        for i, (n, k, s, d) in enumerate(zip(shape, size, strides, dilations, strict=True)):
            whole = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            before = whole // 2 if auto == "SAME_UPPER" else whole - whole // 2
            pads[i], pads[count + i] = before, whole - before
    elif auto == "VALID":
        pads = [0] * 2 * count
    elif auto not in ("NOTSET", ""):
        raise RefusedError(f"auto_pad {auto!r}")
    if min(pads, default=0) < 0 and not wide:
        raise RefusedError("a negative margin")
    return strides, dilations, pads[:count], pads[count:]


@operator("Conv")
@operator("FusedConv", domain="com.microsoft")
def _conv(c: Call) -> Given:
    x, w = c.value(0), c.value(1)
    size = c.wholes("kernel_shape", w.shape[2:])
    if tuple(size) != w.shape[2:]:
        raise RefusedError(f"windows {size}, but weights {list(w.shape)}")
    strides, dilations, low, high = geometry(c, x.shape[2:], size)
    bias = c.maybe(2)
    return convolving.conv(
        c.g, x, w, bias, strides=strides, low=low, high=high, dilations=dilations, groups=c.whole("group", 1)
    )


@operator("ConvTranspose")
def _conv_transpose(c: Call) -> Given:
    x, w = c.value(0), c.value(1)
    shape, size = x.shape[2:], list(w.shape[2:])
    count = len(shape)
    strides, dilations = c.wholes("strides", [1] * count), c.wholes("dilations", [1] * count)
    more = c.wholes("output_padding", [0] * count)
    pads = c.wholes("pads", [0] * 2 * count)
    full = [
        (n - 1) * s + (k - 1) * d + 1 + extra
        for n, s, k, d, extra in zip(shape, strides, size, dilations, more, strict=True)
    ]
    auto = c.text("auto_pad", "NOTSET")
    wanted = None
    if "output_shape" in c.attributes:
        wanted = c.wholes("output_shape")[-count:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(shape, strides, strict=True)]
    if wanted is not None:
        pads = [0] * 2 * count
        for i, (n, out) in enumerate(zip(full, wanted, strict=True)):
            whole = n - out
            half = whole // 2
            # an odd margin stands at the end for SAME_UPPER, before it otherwise
            pads[i], pads[count + i] = (half, whole - half) if auto == "SAME_UPPER" else (whole - half, half)
    low = pads[:count]
    high = [p - extra for p, extra in zip(pads[count:], more, strict=True)]
    return convolving.conv_transpose(
        c.g, x, w, c.maybe(2), strides=strides, low=low, high=high, dilations=dilations,
        groups=c.whole("group", 1),
    )  # fmt: skip


@operator("MaxPool")
def _max_pool(c: Call) -> list[Given]:
    x, size = c.value(0), c.wholes("kernel_shape")
    strides, dilations, low, high = geometry(c, x.shape[2:], size)
    high = pooling.fitted(
        x.shape[2:], size, strides, dilations, low, high, ceil=bool(c.whole("ceil_mode", 0))
    )
    made: list[Given] = [pooling.max_pool(c.g, x, size, strides, dilations, low, high)]
    if c.wants(1):
        column = bool(c.whole("storage_order", 0))
        made.append(pooling.max_pool_places(c.g, x, size, strides, dilations, low, high, by_column=column))
    return made


@operator("AveragePool")
def _average_pool(c: Call) -> Given:
    x, size = c.value(0), c.wholes("kernel_shape")
    strides, dilations, low, high = geometry(c, x.shape[2:], size)
    wide = pooling.fitted(
        x.shape[2:], size, strides, dilations, low, high, ceil=bool(c.whole("ceil_mode", 0))
    )
    counted = high if c.whole("count_include_pad", 0) else None
    return pooling.average_pool(c.g, x, size, strides, dilations, low, wide, counted=counted)


@operator("LpPool")
def _lp_pool(c: Call) -> Given:
    x, size = c.value(0), c.wholes("kernel_shape")
    strides, dilations, low, high = geometry(c, x.shape[2:], size)
    high = pooling.fitted(
        x.shape[2:], size, strides, dilations, low, high, ceil=bool(c.whole("ceil_mode", 0))
    )
    return pooling.lp_pool(c.g, x, size, strides, dilations, low, high, c.whole("p", 2))


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(c: Call) -> Given:
    kind = {"GlobalAveragePool": "mean", "GlobalMaxPool": "max", "GlobalLpPool": "lp"}[c.op]
    return pooling.global_pool(c.g, kind, c.value(0), c.whole("p", 2))


@operator("MaxUnpool")
def _max_unpool(c: Call) -> Given:
    g, x, places = c.g, c.value(0), c.value(1)
    size = c.wholes("kernel_shape")
    count = len(size)
    strides, pads = c.wholes("strides", [1] * count), c.wholes("pads", [0] * 2 * count)
    own = [
        (n - 1) * s - pads[i] - pads[count + i] + k
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, size, strict=True))
    ]
    shape = (*x.shape[:2], *own)
    wanted = tuple(c.numbers(2)) if c.has(2) else shape
    flat = constant(np.zeros(math.prod(wanted)), x.dtype)
    if wanted != shape:
        # places count in the smaller shape
        parts = []
        rest = g.cast(places, "i64")
        for n in reversed(shape):
            parts.append(g.map("rem", rest, n))
            rest = g.map("div", rest, n)
        total: Value = constant(0, "i64")
        for part, n in zip(reversed(parts), wanted, strict=True):
            total = g.map("add", g.map("mul", total, n), part)
        places = total
    return g.reshape(g.put(flat, g.cast(places, "i64"), x), wanted)


# -- norms -----------------------------------------------------------------------------------------------
@operator("BatchNormalization")
def _batch_norm(c: Call) -> list[Given]:
    g, x, eps = c.g, c.value(0), c.real("epsilon", 1e-5)
    if not c.whole("training_mode", 0):
        return [norms.batch_norm(g, x, c.value(1), c.value(2), c.value(3), c.value(4), eps)]
    axes = [a for a in range(len(x.shape)) if a != 1]
    centre = norms.mean(g, x, axes)
    wide = g.reshape(centre, (*centre.shape, *(1,) * (len(x.shape) - 2)))
    centred = g.map("sub", x, wide)
    spread = norms.mean(g, g.map("mul", centred, centred), axes)
    share = c.real("momentum", 0.9)
    made: list[Given] = [norms.batch_norm(g, x, c.value(1), c.value(2), centre, spread, eps)]
    for old, new in ((c.value(3), centre), (c.value(4), spread)):
        made.append(g.map("add", g.map("mul", old, share), g.map("mul", new, 1 - share)))
    return made


@operator("InstanceNormalization")
def _instance_norm(c: Call) -> Given:
    x = c.value(0)
    return norms.group_norm(c.g, x, x.shape[1], c.value(1), c.value(2), c.real("epsilon", 1e-5))


@operator("GroupNormalization")
def _group_norm(c: Call) -> Given:
    g, x, groups = c.g, c.value(0), c.whole("num_groups")
    scale, bias = c.value(1), c.value(2)
    if c.opset < 21:
        each = x.shape[1] // groups
        scale, bias = (
            g.reshape(g.broadcast(g.reshape(v, (groups, 1)), (groups, each)), (x.shape[1],))
            for v in (scale, bias)
        )
    return norms.group_norm(g, x, groups, scale, bias, c.real("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(c: Call) -> list[Given]:
    g, x = c.g, c.value(0)
    axis, eps = axis_of(c.whole("axis", -1), len(x.shape)), c.real("epsilon", 1e-5)
    if not (c.wants(1) or c.wants(2)):
        return [norms.layer_norm(g, x, c.maybe(1), c.maybe(2), axis, eps)]
    y, centre, inverse = norms.normalised(g, x, range(axis, len(x.shape)), eps)
    y = g.map("mul", y, c.value(1)) if c.has(1) else y
    return [g.map("add", y, c.value(2)) if c.has(2) else y, centre, inverse]


@operator("SkipLayerNormalization", domain="com.microsoft")
def _skip_layer_norm(c: Call) -> list[Given]:
    g = c.g
    total = g.map("add", c.value(0), c.value(1))
    if c.has(4):
        total = g.map("add", total, c.value(4))
    eps = c.real("epsilon", 1e-12)
    made = norms.layer_norm(g, total, c.maybe(2), c.maybe(3), len(total.shape) - 1, eps)
    if c.wants(1) or c.wants(2):
        raise RefusedError("its mean and deviation")
    return [made, None, None, total]


@operator("RMSNormalization")
@operator("SimplifiedLayerNormalization", domain="")
def _rms_norm(c: Call) -> Given:
    x = c.value(0)
    axis = axis_of(c.whole("axis", -1), len(x.shape))
    return norms.rms_norm(c.g, x, c.maybe(1), axis, c.real("epsilon", 1e-5))


@operator("LRN")
def _lrn(c: Call) -> Given:
    return norms.local_response(
        c.g, c.value(0), c.whole("size"), c.real("alpha", 1e-4), c.real("beta", 0.75), c.real("bias", 1.0)
    )


@operator("LpNormalization")
def _lp_norm(c: Call) -> Given:
    x = c.value(0)
    return norms.lp_norm(c.g, x, axis_of(c.whole("axis", -1), len(x.shape)), c.whole("p", 2))


def _softmax(c: Call, log: bool) -> Given:
    g, x = c.g, c.value(0)
    function = norms.log_softmax if log else norms.softmax
    if c.opset >= 13:
        return function(g, x, axis_of(c.whole("axis", -1), len(x.shape)))
    axis = axis_of(c.whole("axis", 1), max(2, len(x.shape)))
    if axis == len(x.shape) - 1:
        return function(g, x, axis)
    flat = g.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return g.reshape(function(g, flat, 1), x.shape)


operator("Softmax")(partial(_softmax, log=False))
operator("LogSoftmax")(partial(_softmax, log=True))


@operator("Hardmax")
def _hardmax(c: Call) -> Given:
    g, x = c.g, c.value(0)
    shape = x.shape
    if c.opset < 13:
        axis = axis_of(c.whole("axis", 1), len(shape))
        x, axis = g.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:]))), 1
    else:
        axis = axis_of(c.whole("axis", -1), len(shape))
    first = g.reduce("argmax", x, (axis,), keep=True)
    sizes = [1] * len(x.shape)
    sizes[axis] = x.shape[axis]
    here = g.map("eq", first, constant(np.arange(x.shape[axis]).reshape(sizes), "i32"))
    return g.reshape(g.cast(here, x.dtype), shape)


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
