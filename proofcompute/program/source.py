"""Define the three sources of values from outside a segment (docs/spec/programs.md#sources).

Prover and verifier run the same interpreter over the same operations and differ only in their
:class:`Source`: where they get committed rows and weight rows, and how they make a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from proofcompute.arithmetic.composed import evaluated, seen_through
from proofcompute.arithmetic.grouped import by_matrix
from proofcompute.arithmetic.kernels import Kernels, Matrix, Prologue
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, U64, Array, Span
from proofcompute.freivalds.hint import Packed

__all__ = [
    "ComputeProducts",
    "HintProducts",
    "LinearCall",
    "PlacedWeights",
    "Products",
    "QuantisedRows",
    "RowProducts",
    "RowReader",
    "Source",
    "ThroughCall",
    "WeightRows",
]


class RowReader(Protocol):
    """A source of rows of committed and public tensors, and of what the request says about each row."""

    def read(self, name: str, span: Span) -> Array:
        """Return rows a..b of a tensor, [b - a, ...]."""
        ...

    def prefix(self, name: str, span: Span) -> Array:
        """Return rows 0..b of a tensor, [b, ...]."""
        ...

    def whole(self, name: str, span: Span) -> Array:
        """Return all rows of a tensor in the span's trace, [rows, ...]."""
        ...

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Take rows a..b of a committed tensor or a public output, which the segment has computed."""
        ...

    def sampling(self, trace: int) -> Sampling:
        """Return how the request of a trace chooses its tokens."""
        ...

    def draws(self, span: Span) -> U64:
        """Return the draws of rows, [b - a, 2]: 128 bits each, functions of the client's seed and the row."""
        ...


class WeightRows(Protocol):
    """A source of weights that are small enough to be used directly."""

    def constant(self, name: str) -> Array:
        """Return a constant, with the type and shape that the program states."""
        ...

    def rows(self, name: str, ids: Array) -> tuple[Sequence[I8], F32]:
        """Return rows of a weight matrix read as a table: int8 [n, d] for each limb, and scales [n]."""
        ...


class LinearCall(NamedTuple):
    """One product of rows with a weight matrix [m, d], with its prologue and its residual."""

    weight: str
    """Name of the matrix."""
    x: F32
    """Rows, [n, d]; [n, 2 d] in front of a gate."""
    limbs: int
    """Limbs of the quantised rows, 1 or 2."""
    prologue: Prologue = None
    """The operation on the rows before they are quantised."""
    residual: F32 | None = None
    """The rows to which the product is added last, [n, m]."""


class ThroughCall(NamedTuple):
    """One product of what is seen of rows through views, and an expression of it.

    :meth:`proofcompute.arithmetic.kernels.Kernels.linear_through` says what that gives.
    """

    weight: str
    """Name of the matrix."""
    x: F32
    """Rows [n, ...]."""
    views: tuple[View, ...]
    limbs: int
    """Limbs of the quantised rows, 1 or 2."""
    after: Expression | None
    others: tuple[Array, ...]
    """What the expression reads beside the product."""


class Products(Protocol):
    """A source of products with weight matrices: computed, or taken as hints and checked."""

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Return the product that ``call`` describes, float32 [n, m]."""
        ...

    def through(self, call: ThroughCall, k: Kernels) -> Array:
        """Return the product that ``call`` describes, or what its expression makes of it: [n, ..., m]."""
        ...

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """Return products of rows with matrices of their own, float32 [n r, m].

        ``numbers`` [n, r] say which of the weight's matrices; ``call.x`` has n r rows, or n that are each
        multiplied r times. Raises ExecutionError for a number without a matrix.
        """
        ...


class RowProducts:
    """The part of :class:`Products` that needs the rows of a product written out."""

    linear: Callable[[LinearCall, Kernels], F32]

    def through(self, call: ThroughCall, k: Kernels) -> Array:
        """Call ``linear``, between the views and the expression; a product without rows stays as it is."""
        x = seen_through(k, call.x, call.views)
        y = self.linear(LinearCall(call.weight, x.reshape((-1, x.shape[-1])), call.limbs), k)
        if len(y) != math.prod(x.shape[:-1]):
            return y
        return evaluated(k, y.reshape((*x.shape[:-1], y.shape[-1])), call.after, call.others)


@dataclass(frozen=True)
class Source:
    """The sources of a segment's outside values."""

    rows: RowReader
    weights: WeightRows
    products: Products


@dataclass(frozen=True)
class ComputeProducts:
    """Products computed from the weights, by the prover or by a verifier that holds the weights."""

    matrix: Callable[[str], Matrix]

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Compute the product; see Products."""
        return k.linear(call.x, self.matrix(call.weight), call.limbs, call.prologue, call.residual)

    def through(self, call: ThroughCall, k: Kernels) -> Array:
        """Compute the product; see Products."""
        w = self.matrix(call.weight)
        return k.linear_through(call.x, call.views, w, call.limbs, call.after, call.others)

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """Compute the products; see Products."""
        return k.experts(call.x, self.matrix(call.weight), numbers, call.limbs)


class QuantisedRows(NamedTuple):
    """The rows that a product takes to one matrix."""

    group: int | None
    """The number of the matrix, if the weight has several."""
    q: I8
    """The limbs of the rows, [limbs, n, d], on the backend."""


@dataclass(frozen=True)
class HintProducts(RowProducts):
    """Products computed from the weights, each with the hint that an opening holds of it."""

    matrix: Callable[[str], Matrix]
    squares: Callable[[str], Sequence[int]]
    """The largest sum of squares of a row of a weight, for each of its limbs."""
    hints: list[tuple[Packed, ...]]
    """The packed sets of each product that was made, in order."""
    wanted: bool = True
    """Whether the products themselves are used."""
    rows: list[tuple[QuantisedRows, ...]] | None = None
    """The rows of each product that was made, of each matrix for itself; None: nobody wants them."""

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Compute the product, and keep its hint; see Products. One that is not wanted has no rows."""
        w, squares = self.matrix(call.weight), self.squares(call.weight)
        if self.rows is not None:
            self.rows.append((QuantisedRows(None, k.quantise(call.x, call.limbs, call.prologue)[0]),))
        made = k.linear_with_hint(call.x, w, call.limbs, squares, call.prologue, call.residual, self.wanted)
        self.hints.append(made.packed)
        return k.zeros((0, len(w.scale)), np.float32) if made.y is None else made.y

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """Compute the products, and keep their hint: the sets of each matrix, one matrix after the other."""
        w, squares = self.matrix(call.weight), self.squares(call.weight)
        packed: list[Packed] = []
        rows: list[QuantisedRows] = []

        def one(x: F32, group: int) -> F32:
            if self.rows is not None:
                rows.append(QuantisedRows(group, k.quantise(x, call.limbs)[0]))
            made = k.linear_with_hint(x, w.group(group), call.limbs, squares, None, None, self.wanted)
            packed.extend(made.packed)
            return k.zeros((len(x), w.m), np.float32) if made.y is None else made.y

        y = by_matrix(call.x, numbers, w.groups, k, one)
        self.hints.append(tuple(packed))
        if self.rows is not None:
            self.rows.append(tuple(rows))
        return y if self.wanted else y[:0]


class PlacedWeights:
    """Weights on a backend: an implementation of WeightRows, with the matrices of products."""

    def __init__(self, weights: Mapping[str, Matrix | Array], k: Kernels) -> None:
        self._k = k
        self._matrices: dict[str, Matrix] = {}
        self._constants: dict[str, Array] = {}
        for name, w in weights.items():
            k.operation = f"weight {name}, one of {len(weights)}"
            if isinstance(w, Matrix):
                self._matrices[name] = k.weight(w)
            else:
                self._constants[name] = k.array(w)
        k.operation = ""

    def matrix(self, name: str) -> Matrix:
        """Return a weight matrix by name."""
        return self._matrices[name]

    def constant(self, name: str) -> Array:
        """Return a constant; see WeightRows."""
        return self._constants[name]

    def rows(self, name: str, ids: Array) -> tuple[Sequence[I8], F32]:
        """Return rows of a table; see WeightRows. Raises FormatError if an index is outside the table."""
        w = self._matrices[name]
        return [self._k.gather(w.q[i], ids) for i in range(len(w.q))], self._k.gather(w.scale, ids)
