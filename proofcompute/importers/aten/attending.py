"""Attention of ATen: softmax of scaled products of queries and keys, times values."""

from __future__ import annotations

import math

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.layers import product
from proofcompute.importers.lowering import norms, products
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant

__all__: list[str] = []


@operator(
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
)  # fmt: skip
def _attention(c: Call) -> Value | list[Value | None]:
    g, q, k, v = c.g, c.value("query"), c.value("key"), c.value("value")
    if c.real("dropout_p", 0.0) > 0:
        raise RefusedError("a dropout that draws random numbers; call eval() on the module")
    if c.flag("enable_gqa"):
        k, v = (_repeated(c, x, q.shape[-3]) for x in (k, v))
    scale = c.real("scale") if c.has("scale") else 1 / math.sqrt(q.shape[-1])
    scores = product(g, g.map("mul", q, scale), products.swapped(g, k), c.dtype)
    mask = c.maybe("attn_mask") if "attn_mask" in c.arguments else c.maybe("attn_bias")
    if c.flag("is_causal"):
        if mask is not None:
            raise RefusedError("a mask beside a causal one")
        mask = constant(np.tril(np.ones(scores.shape[-2:], bool)), "bool")
    dead: Value | None = None
    if mask is not None and mask.dtype == "bool":
        scores = g.select(mask, scores, -math.inf)
        if not isinstance(mask, Constant) or not mask.array.any(-1).all():
            # a query that may see nothing gets zeros
            dead = g.map("eq", g.reduce("max", scores, (len(scores.shape) - 1,), keep=True), -math.inf)
            scores = g.select(dead, 0.0, scores)
    elif mask is not None:
        scores = g.map("add", scores, mask)
    shares = norms.softmax(g, scores, len(scores.shape) - 1)
    shares = shares if dead is None else g.select(dead, 0.0, shares)
    made = product(g, shares, v, c.dtype)
    return made if c.op == "scaled_dot_product_attention" else [made, *[None] * (len(c.results) - 1)]


def _repeated(c: Call, x: Value, heads: int) -> Value:
    """Return keys or values of fewer heads, each repeated for the queries' heads that share it."""
    own = x.shape[-3]
    if own == heads:
        return x
    if heads % own:
        raise RefusedError(f"{heads} heads of queries and {own} of keys")
    wide = c.g.reshape(x, (*x.shape[:-2], 1, *x.shape[-2:]))
    shape = (*x.shape[:-2], heads // own, *x.shape[-2:])
    return c.g.reshape(c.g.broadcast(wide, shape), (*x.shape[:-3], heads, *x.shape[-2:]))
