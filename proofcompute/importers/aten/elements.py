"""The operators of ATen on single elements: arithmetic, comparisons, activations, casts."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from proofcompute.importers.aten.calls import Call, common, operator
from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering.casting import converted
from proofcompute.importers.lowering.graph import Graph, Operand
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant, is_float

__all__ = ["as_type", "cast"]

_UNARY: Final = {
    "acos": "acos", "acosh": "acosh", "asin": "asin", "asinh": "asinh", "atan": "atan", "atanh": "atanh",
    "cos": "cos", "cosh": "cosh", "erf": "erf", "exp": "exp", "expm1": "expm1", "hardswish": "hard_swish",
    "log": "log", "log1p": "log1p", "mish": "mish", "reciprocal": "reciprocal", "rsqrt": "rsqrt",
    "sigmoid": "sigmoid", "silu": "silu", "sin": "sin", "sinh": "sinh", "sqrt": "sqrt", "tan": "tan",
    "tanh": "tanh",
}  # fmt: skip
"""Functions that make floats of whatever they are given."""
_SAME: Final = {
    "abs": "abs", "bitwise_not": "not", "ceil": "ceil", "floor": "floor", "neg": "neg", "relu": "relu",
    "sign": "sign", "sgn": "sign",
}  # fmt: skip
"""Functions that keep the type."""
_COMPARISONS: Final = {"eq": ("eq", False), "lt": ("lt", False), "le": ("le", False), "gt": ("lt", True),
                       "ge": ("le", True)}  # fmt: skip
_LOG2_E: Final = 1 / math.log(2)


def cast(g: Graph, x: Value, dtype: str) -> Value:
    """Return x in another type as PyTorch converts; floats are computed in float32, whatever their type."""
    return g.cast(x, dtype) if is_float(x.dtype) and is_float(dtype) else converted(g, x, dtype)


def as_type(g: Graph, x: Operand, dtype: str) -> Operand:
    """Return an operand in another type; numbers stay as they are, but for integers among floats."""
    if isinstance(x, Constant | Row):
        return cast(g, x, dtype)
    return float(x) if is_float(dtype) else x


def _float(c: Call, name: str = "self") -> Value:
    return cast(c.g, c.value(name), c.dtype)


def _unary(c: Call, function: str) -> Value:
    return el.UNARY[function](c.g, _float(c))


def _same(c: Call, function: str) -> Value:
    return el.UNARY[function](c.g, c.value())


for _name, _function in _UNARY.items():
    operator(_name)(partial(_unary, function=_function))
for _name, _function in _SAME.items():
    operator(_name)(partial(_same, function=_function))


def _both(c: Call, dtype: str, first: str = "self", second: str = "other") -> tuple[Operand, Operand]:
    x, y = c.operand(first), c.operand(second)
    if not isinstance(x, Constant | Row) and not isinstance(y, Constant | Row):
        x = c.value(first)
    return as_type(c.g, x, dtype), as_type(c.g, y, dtype)


def _scaled(c: Call, y: Operand, name: str = "alpha") -> Operand:
    """Return an operand times a factor that is given with it."""
    alpha = c.get(name)
    if alpha in (None, 1):
        return y
    if isinstance(y, Constant | Row):
        return c.g.map("mul", y, float(alpha) if is_float(y.dtype) else int(alpha))
    product: int | float = y * alpha
    return product


@operator("add", "sub", "rsub")
def _add(c: Call) -> Value:
    x, y = _both(c, c.dtype)
    if c.op == "rsub":
        return c.g.map("sub", y, _scaled(c, x))
    if c.dtype == "bool":
        return c.g.map("or", x, y)
    return c.g.map(c.op, x, _scaled(c, y))


@operator("mul")
def _mul(c: Call) -> Value:
    return c.g.map("and" if c.dtype == "bool" else "mul", *_both(c, c.dtype))


@operator("div", "floor_divide")
def _div(c: Call) -> Value:
    mode = "floor" if c.op == "floor_divide" else c.text("rounding_mode")
    x, y = _both(c, c.dtype)
    if not is_float(c.dtype):
        found = c.g.map("div", x, y)
        if mode == "floor":
            # the quotient is rounded towards zero, and is one too much where the remainder has another sign
            rest = c.g.map("rem", x, y)
            below = c.g.map("xor", c.g.map("lt", rest, 0), c.g.map("lt", _tensor(c, y, "other"), 0))
            off = c.g.map("and", c.g.map("not", c.g.map("eq", rest, 0)), below)
            found = c.g.select(off, c.g.map("sub", found, 1), found)
        return found
    made = c.g.map("div", x, y)
    if mode == "floor":
        return el.UNARY["floor"](c.g, made)
    return _trunc(c.g, made) if mode == "trunc" else made


def _tensor(c: Call, x: Operand, name: str) -> Value:
    return x if isinstance(x, Constant | Row) else cast(c.g, c.value(name), c.dtype)


def _trunc(g: Graph, x: Value) -> Value:
    return g.select(g.map("lt", x, 0.0), el.UNARY["ceil"](g, x), g.map("floor", x))


@operator("trunc", "frac", "fix")
def _truncated(c: Call) -> Value:
    x = c.value()
    whole = _trunc(c.g, x) if is_float(x.dtype) else x
    return c.g.map("sub", x, whole) if c.op == "frac" else whole


@operator("round")
def _round(c: Call) -> Value:
    if c.get("decimals"):
        raise RefusedError("rounding to decimals")
    return el.UNARY["round"](c.g, c.value())


@operator("remainder")
def _remainder(c: Call) -> Value:
    x, y = _both(c, c.dtype)
    return el.floor_mod(c.g, _tensor(c, x, "self"), _tensor(c, y, "other"))


@operator("fmod")
def _fmod(c: Call) -> Value:
    return c.g.map("rem", *_both(c, c.dtype))


@operator("pow")
def _pow(c: Call) -> Value:
    x, y = c.value(), c.value("exponent")
    return el.power(c.g, cast(c.g, x, c.dtype), cast(c.g, y, c.dtype))


@operator("maximum", "minimum", "fmax", "fmin", "max.other", "min.other")
def _extreme(c: Call) -> Value:
    return c.g.map("max" if "max" in c.op else "min", *_both(c, c.dtype))


@operator("atan2")
def _atan2(c: Call) -> Value:
    g, y, x = c.g, _float(c), _float(c, "other")
    base = g.map("atan", g.map("div", y, x))
    below = g.map("lt", y, 0.0)
    turned = g.map("add", base, g.select(below, constant(-math.pi, y.dtype), constant(math.pi, y.dtype)))
    upright = g.select(below, constant(-math.pi / 2, y.dtype), constant(math.pi / 2, y.dtype))
    upright = g.select(g.map("eq", y, 0.0), 0.0, upright)
    return g.select(g.map("eq", x, 0.0), upright, g.select(g.map("lt", x, 0.0), turned, base))


# -- comparisons and logic -------------------------------------------------------------------------------
def _compare(c: Call, function: str, swap: bool, negate: bool = False) -> Value:
    x, y = _both(c, common(c.operand("self"), c.operand("other")))
    made = c.g.map(function, y, x) if swap else c.g.map(function, x, y)
    return c.g.map("not", made) if negate else made


for _name, (_function, _swap) in _COMPARISONS.items():
    operator(_name)(partial(_compare, function=_function, swap=_swap))
operator("ne")(partial(_compare, function="eq", swap=False, negate=True))


@operator("logical_and", "logical_or", "logical_xor")
def _logical(c: Call) -> Value:
    x, y = el.logical(c.g, c.value()), el.logical(c.g, c.value("other"))
    return c.g.map(c.op.removeprefix("logical_"), x, y)


@operator("logical_not")
def _not(c: Call) -> Value:
    return c.g.map("not", el.logical(c.g, c.value()))


@operator("bitwise_and", "bitwise_or", "bitwise_xor")
def _bits(c: Call) -> Value:
    return c.g.map(c.op.removeprefix("bitwise_"), *_both(c, c.dtype))


@operator("bitwise_left_shift", "bitwise_right_shift", "__lshift__", "__rshift__")
def _shift(c: Call) -> Value:
    x, y = _both(c, c.dtype)
    left = "left" in c.op or "lshift" in c.op
    return el.shift(c.g, _tensor(c, x, "self"), _tensor(c, y, "other"), left=left)


@operator("isnan", "isinf", "isfinite")
def _finite(c: Call) -> Value:
    x = c.value()
    if not is_float(x.dtype):
        same = c.g.map("eq", x, x)
        return same if c.op == "isfinite" else c.g.map("not", same)
    if c.op == "isnan":
        return el.UNARY["is_nan"](c.g, x)
    infinite = el.is_infinite(c.g, x)
    return infinite if c.op == "isinf" else c.g.map("lt", c.g.map("abs", x), math.inf)


@operator("where")
def _where(c: Call) -> Value:
    x, y = _both(c, c.dtype)
    condition = el.logical(c.g, c.value("condition"))
    if not isinstance(x, Constant | Row) and not isinstance(y, Constant | Row):
        x = cast(c.g, c.value("self"), c.dtype)
    return c.g.broadcast(c.g.select(condition, x, y), c.shape)


@operator("masked_fill")
def _masked_fill(c: Call) -> Value:
    x, fill = c.value(), as_type(c.g, c.operand("value"), c.dtype)
    return c.g.broadcast(c.g.select(c.value("mask"), fill, x), c.shape)


# -- activations -----------------------------------------------------------------------------------------
@operator("clamp", "clip", "hardtanh", "relu6", "clamp_min", "clamp_max")
def _clamp(c: Call) -> Value:
    low, high = ("min_val", "max_val") if c.op == "hardtanh" else ("min", "max")
    if c.op == "relu6":
        return el.clip(c.g, c.value(), 0, 6)
    x = cast(c.g, c.value(), c.dtype)
    bounds = [as_type(c.g, c.operand(n), c.dtype) if c.has(n) else None for n in (low, high)]
    return el.clip(c.g, x, *bounds)


@operator("gelu")
def _gelu(c: Call) -> Value:
    return el.UNARY["gelu_tanh" if c.text("approximate", "none") == "tanh" else "gelu"](c.g, c.value())


@operator("softplus")
def _softplus(c: Call) -> Value:
    x, beta = c.value(), c.real("beta", 1.0)
    scaled = x if beta == 1 else c.g.map("mul", x, beta)
    made = el.UNARY["softplus"](c.g, scaled)
    made = made if beta == 1 else c.g.map("div", made, beta)
    return c.g.select(c.g.map("lt", c.real("threshold", 20.0), scaled), x, made)


@operator("elu", "selu", "celu")
def _elu(c: Call) -> Value:
    g, x = c.g, c.value()
    alpha, scale, inner = c.real("alpha", 1.0), c.real("scale", 1.0), c.real("input_scale", 1.0)
    if c.op == "selu":
        alpha, scale = 1.6732632423543772, 1.0507009873554805
    if c.op == "celu":
        inner = 1 / alpha
    low = x if inner == 1 else g.map("mul", x, inner)
    low = g.map("mul", el.UNARY["expm1"](g, g.map("min", low, 0.0)), alpha * scale)
    return g.select(g.map("lt", x, 0.0), low, x if scale == 1 else g.map("mul", x, scale))


@operator("leaky_relu")
def _leaky(c: Call) -> Value:
    return el.leaky(c.g, c.value(), c.real("negative_slope", 0.01))


@operator("prelu", "_prelu_kernel")
def _prelu(c: Call) -> Value:
    x, slope = c.value(), c.value("weight")
    if len(slope.shape) == 1 and len(x.shape) > 2:
        slope = c.g.reshape(slope, (*slope.shape, *(1,) * (len(x.shape) - 2)))
    return el.leaky(c.g, x, slope)


@operator("hardsigmoid")
def _hard_sigmoid(c: Call) -> Value:
    return el.clip(c.g, c.g.map("add", c.g.map("mul", c.value(), 1 / 6), 0.5), 0.0, 1.0)


@operator("log_sigmoid", "log_sigmoid_forward")
def _log_sigmoid(c: Call) -> Value | list[Value | None]:
    made = c.g.map("neg", el.UNARY["softplus"](c.g, c.g.map("neg", c.value())))
    return [made, None] if c.op == "log_sigmoid_forward" else made


@operator("threshold")
def _threshold(c: Call) -> Value:
    x = c.value()
    return c.g.select(c.g.map("lt", as_type(c.g, c.operand("threshold"), x.dtype), x), x, c.operand("value"))


@operator("hardshrink", "softshrink")
def _shrink(c: Call) -> Value:
    g, x, edge = c.g, c.value(), c.real("lambd", 0.5)
    high = x if c.op == "hardshrink" else g.map("sub", x, edge)
    low = x if c.op == "hardshrink" else g.map("add", x, edge)
    return g.select(g.map("lt", edge, x), high, g.select(g.map("lt", x, -edge), low, 0.0))


@operator("log2", "log10", "exp2", "erfc", "square", "logit")
def _composed(c: Call) -> Value:
    g = c.g
    x = c.value() if c.op == "square" else _float(c)
    if c.op == "square":
        return g.map("mul", x, x)
    if c.op == "exp2":
        return g.map("exp", g.map("mul", x, math.log(2)))
    if c.op == "erfc":
        return g.map("sub", 1.0, g.map("erf", x))
    if c.op == "logit":
        if c.has("eps"):
            x = el.clip(g, x, c.real("eps"), 1 - c.real("eps"))
        return g.map("log", g.map("div", x, g.map("sub", 1.0, x)))
    return g.map("mul", g.map("log", x), _LOG2_E if c.op == "log2" else 1 / math.log(10))


@operator("lerp")
def _lerp(c: Call) -> Value:
    g, x, y = c.g, c.value(), c.value("end")
    return g.map("add", x, g.map("mul", g.map("sub", y, x), as_type(g, c.operand("weight"), c.dtype)))


@operator("addcmul", "addcdiv")
def _add_product(c: Call) -> Value:
    function = "mul" if c.op == "addcmul" else "div"
    term = c.g.map(function, c.value("tensor1"), c.value("tensor2"))
    return c.g.map("add", c.value(), _scaled(c, term, "value"))


# -- what changes nothing but the type -------------------------------------------------------------------
@operator(
    "to", "_to_copy", "clone", "contiguous", "alias", "detach", "lift_fresh_copy", "lift_fresh", "positive",
    "type_as", "detach_copy", "view_of", "real", "conj", "resolve_conj", "resolve_neg", "float", "identity",
)  # fmt: skip
def _same_values(c: Call) -> Value:
    return cast(c.g, c.value("self" if "self" in c.arguments else "a"), c.dtype)


@operator("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")
def _dropout(c: Call) -> Value | list[Value | None]:
    if c.flag("train") and c.real("p", 0.5) > 0:
        raise RefusedError("a dropout that draws random numbers; call eval() on the module")
    return [c.value("input"), None] if c.op == "native_dropout" else c.value("input")
