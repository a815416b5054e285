"""The operators of ONNX for layers of networks: products, convolutions, pools, norms, reductions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from proofcompute.importers.lowering import convolving, norms, pooling, products
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
