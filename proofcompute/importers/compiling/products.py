"""Writes products with a checkpoint's matrices, and feed-forward layers."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.importers.architecture import Mlp
from proofcompute.importers.compiling.activations import activation
from proofcompute.importers.compiling.draft import Draft, Recipe
from proofcompute.importers.compiling.precision import Precision
from proofcompute.program import operations as ops

__all__ = ["Products"]


@dataclass(frozen=True)
class Products:
    """Products of one block. Names are those of the block's operations, such as ``ffn.down``."""

    draft: Draft
    precision: Precision
    index: int
    """Number of the block."""

    def linear(
        self,
        name: str,
        x: str,
        out: str,
        *parts: str,
        bias: bool = False,
        factor: float = 1.0,
        limbs: tuple[int, int] | None = None,
    ) -> str:
        """Multiply by matrices of the checkpoint, stacked, which stand beside ``name``.

        ``limbs`` are those of weights and activations, if they are not the block's.
        """
        w_limbs, x_limbs = limbs or (self.precision.w_limbs, self.precision.x_limbs)
        recipe = Recipe(self.tensors(name, parts), factor=factor)
        weight = self.draft.matrix(self.own(name), recipe, w_limbs, bias=bias)
        return self.draft.add(name, ops.Linear(weight, x_limbs), x, out=out)

    def chosen(self, name: str, x: str, numbers: str, out: str, recipe: Recipe, *, bias: bool = False) -> str:
        """Multiply by one matrix of each of several groups, as ``numbers`` say."""
        weight = self.draft.matrices(self.own(name), recipe, self.precision.w_limbs, bias=bias)
        return self.draft.add(name, ops.Experts(weight, self.precision.x_limbs), x, numbers, out=out)

    def mlp(self, name: str, ffn: Mlp, x: str, factor: float, mark: str = "") -> str:
        """Add a feed-forward layer, whose output is multiplied by ``factor``.

        ``mark`` begins the names of the tensors that it makes.
        """
        wide, parts = (f"{name}.gate_up", ("gate", "up")) if ffn.gated else (f"{name}.up", ("up",))
        h = self.linear(wide, x, f"{mark}gu", *parts, bias=ffn.bias)
        g = activation(self.draft, ffn, h, f"{name}.gate" if ffn.gated else f"{name}.act", f"{mark}g")
        return self.linear(f"{name}.down", g, f"{mark}dn", "down", bias=ffn.bias, factor=factor)

    def own(self, name: str) -> str:
        """Return the program's name of a weight of the block."""
        return f"block.{self.index}.{name}"

    def tensors(self, name: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the checkpoint's names of tensors that stand beside ``name``."""
        where = name.rpartition(".")[0]
        return tuple(f"layers.{self.index}.{where}.{part}" for part in parts)
