"""The operators of ONNX on quantised numbers, computed exactly: integers, scales and zero points."""

from __future__ import annotations

from proofcompute.importers.lowering import convolving, products
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import RefusedError, Value, constant, is_float, limits_of
from proofcompute.importers.onnx.calls import Call, Given, axis_of, operator
from proofcompute.importers.onnx.networks import geometry
from proofcompute.importers.onnx.tensors import dtype_of

__all__: list[str] = []


def _along(g: Graph, v: Value, rank: int, axis: int) -> Value:
    """Return one number, or one for each entry of an axis, so that it broadcasts."""
    if len(v.shape) != 1 or v.shape == (1,):
        return g.reshape(v, ()) if v.shape == (1,) else v
    return g.reshape(v, tuple(v.shape[0] if a == axis else 1 for a in range(rank)))


def _spread(c: Call, v: Value, x: Value, axis: int, block: int) -> Value:
    """Return scales or zero points of blocks of an axis, one for each element."""
    g = c.g
    if not block or len(v.shape) != len(x.shape):
        return _along(g, v, len(x.shape), axis)
    wide = g.reshape(v, (*v.shape[: axis + 1], 1, *v.shape[axis + 1 :]))
    shape = (*v.shape[: axis + 1], block, *v.shape[axis + 1 :])
    joined = g.reshape(
        g.broadcast(wide, shape), (*v.shape[:axis], v.shape[axis] * block, *v.shape[axis + 1 :])
    )
    return g.slice(joined, axis, 0, x.shape[axis])


def _axis(c: Call, x: Value) -> int:
    return axis_of(c.whole("axis", 1), len(x.shape)) if len(x.shape) > 1 else 0


def _saturated(g: Graph, x: Value, zero: Value, dtype: str) -> Value:
    """Return rounded floats plus a zero point, in the range of integers of a type."""
    low, high = limits_of(dtype)
    whole = g.map("add", g.map("rint", x), g.cast(zero, x.dtype))
    return g.cast(g.map("min", g.map("max", whole, float(low)), float(high)), dtype)


@operator("QuantizeLinear")
@operator("QuantizeLinear", domain="com.microsoft")
def _quantize(c: Call) -> Given:
    g, x, scale = c.g, c.value(0), c.value(1)
    axis, block = _axis(c, x), c.whole("block_size", 0)
    number = c.whole("output_dtype", 0)
    dtype = c.value(2).dtype if c.has(2) else dtype_of(number) if number else "u8"
    zero = c.value(2) if c.has(2) else constant(0, dtype)
    wide = g.cast(x, "f32")
    scaled = g.map("div", wide, g.cast(_spread(c, scale, x, axis, block), "f32"))
    return _saturated(g, scaled, _spread(c, zero, x, axis, block), dtype)


@operator("DequantizeLinear")
@operator("DequantizeLinear", domain="com.microsoft")
def _dequantize(c: Call) -> Given:
    g, x, scale = c.g, c.value(0), c.value(1)
    axis, block = _axis(c, x), c.whole("block_size", 0)
    wide = g.cast(x, "f32")
    if c.has(2):
        wide = g.map("sub", wide, g.cast(_spread(c, c.value(2), x, axis, block), "f32"))
    made = g.map("mul", wide, g.cast(_spread(c, scale, x, axis, block), "f32"))
    number = c.whole("output_dtype", 0)
    return g.cast(made, dtype_of(number) if number else scale.dtype)


@operator("DynamicQuantizeLinear")
def _dynamic(c: Call) -> list[Given]:
    g, x = c.g, c.value(0)
    axes = list(range(len(x.shape)))
    high = g.map("max", g.reduce("max", x, axes), 0.0)
    low = g.map("min", g.reduce("min", x, axes), 0.0)
    scale = g.map("div", g.map("sub", high, low), 255.0)
    scale = g.select(g.map("eq", scale, 0.0), 1.0, scale)
    zero = _saturated(g, g.map("div", g.map("neg", low), scale), constant(0, "f32"), "u8")
    return [_saturated(g, g.map("div", x, scale), zero, "u8"), scale, zero]


def _centred(g: Graph, x: Value, zero: Value | None, axis: int) -> Value:
    """Return integers minus their zero points, in i32."""
    wide = g.cast(x, "i32")
    if zero is None:
        return wide
    return g.map("sub", wide, g.cast(_along(g, zero, len(x.shape), axis), "i32"))


@operator("MatMulInteger")
def _matmul_integer(c: Call) -> Given:
    a = _centred(c.g, c.value(0), c.maybe(2), len(c.value(0).shape) - 2)
    b = _centred(c.g, c.value(1), c.maybe(3), len(c.value(1).shape) - 1)
    return c.g.cast(products.integer_matmul(c.g, a, b), "i32")


@operator("ConvInteger")
def _conv_integer(c: Call) -> Given:
    x = _centred(c.g, c.value(0), c.maybe(2), 1)
    w = _centred(c.g, c.value(1), c.maybe(3), 0)
    strides, dilations, low, high = geometry(c, x.shape[2:], c.wholes("kernel_shape", w.shape[2:]))
    made = convolving.integer_conv(
        c.g, x, w, strides=strides, low=low, high=high, dilations=dilations, groups=c.whole("group", 1)
    )
    return c.g.cast(made, "i32")


def _requantized(c: Call, total: Value, a: Value, b: Value, y: Value, zero: Value, axis: int) -> Value:
    """Return an exact sum times the scales a b / y, as quantised numbers."""
    g, rank = c.g, len(total.shape)
    factor = g.map(
        "div", g.map("mul", g.cast(a, "f32"), _along(g, g.cast(b, "f32"), rank, axis)), g.cast(y, "f32")
    )
    scaled = g.map("mul", g.cast(total, "f32"), factor)
    return _saturated(g, scaled, _along(g, zero, rank, axis), zero.dtype)


def _number(g: Graph, v: Value) -> Value:
    return g.reshape(v, ()) if v.shape == (1,) else v


@operator("QLinearMatMul")
def _qlinear_matmul(c: Call) -> Given:
    g, a, b = c.g, c.value(0), c.value(3)
    if is_float(a.dtype) or is_float(b.dtype):
        raise RefusedError("products of floats of 8 bits")
    left = _centred(g, a, c.value(2), len(a.shape) - 2)
    right = _centred(g, b, c.value(5), len(b.shape) - 1)
    total = products.integer_matmul(g, left, right)
    axis = len(total.shape) - 1
    return _requantized(
        c, total, _number(g, c.value(1)), c.value(4), _number(g, c.value(6)), c.value(7), axis
    )


@operator("QLinearConv")
def _qlinear_conv(c: Call) -> Given:
    g = c.g
    x, w = _centred(g, c.value(0), c.value(2), 1), _centred(g, c.value(3), c.value(5), 0)
    strides, dilations, low, high = geometry(c, x.shape[2:], c.wholes("kernel_shape", w.shape[2:]))
    total = convolving.integer_conv(
        g, x, w, strides=strides, low=low, high=high, dilations=dilations, groups=c.whole("group", 1)
    )
    if c.has(8):
        total = g.map("add", total, g.cast(_along(g, c.value(8), len(total.shape), 1), "i64"))
    return _requantized(c, total, _number(g, c.value(1)), c.value(4), _number(g, c.value(6)), c.value(7), 1)
