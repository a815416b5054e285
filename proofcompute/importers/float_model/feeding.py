"""Feed-forward layers in float32: gated and plain ones, and mixtures of experts."""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic.definition import erf
from proofcompute.arrays import F32, I64, Array
from proofcompute.importers.architecture import Mlp, Moe
from proofcompute.importers.float_model.weights import Weights, sigmoid, softmax

__all__ = ["feed"]


def feed(ffn: Mlp | Moe, w: Weights, x: F32) -> F32:
    """Return what a feed-forward layer gives for rows."""
    return _mixture(ffn, w, x) if isinstance(ffn, Moe) else _mlp("ffn", ffn, w, x)


def _mlp(name: str, m: Mlp, w: Weights, x: F32, expert: int = 0) -> F32:
    """Return a layer, or one expert's, whose rows of weights are those of its number."""
    up = w.linear(f"{name}.up", m.width, x, bias=m.bias, first=expert * m.width)
    if not m.gated:
        up = _activated(up, m.act)
    else:
        gate = w.linear(f"{name}.gate", m.width, x, bias=m.bias, first=expert * m.width)
        if m.limit:
            limit = np.float32(m.limit)
            gate = np.minimum(gate, limit)
            up = gate * sigmoid(np.float32(m.alpha) * gate) * (np.clip(up, -limit, limit) + np.float32(1))
        else:
            up = _activated(gate, m.act) * up
    return w.linear(f"{name}.down", x.shape[1], up, bias=m.bias, first=expert * x.shape[1])


def _mixture(moe: Moe, w: Weights, x: F32) -> F32:
    chosen, weights = _routed(moe, w, x)
    y = np.zeros_like(x)
    for expert in np.unique(chosen):
        row, place = np.nonzero(chosen == expert)
        out = _mlp("ffn.experts", moe.expert, w, x[row], int(expert))
        y[row] += out * weights[row, place, None]  # a row has an expert at most once
    if moe.shared is not None:
        shared = _mlp("ffn.shared", moe.shared, w, x)
        if moe.shared_gate:
            shared = shared * sigmoid(w.linear("ffn.shared.router", 1, x))
        y = y + shared
    return y


def _routed(moe: Moe, w: Weights, x: F32) -> tuple[I64, F32]:
    """Return which experts each row uses, and their weights: [n, top_k] each."""
    scores = w.linear("ffn.router", moe.experts, x, bias=moe.router_bias)
    if moe.score == "sigmoid":
        scores = sigmoid(scores)
    elif moe.when == "before":
        scores = softmax(scores)
    choice = scores + w.vector("ffn.correction", moe.experts) if moe.correction else scores
    if moe.top_groups < moe.groups:
        choice = np.where(_best_groups(moe, choice), choice, -np.inf)
    chosen = _largest(choice, moe.top_k)
    weights: F32 = np.take_along_axis(scores, chosen, axis=1)
    if moe.score == "softmax" and moe.when == "after":
        weights = softmax(weights)
    if moe.normalise:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return chosen, weights * np.float32(moe.scaling)


def _best_groups(moe: Moe, choice: F32) -> Array:
    """Return which experts belong to the chosen groups: bool [n, experts]."""
    best = np.sort(choice.reshape(len(choice), moe.groups, moe.experts // moe.groups), axis=2)[..., ::-1]
    value = best[..., 0] if moe.group_score == "max" else best[..., 0] + best[..., 1]
    allowed = np.zeros((len(choice), moe.groups), np.bool_)
    np.put_along_axis(allowed, _largest(value, moe.top_groups), np.True_, axis=1)
    return np.repeat(allowed, moe.experts // moe.groups, axis=1)


def _largest(x: F32, k: int) -> I64:
    """Return the positions of the k largest elements of each row; of equal ones the first."""
    order: I64 = np.argsort(-x, axis=1, kind="stable")[:, :k]
    return order


def _activated(x: F32, kind: str) -> F32:
    half, one = np.float32(0.5), np.float32(1)
    if kind == "silu":
        return x * sigmoid(x)
    if kind == "gelu":
        return half * x * (one + erf(x * np.float32(0.5**0.5)))
    if kind == "gelu_tanh":
        inner: F32 = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
        bent: F32 = np.tanh(inner)
        return half * x * (one + bent)
    positive: F32 = np.maximum(x, np.float32(0))
    return positive if kind == "relu" else positive * positive
