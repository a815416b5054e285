"""Builds operations on single elements, reductions and activations."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.errors import InputError
from proofcompute.models.building.assembly import Assembly
from proofcompute.models.building.tensor import Operand, Tensor
from proofcompute.program.operations import (
    Add,
    Cumulate,
    Gate,
    Gelu,
    Map,
    Order,
    Position,
    Reduce,
    Relu,
    Silu,
    Softmax,
    reshape,
)

__all__ = ["Elements", "axis_of"]


def axis_of(axis: int, rank: int) -> int:
    """Return an axis of a row as a number from 0; negative ones count from the last."""
    if not -rank <= axis < rank:
        raise InputError(f"a row with {rank} axes has no axis {axis}")
    return axis % rank


class Elements(Assembly):
    """Methods for elements of rows; axes are those of a row."""

    def map(self, function: str, *xs: Operand, dtype: str = "", name: str | None = None) -> Tensor:
        """Add a scalar function of docs/spec/primitives.md; row shapes broadcast as in NumPy.

        Python numbers stand for elements of the type that the tensors have. ``dtype`` is the type that
        ``cast`` and ``bitcast`` give.
        """
        first = 1 if function == "select" else 0
        types = [x.dtype for x in xs[first:] if isinstance(x, Tensor)]
        if not types:
            raise InputError(f"{function}: needs a tensor, whose type the numbers have")
        ins = [x if isinstance(x, Tensor) else self.number(x, types[0]) for x in xs]
        return self._add(self._name(function, name), Map(function, dtype), ins)

    def cast(self, x: Tensor, dtype: str, *, name: str | None = None) -> Tensor:
        """Add the nearest numbers of another type."""
        return self.map("cast", x, dtype=dtype, name=name)

    def select(self, condition: Tensor, x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
        """Add x where the condition is true, else y."""
        return self.map("select", condition, x, y, name=name)

    def position(self, *, name: str | None = None) -> Tensor:
        """Add the number of the row, from 0, as int32."""
        return self._add(self._name("position", name), Position(), ())

    # -- along axes ----------------------------------------------------------------------------------
    def reduce(
        self,
        kind: str,
        x: Tensor,
        axes: int | Sequence[int],
        *,
        keep: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """Add ``sum``, ``prod``, ``max``, ``min`` or ``argmax`` over axes, in the order of their names.

        The axes are removed, or kept with length 1.
        """
        rank = len(x.shape)
        named = (axes,) if isinstance(axes, int) else tuple(axes)
        found = tuple(axis_of(a, rank) for a in named)
        if not keep:
            return self._add(self._name(kind, name), Reduce(kind, found), (x,))
        reduced = self._add(self._name(kind, None), Reduce(kind, found), (x,))
        shape = tuple(1 if i in found else n for i, n in enumerate(x.shape))
        return self._add(self._name("reshape", name), reshape(shape), (reduced,))

    def mean(
        self, x: Tensor, axes: int | Sequence[int], *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """Add the sum of float32 elements over axes, divided by their number."""
        if x.dtype != "f32":
            raise InputError(f"mean: {x.name} has elements of type {x.dtype}; cast them to f32")
        total = self.reduce("sum", x, axes, keep=keep)
        return self.map("div", total, x.width // max(1, total.width), name=name)

    def cumulate(self, kind: str, x: Tensor, axis: int, *, name: str | None = None) -> Tensor:
        """Add running sums (``sum``) or products (``prod``) along an axis."""
        return self._add(self._name("cumulate", name), Cumulate(kind, axis_of(axis, len(x.shape))), (x,))

    def order(self, x: Tensor, axis: int, *, name: str | None = None) -> Tensor:
        """Add the positions of the elements along an axis in ascending order, as int32."""
        return self._add(self._name("order", name), Order(axis_of(axis, len(x.shape))), (x,))

    # -- activations ---------------------------------------------------------------------------------
    def relu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add max(x, 0)."""
        return self._add(self._name("relu", name), Relu(), (x,))

    def gelu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add x / 2 (1 + erf(x / sqrt 2))."""
        return self._add(self._name("gelu", name), Gelu(), (x,))

    def silu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add x / (1 + exp(-x))."""
        return self._add(self._name("silu", name), Silu(), (x,))

    def sigmoid(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add 1 / (1 + exp(-x))."""
        return self.map("div", 1.0, 1.0 + self.map("exp", -x), name=name)

    def gate(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add silu(first half of the last axis) * second half."""
        return self._add(self._name("gate", name), Gate(), (x,))

    def softmax(self, x: Tensor, axis: int = -1, *, name: str | None = None) -> Tensor:
        """Add exp(x - max) divided by its sum, along an axis."""
        return self._add(self._name("softmax", name), Softmax(axis_of(axis, len(x.shape))), (x,))

    def add(self, x: Tensor, y: Operand, *, name: str | None = None) -> Tensor:
        """Add x + y. Shapes that are not equal broadcast."""
        if isinstance(y, Tensor) and x.spec == y.spec and x.dtype == "f32" and x.shape:
            return self._add(self._name("add", name), Add(), (x, y))
        return self.map("add", x, y, name=name)
