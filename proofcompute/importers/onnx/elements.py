"""The operators of ONNX on single elements: arithmetic, comparisons, activations, casts."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import numpy as np

from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering.casting import converted
from proofcompute.importers.lowering.values import (
    STORED,
    Constant,
    RefusedError,
    constant,
    is_float,
)
from proofcompute.importers.onnx.calls import Call, Given, operator
from proofcompute.importers.onnx.tensors import dtype_of

__all__: list[str] = []

_SAME: Final = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp",
    "Floor": "floor", "HardSwish": "hard_swish", "IsNaN": "is_nan", "Log": "log", "Mish": "mish",
    "Neg": "neg", "Not": "not", "Reciprocal": "reciprocal", "Relu": "relu", "Round": "round",
    "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Softplus": "softplus",
    "Softsign": "softsign", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
_BINARY: Final = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "And": "and", "Or": "or", "Xor": "xor",
    "BitwiseAnd": "and", "BitwiseOr": "or", "BitwiseXor": "xor", "Equal": "eq", "Less": "lt",
    "LessOrEqual": "le",
}  # fmt: skip


def _unary(c: Call, function: str) -> Given:
    return el.UNARY[function](c.g, c.value(0))


for _name, _function in _SAME.items():
    operator(_name)(partial(_unary, function=_function))


def _binary(c: Call, function: str) -> Given:
    x, y = c.value(0), c.value(1)
    if c.opset < 7 and "axis" in c.attributes:
        y = c.g.reshape(y, (*y.shape, *(1,) * (len(x.shape) - c.whole("axis") - len(y.shape))))
    if x.dtype == "u64" and function in ("lt", "le"):
        x, y = (c.g.map("xor", v, -(1 << 63)) for v in (x, y))
    return c.g.map(function, x, y)


for _name, _function in _BINARY.items():
    operator(_name)(partial(_binary, function=_function))


@operator("Greater", "GreaterOrEqual")
def _greater(c: Call) -> Given:
    return c.g.map("lt" if c.op == "Greater" else "le", c.value(1), c.value(0))


@operator("BitwiseNot")
def _bitwise_not(c: Call) -> Given:
    return c.g.map("not", c.value(0))


@operator("BitShift")
def _shift(c: Call) -> Given:
    left = c.text("direction") == "LEFT"
    x, y = c.value(0), c.value(1)
    if x.dtype == "u64" and not left:
        # the sign bit is a bit like the others
        least = c.g.map("shr", c.g.map("and", c.g.map("shr", x, 1), (1 << 63) - 1), c.g.map("sub", y, 1))
        return c.g.select(c.g.map("eq", y, 0), x, least)
    return el.shift(c.g, x, y, left=left)


@operator("Sum", "Max", "Min", "Mean")
def _several(c: Call) -> Given:
    function = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}[c.op]
    total = c.value(0)
    for i in range(1, len(c.inputs)):
        total = c.g.map(function, total, c.value(i))
    return c.g.map("div", total, float(len(c.inputs))) if c.op == "Mean" else total


@operator("Mod")
def _mod(c: Call) -> Given:
    x, y = c.value(0), c.value(1)
    return c.g.map("rem", x, y) if c.whole("fmod", 0) else el.floor_mod(c.g, x, y)


@operator("Pow")
def _pow(c: Call) -> Given:
    return el.power(c.g, c.value(0), c.value(1))


@operator("IsInf")
def _is_inf(c: Call) -> Given:
    negative, positive = c.whole("detect_negative", 1), c.whole("detect_positive", 1)
    return el.is_infinite(c.g, c.value(0), negative=bool(negative), positive=bool(positive))


@operator("Where")
def _where(c: Call) -> Given:
    return c.g.select(c.value(0), c.value(1), c.value(2))


@operator("Clip")
def _clip(c: Call) -> Given:
    x = c.value(0)
    if c.opset < 11:
        low, high = c.attributes.get("min"), c.attributes.get("max")
        return el.clip(c.g, x, low, high)
    return el.clip(c.g, x, c.maybe(1), c.maybe(2))


@operator("LeakyRelu")
def _leaky(c: Call) -> Given:
    return el.leaky(c.g, c.value(0), c.real("alpha", 0.01))


@operator("PRelu")
def _prelu(c: Call) -> Given:
    x, slope = c.value(0), c.value(1)
    if (
        len(slope.shape) < len(x.shape)
        and slope.shape[:1] == x.shape[1:2]
        and slope.shape[-1:] != x.shape[-1:]
    ):
        slope = c.g.reshape(slope, (*slope.shape, *(1,) * (len(x.shape) - 1 - len(slope.shape))))
    return el.leaky(c.g, x, slope)


@operator("ThresholdedRelu")
def _thresholded(c: Call) -> Given:
    x = c.value(0)
    return c.g.select(c.g.map("lt", c.real("alpha", 1.0), x), x, 0.0)


@operator("Elu", "Selu", "Celu")
def _elu(c: Call) -> Given:
    g, x = c.g, c.value(0)
    alpha = c.real("alpha", 1.67326319217681884765625 if c.op == "Selu" else 1.0)
    gamma = c.real("gamma", 1.05070102214813232421875) if c.op == "Selu" else 1.0
    inner = g.map("div", x, alpha) if c.op == "Celu" else x
    low = g.map("mul", el.UNARY["expm1"](g, g.map("min", inner, 0.0)), alpha * gamma)
    high = x if gamma == 1.0 else g.map("mul", x, gamma)
    return g.select(g.map("lt", x, 0.0), low, high)


@operator("HardSigmoid")
def _hard_sigmoid(c: Call) -> Given:
    g = c.g
    line = g.map("add", g.map("mul", c.value(0), c.real("alpha", 0.2)), c.real("beta", 0.5))
    return el.clip(g, line, 0.0, 1.0)


@operator("Shrink")
def _shrink(c: Call) -> Given:
    g, x, bias, edge = c.g, c.value(0), c.real("bias", 0.0), c.real("lambd", 0.5)
    if is_float(x.dtype):
        high = g.select(g.map("lt", edge, x), g.map("sub", x, bias), 0.0)
        return g.select(g.map("lt", x, -edge), g.map("add", x, bias), high)
    wide = g.cast(x, "f32")
    high = g.select(g.map("lt", edge, wide), g.map("sub", wide, bias), 0.0)
    return g.cast(g.select(g.map("lt", wide, -edge), g.map("add", wide, bias), high), x.dtype)


@operator("Gelu")
@operator("Gelu", "BiasGelu", "FastGelu", "QuickGelu", domain="com.microsoft")
def _gelu(c: Call) -> Given:
    x = c.value(0)
    if c.op == "QuickGelu":
        return el.silu(c.g, x, c.real("alpha", 1.702))
    if c.has(1):
        x = c.g.map("add", x, c.value(1))
    close = c.op == "FastGelu" or c.text("approximate", "none") == "tanh"
    return el.UNARY["gelu_tanh" if close else "gelu"](c.g, x)


@operator("Swish")
def _swish(c: Call) -> Given:
    return el.silu(c.g, c.value(0), c.real("alpha", 1.0))


@operator("Cast")
def _cast(c: Call) -> Given:
    return converted(c.g, c.value(0), dtype_of(c.whole("to")))


@operator("CastLike")
def _cast_like(c: Call) -> Given:
    return converted(c.g, c.value(0), c.value(1).dtype)


@operator("BitCast")
def _bit_cast(c: Call) -> Given:
    x, dtype = c.value(0), dtype_of(c.whole("to"))
    if isinstance(x, Constant) and x.dtype in STORED and STORED[x.dtype] == x.dtype:
        raw: Any = {"f32": np.float32, "i32": np.int32, "i8": np.int8, "u8": np.uint8, "i64": np.int64}.get(
            dtype
        )
        if raw is not None and np.dtype(raw).itemsize == x.array.itemsize:
            return constant(np.ascontiguousarray(x.array).view(raw), dtype)
    if x.dtype == dtype or {x.dtype, dtype} == {"i64", "u64"}:
        return c.g.cast(x, dtype)
    if (x.dtype, dtype) in {("f32", "i32"), ("i32", "f32"), ("i8", "u8"), ("u8", "i8")}:
        return c.g.map("bitcast", x, dtype=dtype)
    if {x.dtype, dtype} == {"i16", "u16"} or {x.dtype, dtype} == {"i4", "u4"}:
        return converted(c.g, x, dtype)
    if x.dtype == "u32" and dtype in ("i32", "f32"):
        whole = converted(c.g, x, "i32")
        return whole if dtype == "i32" else c.g.map("bitcast", whole, dtype="f32")
    if x.dtype in ("i32", "f32") and dtype == "u32":
        whole = x if x.dtype == "i32" else c.g.map("bitcast", x, dtype="i32")
        return converted(c.g, whole, "u32")
    if x.dtype == "bool" and dtype in ("u8", "i8"):
        return c.g.cast(x, dtype)
    raise RefusedError(f"the bits of {x.dtype} as {dtype}")


@operator("Identity", "Dropout")
def _identity(c: Call) -> Given | list[Given]:
    if c.op == "Identity":
        return c.inputs[0]
    x = c.value(0)
    training = c.has(2) and bool(c.known(2).reshape(-1)[0])
    ratio = float(c.known(1).reshape(-1)[0]) if c.has(1) else 0.5
    if training and ratio > 0:
        raise RefusedError("a dropout that draws random numbers")
    ones = Constant(np.broadcast_to(np.ones((), bool), x.shape), "bool")
    return [x, ones]


@operator("Einsum")
def _einsum(c: Call) -> Given:
    from proofcompute.importers.lowering.products import einsum

    return einsum(c.g, c.text("equation"), [c.value(i) for i in range(len(c.inputs))])


@operator("IsFinite", domain="com.microsoft")
def _is_finite(c: Call) -> Given:
    return c.g.map("lt", c.g.map("abs", c.value(0)), math.inf)
