"""The operators of ATen for layers of networks: products, convolutions, norms."""

from __future__ import annotations

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.elements import cast
from proofcompute.importers.lowering import convolving, norms, products
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, is_float

__all__ = ["product"]


# -- products --------------------------------------------------------------------------------------------
def product(g: Graph, x: Value, y: Value, dtype: str) -> Value:
    """Return the matrix product of floats or of integers, as PyTorch's matmul."""
    if is_float(dtype):
        return products.matmul(g, cast(g, x, dtype), cast(g, y, dtype))
    return cast(g, products.integer_matmul(g, x, y), dtype)


@operator("linear")
def _linear(c: Call) -> Value:
    x, w, bias = c.value("input"), c.value("weight"), c.maybe("bias")
    if len(w.shape) == 1:
        made = product(c.g, x, w, c.dtype)
        return made if bias is None else c.g.map("add", made, bias)
    return products.linear(c.g, cast(c.g, x, c.dtype), w, bias)


@operator("mm", "bmm", "matmul", "mv", "dot")
def _matmul(c: Call) -> Value:
    other = {"mm": "mat2", "bmm": "mat2", "mv": "vec", "dot": "tensor"}.get(c.op, "other")
    return product(c.g, c.value(), c.value(other), c.dtype)


@operator("addmm", "baddbmm", "addbmm", "addmv")
def _addmm(c: Call) -> Value:
    g, x = c.g, c.value()
    first, second = {"addmm": ("mat1", "mat2"), "addmv": ("mat", "vec")}.get(c.op, ("batch1", "batch2"))
    a, b = c.value(first), c.value(second)
    alpha, beta = c.real("alpha", 1.0), c.real("beta", 1.0)
    plain = c.op == "addmm" and alpha == beta == 1 and is_float(c.dtype) and isinstance(b, Constant)
    if plain and isinstance(x, Constant) and x.shape == b.shape[-1:]:
        return products.linear(g, a, g.transpose(b, (1, 0)), x)
    made = product(g, a, b, c.dtype)
    if c.op == "addbmm":
        made = g.reduce("sum", made, (0,))
    if not is_float(c.dtype) and (alpha, beta) != (1, 1):
        raise RefusedError("an integer product with factors")
    made = made if alpha == 1 else g.map("mul", made, alpha)
    return made if beta == 0 else g.map("add", made, x if beta == 1 else g.map("mul", x, beta))


@operator("outer", "ger")
def _outer(c: Call) -> Value:
    x, y = c.value(), c.value("vec2")
    return c.g.map("mul", c.g.reshape(x, (*x.shape, 1)), y)


@operator("einsum")
def _einsum(c: Call) -> Value:
    return products.einsum(c.g, c.text("equation"), c.values("tensors"))


@operator("bilinear")
def _bilinear(c: Call) -> Value:
    made = products.einsum(c.g, "...i,oij,...j->...o", [c.value(n) for n in ("input1", "weight", "input2")])
    return c.g.map("add", made, c.value("bias")) if c.has("bias") else made


# -- convolutions ----------------------------------------------------------------------------------------
@operator(
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "_convolution",
)  # fmt: skip
def _conv(c: Call) -> Value:
    g, x, w = c.g, c.value("input"), c.value("weight")
    count = len(w.shape) - 2
    single = len(x.shape) == count + 1
    x = g.reshape(x, (1, *x.shape)) if single else x
    strides, dilations = c.wholes("stride", count), c.wholes("dilation", count)
    size = list(w.shape[2:])
    transposed = "transpose" in c.op or c.flag("transposed")
    if isinstance(c.get("padding"), str):
        low, high = _named(c.text("padding"), size, dilations)
    else:
        low = high = c.wholes("padding", count)
    if transposed:
        more = c.wholes("output_padding", count)
        made = convolving.conv_transpose(
            g, x, w, c.maybe("bias"), strides=strides, low=low,
            high=[p - e for p, e in zip(high, more, strict=True)], dilations=dilations,
            groups=c.whole("groups", 1),
        )  # fmt: skip
    else:
        made = convolving.conv(
            g, x, w, c.maybe("bias"), strides=strides, low=low, high=high, dilations=dilations,
            groups=c.whole("groups", 1),
        )  # fmt: skip
    return g.reshape(made, made.shape[1:]) if single else made


def _named(how: str, size: list[int], dilations: list[int]) -> tuple[list[int], list[int]]:
    if how == "valid":
        return [0] * len(size), [0] * len(size)
    if how != "same":
        raise RefusedError(f"padding {how!r}")
    whole = [(k - 1) * d for k, d in zip(size, dilations, strict=True)]
    return [n // 2 for n in whole], [n - n // 2 for n in whole]


@operator("im2col")
def _im2col(c: Call) -> Value:
    g, x = c.g, c.value()
    size, dilations = c.wholes("kernel_size", 2), c.wholes("dilation", 2)
    margins, strides = c.wholes("padding", 2), c.wholes("stride", 2)
    if len(x.shape) != 4:
        raise RefusedError("patches of a picture without a batch")
    padded = g.pad(convolving.channels_last(g, x), (0, *margins, 0), (0, *margins, 0))
    windows = convolving.windowed(g, padded, size, strides, dilations)
    # [samples, places, places, window, window, channels]
    return g.reshape(g.transpose(windows, (0, 5, 3, 4, 1, 2)), c.shape)


# -- norms -----------------------------------------------------------------------------------------------
@operator(
    "batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "native_batch_norm",
    "cudnn_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update",
)  # fmt: skip
def _batch_norm(c: Call) -> Value | list[Value | None]:
    g, x = c.g, c.value("input")
    training = c.flag("training") or c.flag("train")
    if training or c.op == "_batch_norm_with_update" or not c.has("running_mean"):
        raise RefusedError(
            "a batch norm over the samples of the batch, as in training: call eval() on the module, and let "
            "it track running statistics"
        )
    ones = Constant(np.ones(x.shape[1], np.float32), x.dtype)
    zeros = g.map("mul", ones, 0.0)
    scale, bias = c.maybe("weight") or ones, c.maybe("bias") or zeros
    eps = c.real("eps" if "eps" in c.arguments else "epsilon", 1e-5)
    made = norms.batch_norm(g, x, scale, bias, c.value("running_mean"), c.value("running_var"), eps)
    return made if c.op == "batch_norm" else [made, *[None] * (len(c.results) - 1)]


@operator("layer_norm", "native_layer_norm")
def _layer_norm(c: Call) -> Value | list[Value | None]:
    x, shape = c.value("input"), c.wholes("normalized_shape")
    scale, bias = c.maybe("weight"), c.maybe("bias")
    made = norms.layer_norm(c.g, x, scale, bias, len(x.shape) - len(shape), c.real("eps", 1e-5))
    return made if c.op == "layer_norm" else [made, None, None]


@operator("rms_norm", "_fused_rms_norm")
def _rms_norm(c: Call) -> Value | list[Value | None]:
    x, shape = c.value("input"), c.wholes("normalized_shape")
    eps = c.real("eps", 1.1920928955078125e-07)
    made = norms.rms_norm(c.g, x, c.maybe("weight"), len(x.shape) - len(shape), eps)
    return made if c.op == "rms_norm" else [made, None]


@operator("group_norm", "native_group_norm")
def _group_norm(c: Call) -> Value | list[Value | None]:
    x = c.value("input")
    groups = c.whole("num_groups" if "num_groups" in c.arguments else "group")
    made = norms.group_norm(c.g, x, groups, c.maybe("weight"), c.maybe("bias"), c.real("eps", 1e-5))
    return made if c.op == "group_norm" else [made, None, None]


@operator("instance_norm")
def _instance_norm(c: Call) -> Value:
    x = c.value("input")
    if not c.flag("use_input_stats"):
        parts = [c.value(n) for n in ("weight", "bias", "running_mean", "running_var")]
        return norms.batch_norm(c.g, x, parts[0], parts[1], parts[2], parts[3], c.real("eps", 1e-5))
    return norms.group_norm(c.g, x, x.shape[1], c.maybe("weight"), c.maybe("bias"), c.real("eps", 1e-5))


@operator("cosine_similarity")
def _cosine(c: Call) -> Value:
    g, x, y = c.g, c.value("x1"), c.value("x2")
    axis = (c.whole("dim", 1) + len(c.shape) + 1) % (len(c.shape) + 1)
    eps = c.real("eps", 1e-8)
    sizes = [g.map("max", norms.reduced(g, "l2", v, [axis % len(v.shape)]), eps) for v in (x, y)]
    together = g.reduce("sum", g.map("mul", x, y), (axis,))
    return g.map("div", together, g.map("mul", sizes[0], sizes[1]))
