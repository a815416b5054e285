"""Collects a program while it is written: its weights, with what they are made of, and its segments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from proofcompute.encoding.wire import f32_bits
from proofcompute.importers.architecture import Norm
from proofcompute.program import operations as ops
from proofcompute.program.types import Committed, Node, Op, Segment, WeightSpec

__all__ = ["Draft", "Fold", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a weight of a program is made of a checkpoint's tensors: (tensors + offset) * factor.

    A matrix takes the factor into its scales and its bias, a constant with one rounding.
    """

    tensors: tuple[str, ...] = ()
    """Canonical names. Matrices are stacked on top of each other, with their biases; of a constant there is
    at most one."""
    offset: float = 0.0
    """Added to the elements of a constant; all of them, if there is no tensor."""
    factor: float = 1.0
    groups: int = 0
    """Not 0: there is a matrix for each group. The tensors hold the rows of one group after the other, and
    what is stacked are the rows of each group."""
    part: tuple[int, int] | None = None
    """With groups: the rows of each group that are used, a..b; None for all."""
    transposed: bool = False
    """With groups: whether each matrix is transposed."""
    own: str = ""
    """The name of the scales of the one tensor, if the tensor has another use, which is not scaled."""


@dataclass(frozen=True)
class Fold:
    """A product whose inputs may be divided by scales, column by column, without a change of the network.

    The columns of the matrices are multiplied by the scales, and what makes the inputs is divided by them.
    """

    products: tuple[str, ...]
    """Names of the program's matrices that get these inputs; the first one's are looked at."""
    matrices: tuple[str, ...]
    """Tensors of the checkpoint whose columns are multiplied."""
    absorb: tuple[str, ...]
    """Tensors of the checkpoint whose rows are divided."""
    heads: tuple[int, int] | None = None
    """Heads and key/value heads, where the inputs are mixes of values: query heads that share a value head
    share its scales. Else None."""
    own: str = ""
    """See Recipe."""


@dataclass
class Draft:
    """A program that is being written; nodes go to the segment that :meth:`cut` ends."""

    shapes: Mapping[str, tuple[int, ...]]
    """Canonical name -> shape of the checkpoint's tensors."""
    exact: frozenset[str] = frozenset()
    """Names of matrices that have two limbs, whatever is asked for."""
    weights: dict[str, WeightSpec] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    folds: list[Fold] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    suffix: str = ""
    """What ends the names of tensors that :meth:`node` makes."""
    _nodes: list[Node] = field(default_factory=list)

    # -- weights -------------------------------------------------------------------------------------------
    def constant(self, name: str, shape: tuple[int, ...], recipe: Recipe) -> str:
        """Add a float32 constant unless there is one of the name, and return the name."""
        return self._weight(WeightSpec(name, "constant", shape, "f32"), recipe)

    def filled(self, value: float, width: int) -> str:
        """Add a constant [width] of equal elements unless there is one, and return its name."""
        return self.constant(f"all.{value:g}.{width}", (width,), Recipe(offset=value))

    def matrix(self, name: str, recipe: Recipe, limbs: int, *, bias: bool = False) -> str:
        """Add a matrix, and return its name."""
        shapes = [self.shapes[t] for t in recipe.tensors]
        shape = (sum(shape[0] for shape in shapes), math.prod(shapes[0][1:]))
        return self._weight(WeightSpec(name, "matrix", shape, limbs=limbs, bias=bias), recipe)

    def matrices(self, name: str, recipe: Recipe, limbs: int, *, bias: bool = False) -> str:
        """Add a matrix for each group, and return their name."""
        tall = sum(self.shapes[t][0] // recipe.groups for t in recipe.tensors)
        if recipe.part is not None:
            tall = recipe.part[1] - recipe.part[0]
        each = (tall, self.shapes[recipe.tensors[0]][1])
        shape = (recipe.groups, *(each[::-1] if recipe.transposed else each))
        return self._weight(WeightSpec(name, "matrix", shape, limbs=limbs, bias=bias), recipe)

    def numbers(self, count: int) -> str:
        """Add the constant 0, 1, ..., count - 1, and return its name."""
        return self._weight(WeightSpec(f"numbers.{count}", "constant", (count,), "i32"), Recipe())

    def _weight(self, spec: WeightSpec, recipe: Recipe) -> str:
        if spec.kind == "matrix" and spec.name in self.exact:
            spec = replace(spec, limbs=2)
        if self.weights.setdefault(spec.name, spec) != spec or recipe != self.recipes.get(spec.name, recipe):
            raise AssertionError(f"two weights {spec.name}")
        self.recipes[spec.name] = recipe
        return spec.name

    # -- operations ----------------------------------------------------------------------------------------
    def node(self, name: str, op: Op, inputs: Sequence[str], *outputs: str) -> str:
        """Add an operation with outputs of these whole names, and return the first."""
        self._nodes.append(Node(name, op, tuple(inputs), outputs))
        return outputs[0]

    def add(self, name: str, op: Op, *inputs: str, out: str | None = None) -> str:
        """Add an operation with one output, named after the operation or ``out``, and return its name."""
        return self.node(name, op, inputs, (out or name) + self.suffix)

    def number(self, name: str, value: float) -> str:
        """Add a float32 number."""
        return self.add(name, ops.Map("constant", "f32", f32_bits(value)))

    def norm(
        self, name: str, norm: Norm, x: str, tensor: str, *, factor: float = 1.0, out: str | None = None
    ) -> str:
        """Add a norm over the last axis with the checkpoint's weights ``tensor``, times ``factor``."""
        shape = self.shapes[tensor]
        weight = self.constant(f"{self._own(tensor)}", shape, Recipe((tensor,), norm.offset, factor))
        if norm.kind == "rms":
            return self.add(name, ops.RmsNorm(weight, f32_bits(norm.eps)), x, out=out)
        bias = f"{self._own(tensor)}.bias"
        if norm.bias:
            bias = self.constant(bias, shape, Recipe((f"{tensor}.bias",), 0.0, factor))
        else:
            bias = self.filled(0.0, *shape)
        return self.add(name, ops.LayerNorm(weight, bias, f32_bits(norm.eps)), x, out=out)

    @staticmethod
    def _own(tensor: str) -> str:
        """Return the program's name for a tensor of the checkpoint."""
        return tensor.replace("layers.", "block.", 1)

    def cut(self, name: str, committed: Mapping[str, tuple[str, ...]]) -> None:
        """End a segment, whose tensors in ``committed``, by group, are committed."""
        self.segments.append(Segment(name, tuple(self._nodes)))
        self.committed += [Committed(group, tensors) for group, tensors in committed.items()]
        self._nodes.clear()
