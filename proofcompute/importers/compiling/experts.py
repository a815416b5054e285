"""Writes mixtures of experts: a router, products with the chosen experts' matrices, and their weighted sum.

The router's product has two limbs on both sides, whatever the precision: a small error of a score may be
another choice, and the matrix is small. The verifier computes the router again with everything else of the
segment, so that nothing of the choice is committed.

A choice takes the largest scores; of equal ones it takes those of the first experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proofcompute.importers.architecture import Mlp, Moe
from proofcompute.importers.compiling.activations import activation, sigmoid
from proofcompute.importers.compiling.draft import Draft, Recipe
from proofcompute.importers.compiling.products import Products
from proofcompute.program import operations as ops

__all__ = ["Mixture"]

_ROUTER_LIMBS: Final = (2, 2)


@dataclass(frozen=True)
class Mixture:
    """A mixture that is being written; see :class:`~proofcompute.importers.architecture.Moe`."""

    products: Products
    moe: Moe
    factor: float
    """Multiplies the output."""

    @property
    def reads(self) -> tuple[str, tuple[str, ...]]:
        """The first product, and the checkpoint's matrices that are multiplied by its inputs."""
        parts = ["router", *(f"experts.{part}" for part in _wide(self.moe.expert))]
        if self.moe.shared is not None:
            parts += (f"shared.{part}" for part in _wide(self.moe.shared))
        if self.moe.shared_gate:
            parts.append("shared.router")
        return "ffn.router", tuple(parts)

    @property
    def _draft(self) -> Draft:
        return self.products.draft

    def write(self, x: str) -> str:
        """Write the operations on ``x``, and return the output."""
        d, moe, p = self._draft, self.moe, self.products
        logits = p.linear("ffn.router", x, "router", "router", bias=moe.router_bias, limbs=_ROUTER_LIMBS)
        chosen, shares = self._routed(logits)
        y = d.add("ffn.mixed", ops.Mix(), self._experts(x, chosen), shares)
        if moe.shared is None:
            return y
        return d.add("ffn.both", ops.Add(), y, self._shared(moe.shared, x))

    def _routed(self, logits: str) -> tuple[str, str]:
        """Add the choice, and the shares without the mixture's scaling, which the experts have."""
        d, moe, correction = self._draft, self.moe, ""
        if moe.correction:
            name = f"layers.{self.products.index}.ffn.correction"
            correction = d.constant(self.products.own("ffn.correction"), (moe.experts,), Recipe((name,)))
        chosen = moe.score == "softmax" and moe.when == "after"
        route = ops.Route(
            moe.top_k,
            "chosen" if chosen else moe.score,
            int(moe.normalise),
            moe.groups,
            moe.top_groups,
            2 if moe.group_score == "top2" else 1,
            correction,
        )
        names = (f"chosen{d.suffix}", f"shares{d.suffix}")
        d.node("ffn.route", route, (logits,), *names)
        return names

    # -- experts -------------------------------------------------------------------------------------------
    def _experts(self, x: str, chosen: str) -> str:
        """Add what each chosen expert makes of ``x``: [top_k, d]."""
        moe, p, ffn = self.moe, self.products, self.moe.expert
        parts = _wide(ffn)
        wide = f"ffn.experts.{'gate_up' if ffn.gated else 'up'}"
        recipe = Recipe(p.tensors(wide, parts), groups=moe.experts)
        h = p.chosen(wide, x, chosen, "experts.gu", recipe, bias=ffn.bias)
        name = f"ffn.experts.{'gate' if ffn.gated else 'act'}"
        g = activation(self._draft, ffn, h, name, "experts.g", rows=moe.top_k)
        down = "ffn.experts.down"
        factor = self.factor * moe.scaling
        recipe = Recipe(p.tensors(down, ("down",)), factor=factor, groups=moe.experts)
        return p.chosen(down, g, chosen, "experts.dn", recipe, bias=ffn.bias)

    def _shared(self, ffn: Mlp, x: str) -> str:
        d = self._draft
        y = self.products.mlp("ffn.shared", ffn, x, self.factor, "shared.")
        if not self.moe.shared_gate:
            return y
        gate = self.products.linear("ffn.shared.router", x, "shared.router", "router", limbs=_ROUTER_LIMBS)
        return d.add("ffn.shared.gated", ops.Map("mul"), y, sigmoid(d, gate, "ffn.shared.share"))


def _wide(ffn: Mlp) -> tuple[str, ...]:
    """Return the matrices that are multiplied by a layer's inputs."""
    return ("gate", "up") if ffn.gated else ("up",)
