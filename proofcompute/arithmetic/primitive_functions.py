"""Define the functions of arrays with axes that a backend has (docs/spec/primitives.md).

Arrays are [n, *row shape]; one of a single row, where others have n, is the same for every row. Axes are
those of a row: axis 0 follows the rows. Functions without a contract below raise InputError where the shapes
or types do not fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proofcompute.arithmetic.operands import Matrix
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arrays import F32, I32, Array

__all__ = ["Primitives"]


class Primitives(Protocol):
    """Functions of arrays with axes; :mod:`proofcompute.arithmetic.kernels` says what all functions share."""

    def evaluate(
        self,
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        """Evaluate an expression for every element: [n, *shape], of the last term's type.

        The rows of the inputs, each read through its view if there is one, broadcast to ``shape``. An input
        has n rows or one. Raises ExecutionError where a function has no result, FormatError or LimitError
        for an expression or a view that is not well formed.
        """
        ...

    def reduce(self, kind: str, x: Array, axes: Sequence[int]) -> Array:
        """Reduce axes of a row by "sum", "prod", "max", "min" or "argmax"; the axes are removed.

        Elements stand in the order of the axes as they are named, the last one running fastest. A binary32
        sum is the halving tree's, a product runs from the first element to the last; max and min are those
        of expressions; argmax is the int32 position of the first largest element. Raises NonFiniteError for
        the argmax of a NaN, InputError for max, min or argmax of no elements.
        """
        ...

    def cumulate(self, kind: str, x: Array, axis: int) -> Array:
        """Return running sums ("sum") or products ("prod") along an axis, from the first to the last."""
        ...

    def view(self, x: Array, v: View) -> Array:
        """Read every row through a view: [n, *v.shape]. Raises as ``check_view``."""
        ...

    def join(self, xs: Sequence[Array], axis: int) -> Array:
        """Put rows one after the other along an axis."""
        ...

    def take(self, x: Array, index: Array) -> Array:
        """Return slices of x [n, d, *rest] by number: index [n, *s] of int32 or int64 gives [n, *s, *rest].

        Raises ExecutionError if a number is outside 0..d.
        """
        ...

    def put(self, x: Array, index: Array, values: Array, how: str) -> Array:
        """Return x [n, d, *rest] with values [n, *s, *rest] in its slices of the numbers index [n, *s].

        One value after the other, in the order of the index, takes the place of what is there ("none"), or is
        combined with it ("add", "mul", "max", "min"). Raises ExecutionError if a number is outside 0..d.
        """
        ...

    def order(self, x: Array, axis: int) -> I32:
        """Return the stable permutation that sorts an axis in ascending order, int32 of the same shape.

        -0 and +0 are equal. Raises NonFiniteError for a NaN.
        """
        ...

    def contract(self, a: Array, b: Array, limbs: int) -> Array:
        """Multiply the matrices of a row: a [n, *batch, p, d] and b [n, *batch, d, q] to [n, *batch, p, q].

        The batches broadcast. With limbs 0 they are of int8, uint8 or int32, and the result is exact in
        int64. Else they are binary32, rows of a and columns of b are quantised to so many limbs, and the
        result is f32(exact sum) * (scale of the row * scale of the column). Raises NonFiniteError if an
        element that is quantised is not finite.
        """
        ...

    # -- several in one ------------------------------------------------------------------------------
    def linear_through(
        self,
        x: F32,
        views: Sequence[View],
        w: Matrix,
        limbs: int,
        after: Expression | None = None,
        others: Sequence[Array] = (),
    ) -> Array:
        """Multiply what is seen of rows through views, one after another, and evaluate an expression of it.

        The last axis of the last view, or of x if there is none, is multiplied as by ``linear``: the product
        is [n, *other axes, m]. With an expression the result is ``evaluate`` of the product and of
        ``others``, in its shape. A backend need hold neither the views nor the product.
        """
        ...

    def reduce_of(
        self,
        kind: str,
        axes: Sequence[int],
        expression: Expression,
        inputs: Sequence[Array],
        n: int,
        shape: Sequence[int],
        views: Sequence[View | None] = (),
    ) -> Array:
        """Return ``reduce`` of ``evaluate`` of the other arguments. A backend need not hold the latter."""
        ...
