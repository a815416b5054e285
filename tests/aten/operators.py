"""Calls of PyTorch's operators that must give the same when they are lowered. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """A function of tensors, and tensors for it."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]


def _floats(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + 7 * len(shape))
    return torch.randn(shape, generator=generator)


def _whole(low: int, high: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(high + sum(shape))
    return torch.randint(low, high, shape, generator=generator)


X = _floats(1, 3, 4)
Y = _floats(1, 3, 1)
P = X.abs() + 0.1
U = X / (X.abs() + 0.2)
N = _whole(-9, 9, 1, 3, 4)
J = _whole(1, 5, 1, 3, 4)
PICTURE = _floats(1, 4, 8, 9)
LINE = _floats(1, 4, 11)
SPACE = _floats(1, 2, 5, 6, 7)

CASES: list[Case] = []


def _add(name: str, function: Callable[..., Any], *inputs: Tensor) -> None:
    CASES.append(Case(name, function, inputs))


# -- elements
for _name in (
    "abs", "neg", "exp", "sin", "cos", "tan", "tanh", "erf", "atan", "asinh", "sinh", "cosh", "ceil", "floor",
    "relu", "sigmoid", "sgn", "sign", "expm1", "square", "trunc", "frac", "erfc", "exp2", "round", "isnan",
    "isfinite", "isinf", "positive",
):  # fmt: skip
    _add(_name, getattr(torch, _name), X)
for _name in ("sqrt", "log", "log1p", "log2", "log10", "rsqrt", "reciprocal"):
    _add(_name, getattr(torch, _name), P)
for _name in ("acos", "asin", "atanh"):
    _add(_name, getattr(torch, _name), U)
_add("acosh", torch.acosh, P + 1)
_add("logit", lambda x: torch.logit(x, 1e-3), torch.sigmoid(X))
for _name in (
    "silu", "mish", "softplus", "gelu", "hardswish", "hardsigmoid", "hardtanh", "relu6", "elu", "selu",
    "celu", "leaky_relu", "logsigmoid", "softsign", "tanhshrink", "hardshrink", "softshrink", "glu",
):  # fmt: skip
    _add(_name, (lambda f: lambda x: f(x))(getattr(F, _name)), X)
_add("gelu tanh", lambda x: F.gelu(x, approximate="tanh"), X)
_add("softplus beta", lambda x: F.softplus(x, 2.0, 1.0), X)
_add("celu alpha", lambda x: F.celu(x, 0.5), X)
_add("threshold", lambda x: F.threshold(x, 0.2, -1.0), X)
_add("prelu", lambda x, w: F.prelu(x, w), X, _floats(3))
_add("prelu one", lambda x: F.prelu(x, torch.tensor([0.3])), X)
for _name in ("add", "sub", "mul", "div", "maximum", "minimum", "atan2", "fmod", "remainder", "fmax"):
    _add(_name, getattr(torch, _name), X, Y)
_add("add alpha", lambda x, y: torch.add(x, y, alpha=0.5), X, Y)
_add("sub alpha", lambda x, y: torch.sub(x, y, alpha=2), X, Y)
_add("rsub", lambda x: 1 - x, X)
_add("number first", lambda x: 2 / (1 + x * x) - 3 * x, X)
_add("division down", lambda x, y: torch.div(x, y, rounding_mode="floor"), X, Y)
_add("division to zero", lambda x, y: torch.div(x, y, rounding_mode="trunc"), X, Y)
_add("integers", lambda x, y: (x + y, x - y, x * y, x / y, x % y, x // y, torch.fmod(x, y)), N, J)
_add("integer division", lambda x, y: torch.div(x, y, rounding_mode="trunc"), N, J)
_add("integers and floats", lambda x, y: (x + y, x * 2, x * 0.5, x > 0.5, x == y, torch.maximum(x, y)), N, X)
_add("bits", lambda x, y: (x & y, x | y, x ^ y, ~x, x << 2, x >> 1), N, J)
_add("powers", lambda x: (x**2, x**3, x**-1, x**0.5, 2.0**x, torch.pow(x, x)), P)
_add("comparisons", lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y, x < 0.5), X, Y)
_add("logic", lambda x, y: ((x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0)), X, Y)
_add("logical", lambda x, y: (torch.logical_and(x, y), torch.logical_not(x), torch.logical_or(x, y)), X, Y)
_add(
    "where",
    lambda x, y: (torch.where(x > 0, x, y), torch.where(x > 0, x, 0.0), torch.where(x > 0, 1.0, x)),
    X,
    Y,
)
_add("masked_fill", lambda x: x.masked_fill(x > 0, -2.0), X)
_add("clamp", lambda x, y: (x.clamp(-0.5, 0.5), x.clamp(min=0.1), x.clamp(max=0), x.clamp(y, y + 1)), X, Y)
_add("lerp", lambda x, y: (torch.lerp(x, y, 0.3), torch.lerp(x, y, x)), X, Y.expand(1, 3, 4).clone())
_add("addcmul", lambda x, y: (torch.addcmul(x, x, y, value=0.5), torch.addcdiv(x, x, y, value=2)), X, Y)
_add(
    "casts", lambda x: (x.long(), x.to(torch.int32), x.bool(), x.half().float().sign(), x.double() * 2), X * 5
)
_add(
    "casts of integers",
    lambda x: (x.float(), x.to(torch.int8), x.to(torch.uint8), x.bool(), x.to(torch.int16)),
    N * 100,
)
_add("dropout", lambda x: F.dropout(x, 0.5, training=False), X)
_add("in place", lambda x: (x + 0).mul_(2).add_(1).relu_(), X)

# -- shapes
_add(
    "shapes",
    lambda x: (x.view(1, 12), x.reshape(1, 2, 6), x.flatten(1), x.unsqueeze(1), x.unflatten(1, (3, 1))),
    X,
)
_add("squeezes", lambda x: (x.squeeze(-1), x.unsqueeze(1).squeeze((1,)), x.squeeze(-1).unsqueeze(-1)), Y)
_add(
    "transposes",
    lambda x: (x.transpose(1, 2), x.permute(2, 0, 1), x.mT, torch.movedim(x, 1, 2), torch.swapaxes(x, 0, 2)),
    X,
)
_add("expand", lambda y: (y.expand(1, 3, 5), y.expand(2, -1, 3, 4), y.broadcast_to(1, 3, 2)), Y)
_add("slices", lambda x: (x[:, 1:], x[:, :, ::2], x[:, -1], x[..., 1:3], x.narrow(2, 1, 2), x[:, None, 0]), X)
_add("splits", lambda x: (*x.split(2, 2), *x.chunk(3, 1), *x.unbind(1), *x.split([1, 3], 2)), X)
_add("cat", lambda x, y: (torch.cat([x, y], 2), torch.cat([x, x.long()], 1), torch.stack([x, x], 1)), X, Y)
_add("stacks", lambda x: (torch.hstack([x, x]), torch.vstack([x, x]), torch.column_stack([x, x])), X)
_add(
    "repeat", lambda x: (x.repeat(1, 2, 3), x.repeat_interleave(2, 1), x.tile(1, 2), x.repeat(2, 1, 1, 1)), X
)
_add(
    "flip",
    lambda x: (x.flip(1), x.flip(1, 2), x.roll(1, 2), x.roll((1, -2), (1, 2)), torch.rot90(x, 1, (1, 2))),
    X,
)
_add("triangles", lambda x: (x.tril(), x.triu(1), x.tril(-1)), X)
_add("diagonals", lambda x: (x.diagonal(0, 1, 2), x.diagonal(1, 1, 2), x.diagonal(-1, 1, 2)), X)
_add("unfold", lambda x: (x.unfold(2, 2, 1), x.unfold(1, 2, 1)), X)
_add("shuffles", lambda x: (F.pixel_shuffle(x, 2), F.channel_shuffle(x, 2)), PICTURE)
_add("unshuffle", lambda x: F.pixel_unshuffle(x, 2), PICTURE[..., :8])
for _mode in ("constant", "reflect", "replicate", "circular"):
    _add(f"pad {_mode}", (lambda m: lambda x: F.pad(x, (1, 2, 0, 3), mode=m))(_mode), PICTURE)
_add("pad by a value", lambda x: (F.pad(x, (1, 1), value=-3.0), F.pad(x, (-1, 0))), X)
_add(
    "indices",
    lambda x: (x[:, [0, 2]], x[:, :, torch.tensor([[0, 1], [3, -1]])], x[:, [0, 2], [1, 3]], x[0, 1]),
    X,
)
_add("apart indices", lambda x: (x[:, [0, 1], :, [1, 0]], x[:, :, [0, 1], [1, 2]]), PICTURE)
_add("indices of rows", lambda x, i: (x[:, i[0]], torch.index_select(x, 1, i[0])), X, _whole(0, 3, 1, 5))
_add("gather", lambda x, i: (torch.gather(x, 2, i), torch.take_along_dim(x, i, 2)), X, _whole(0, 4, 1, 3, 2))
_add(
    "scatter",
    lambda x, i: (x.scatter(2, i, 1.5), x.scatter_add(2, i, x), x.scatter(2, i, -x)),
    X,
    _whole(0, 4, 1, 3, 2),
)
_add("scatter_reduce", lambda x, i: x.scatter_reduce(2, i, x * 2, "amax"), X, _whole(0, 4, 1, 3, 2))
_add("embedding", lambda i, w: F.embedding(i, w), _whole(0, 6, 1, 5), _floats(6, 3))
_add("one hot", lambda i: F.one_hot(i, 6), _whole(0, 6, 1, 5))


def _written(x: Tensor) -> Tensor:
    y = torch.zeros(1, 4, 6)
    y[:, :3, 1:5] = x
    y[:, 3, ::2] = 2.0
    y[:, 0] += 1
    y[:, [1, 2], [0, 5]] = 7.0
    return y


_add("writing", _written, X)

# -- creation
_add(
    "creation",
    lambda x: (torch.zeros_like(x) + torch.ones(4) + torch.full((3, 4), 2.0) + x, torch.eye(4) @ x.mT),
    X,
)
_add("ranges", lambda x: (x + torch.arange(4), x + torch.arange(2, 10, 2), x + torch.linspace(0, 1, 4)), X)
_add(
    "meshgrid",
    lambda x: torch.stack(torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")).sum(0) + x,
    X,
)

# -- reductions
_add(
    "sums",
    lambda x: (x.sum(1), x.sum((1, 2)), x.mean(-1, keepdim=True), x.prod(2), x.sum(2, keepdim=True)),
    X,
)
_add(
    "whole sums",
    lambda x: (x.sum().reshape(1), x.mean().reshape(1), x.max().reshape(1), x.prod().reshape(1)),
    X,
)
_add(
    "extremes",
    lambda x: (x.amax(1), x.amin((1, 2)), *x.max(1), *x.min(2, keepdim=True), x.argmax(2), x.argmin(1)),
    X,
)
_add("argmax", lambda x: x.argmax().reshape(1), X)
_add(
    "any",
    lambda x: ((x > 0).any(1), (x > 0).all(2), (x > 0).any().reshape(1), (x > 9).any(1, keepdim=True)),
    X,
)
_add(
    "variances",
    lambda x: (x.var(1), x.std(2), x.var(2, unbiased=False), *torch.var_mean(x, 2), x.std((1, 2))),
    X,
)
_add(
    "norms",
    lambda x: (x.norm(dim=1), torch.linalg.vector_norm(x, 1, 2), F.normalize(x, dim=2), x.norm(3, 1)),
    X,
)
_add("infinite norms", lambda x: torch.linalg.vector_norm(x, float("inf"), 2), X)
_add("softmax", lambda x: (x.softmax(-1), x.softmax(1), x.log_softmax(2), torch.logsumexp(x, 2)), X)
_add("running", lambda x: (x.cumsum(1), x.cumprod(2), N.cumsum(2) + x), X)
_add(
    "ordered",
    lambda x: (
        *x.topk(2),
        *x.sort(-1),
        *x.sort(1, descending=True),
        x.argsort(2),
        *x.topk(2, 1, largest=False),
    ),
    X,
)
_add("integer sums", lambda x: (x.sum(1), x.amax(2), (x > 0).sum(1), x.cumsum(1), x.float().mean(1)), N)

# -- layers
_add(
    "products",
    lambda x, w: (x @ w, torch.matmul(x, w), F.linear(x, w.T), torch.einsum("bij,jk->bik", x, w)),
    X,
    _floats(4, 5),
)
_add(
    "products of rows",
    lambda x, y: (x @ y, torch.bmm(x, y), torch.einsum("bij,bjk->bik", x, y)),
    X,
    _floats(1, 4, 5),
)
_add(
    "addmm",
    lambda x, w, b: (torch.addmm(b, x[0], w), torch.addmm(b, x[0], w, beta=0.5, alpha=2.0)),
    X,
    _floats(4, 5),
    _floats(5),
)
_add("baddbmm", lambda x, y: torch.baddbmm(x @ y, x, y, alpha=0.5), X, _floats(1, 4, 5))
_add(
    "vectors",
    lambda x: (x @ torch.arange(4.0), torch.outer(x[0, 0], x[0, 1]), torch.dot(x[0, 0], x[0, 1]).reshape(1)),
    X,
)
_add("bilinear", lambda x, w: F.bilinear(x, x, w), X, _floats(2, 4, 4))
_add("integer products", lambda x, y: (x.int() @ y.int()).long(), N, J.mT.contiguous())
for _n, _x in ((1, LINE), (2, PICTURE), (3, SPACE)):
    _c = _x.shape[1]
    _w = _floats(6, _c, *(3,) * _n)
    _conv = getattr(F, f"conv{_n}d")
    _turned = getattr(F, f"conv_transpose{_n}d")
    _add(f"conv{_n}d", (lambda f: lambda x, w, b: f(x, w, b, stride=2, padding=1))(_conv), _x, _w, _floats(6))
    _add(f"conv{_n}d same", (lambda f: lambda x, w: f(x, w, padding="same"))(_conv), _x, _w)
    _add(
        f"conv{_n}d groups",
        (lambda f, c: lambda x, w: f(x, w, groups=c, dilation=2, padding=2))(_conv, _c),
        _x,
        _floats(2 * _c, 1, *(3,) * _n),
    )
    _add(
        f"conv_transpose{_n}d",
        (lambda f: lambda x, w: f(x, w, stride=2, padding=1, output_padding=1))(_turned),
        _x,
        _floats(_c, 3, *(3,) * _n),
    )
    _add(f"max_pool{_n}d", (lambda f: lambda x: f(x, 3, 2, 1))(getattr(F, f"max_pool{_n}d")), _x)
    _add(
        f"max_pool{_n}d ceil", (lambda f: lambda x: f(x, 2, ceil_mode=True))(getattr(F, f"max_pool{_n}d")), _x
    )
    _add(f"avg_pool{_n}d", (lambda f: lambda x: f(x, 3, 2, 1))(getattr(F, f"avg_pool{_n}d")), _x)
    _add(
        f"avg_pool{_n}d ceil",
        (lambda f: lambda x: f(x, 3, 2, 1, True, False))(getattr(F, f"avg_pool{_n}d")),
        _x,
    )
    _add(
        f"adaptive_avg_pool{_n}d",
        (lambda f: lambda x: (f(x, 1), f(x, 3)))(getattr(F, f"adaptive_avg_pool{_n}d")),
        _x,
    )
    _add(f"adaptive_max_pool{_n}d", (lambda f: lambda x: f(x, 2))(getattr(F, f"adaptive_max_pool{_n}d")), _x)
    _add(
        f"nearest {_n}d", lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, scale_factor=1.5)), _x
    )
    _add(f"nearest exact {_n}d", lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"), _x)
    _mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[_n]
    _add(f"{_mode}", (lambda m: lambda x: F.interpolate(x, scale_factor=2, mode=m))(_mode), _x)
    _add(
        f"{_mode} corners",
        (lambda m: lambda x: F.interpolate(x, scale_factor=2, mode=m, align_corners=True))(_mode),
        _x,
    )
_add("max_pool2d with places", lambda x: F.max_pool2d(x, 2, return_indices=True), PICTURE)
_add("bicubic", lambda x: F.interpolate(x, size=(12, 13), mode="bicubic"), PICTURE)
_add("resized down", lambda x: F.interpolate(x, size=(5, 4), mode="bilinear", antialias=True), PICTURE)
_add("resized", lambda x: F.interpolate(x, size=(5, 4), mode="bilinear"), PICTURE)
for _mode in ("bilinear", "nearest"):
    _add(
        f"grid_sample {_mode}",
        (lambda m: lambda x, at: F.grid_sample(x, at, mode=m, padding_mode="border", align_corners=False))(
            _mode
        ),
        PICTURE,
        torch.tanh(_floats(1, 5, 5, 2)),
    )
_add("patches", lambda x: F.unfold(x, 3, padding=1, stride=2), PICTURE)
_add("conv2d of one sample", lambda x, w: F.conv2d(x[0], w).unsqueeze(0), PICTURE, _floats(6, 4, 3, 3))
_add("batch_norm", lambda x, m, v: F.batch_norm(x, m, v, m, v), PICTURE, _floats(4), _floats(4).abs() + 0.5)
_add(
    "layer_norm",
    lambda x, w, b: (F.layer_norm(x, (4,), w, b), F.layer_norm(x, (3, 4))),
    X,
    _floats(4),
    _floats(4),
)
_add("rms_norm", lambda x, w: F.rms_norm(x, (4,), w), X, _floats(4))
_add(
    "group_norm",
    lambda x, w, b: (F.group_norm(x, 2, w, b), F.instance_norm(x)),
    PICTURE,
    _floats(4),
    _floats(4),
)
_add("local_response_norm", lambda x: F.local_response_norm(x, 3), PICTURE)
_add("cosine", lambda x, y: F.cosine_similarity(x, y, dim=2), X, X.flip(1))
Q = _floats(1, 2, 5, 8)
K = _floats(1, 2, 6, 8)
_add(
    "attention",
    lambda q, k: (
        F.scaled_dot_product_attention(q, k, k),
        F.scaled_dot_product_attention(q, k, k, scale=0.1),
    ),
    Q,
    K,
)
_add("causal attention", lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), Q)
_add(
    "masked attention",
    lambda q, k, m: F.scaled_dot_product_attention(q, k, k, attn_mask=m),
    Q,
    K,
    _floats(5, 6),
)
_add(
    "attention to some",
    lambda q, k, m: F.scaled_dot_product_attention(q, k, k, attn_mask=m > 0),
    Q,
    K,
    _floats(1, 1, 1, 6),
)
_add(
    "attention to none",
    lambda q, k, m: F.scaled_dot_product_attention(q, k, k, attn_mask=m > 9),
    Q,
    K,
    _floats(1, 1, 1, 6),
)
_add(
    "attention in groups",
    lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
    _floats(1, 4, 5, 8),
    K,
)
