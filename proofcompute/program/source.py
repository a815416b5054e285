"""The three things that come from outside a segment (docs/spec/programs.md#sources).

Prover and verifier run the same interpreter over the same operations and differ in their :class:`Source`
only: where committed rows come from, where weight rows come from, and how a matrix product is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proofcompute.arithmetic.kernels import Kernels, Matrix, Prologue
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, I32, U64, Array, Span
from proofcompute.freivalds.product import product_sets

__all__ = [
    "ComputeProducts",
    "LinearCall",
    "PlacedWeights",
    "Products",
    "RecordProducts",
    "Recorded",
    "RowReader",
    "Source",
    "WeightRows",
]


class RowReader(Protocol):
    """Rows of committed and public tensors, and what the request says about each row."""

    def read(self, name: str, span: Span) -> Array:
        """Rows a..b of a tensor, [b - a, ...]."""
        ...

    def prefix(self, name: str, span: Span) -> Array:
        """Rows 0..b of a tensor, [b, ...]."""
        ...

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Rows a..b that the segment computed of a committed tensor or a public output."""
        ...

    def sampling(self, trace: int) -> Sampling:
        """How a request chooses its tokens."""
        ...

    def draws(self, span: Span) -> U64:
        """The 128-bit random numbers of rows, [b - a, 2]: functions of the client's seed and the row only."""
        ...


class WeightRows(Protocol):
    """Weights that are small enough to be used directly."""

    def vector(self, name: str) -> F32:
        """A weight vector, [d]."""
        ...

    def rows(self, name: str, ids: Array) -> tuple[I8, F32]:
        """Rows of a one-limb weight matrix read as a table: int8 [n, d] and scales [n]."""
        ...


class LinearCall(NamedTuple):
    """One product of rows with a weight matrix [m, d], with what stands before and after it."""

    weight: str
    """Name of the matrix."""
    x: F32
    """Rows, [n, d]; [n, 2 d] in front of a gate."""
    limbs: int
    """Limbs of the quantised rows, 1 or 2."""
    prologue: Prologue = None
    """What is done to the rows first."""
    residual: F32 | None = None
    """What the product is added to last, [n, m]."""


class Products(Protocol):
    """How x times a weight matrix is made: computed, or taken as a hint and checked."""

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """The product that ``call`` describes, float32 [n, m]."""
        ...


@dataclass(frozen=True)
class Source:
    """Where a segment's outside values come from."""

    rows: RowReader
    weights: WeightRows
    products: Products


@dataclass(frozen=True)
class ComputeProducts:
    """Products made from the weights: the prover's run, and a verifier that holds the weights."""

    matrix: Callable[[str], Matrix]

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """See Products."""
        return k.linear(call.x, self.matrix(call.weight), call.limbs, call.prologue, call.residual)


class Recorded(NamedTuple):
    """One product as it was made."""

    q: I8
    """Limbs of the rows, [limbs, n, d]."""
    acc: I32
    """Accumulators, [sets, n, m], in the order of ``product_sets``."""


@dataclass(frozen=True)
class RecordProducts:
    """Products made from the weights set by set, and kept: what an opening is made of."""

    matrix: Callable[[str], Matrix]
    recorded: list[Recorded]

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """See Products."""
        w = self.matrix(call.weight)
        q, sx = k.quantise(call.x, call.limbs, call.prologue)
        sets = product_sets(q.shape[2], call.limbs, w.q.shape[0])
        products = [
            k.product(k.slice_columns(q[i], a, b), k.slice_columns(w.q[j], a, b)) for a, b, i, j, _ in sets
        ]
        acc = k.concatenate(products).reshape(len(sets), *products[0].shape)
        self.recorded.append(Recorded(q, acc))
        y = k.rescale(acc, [s for *_, s in sets], sx, w.scale, w.bias)
        return y if call.residual is None else k.add(call.residual, y)


class PlacedWeights:
    """Weights on a backend: WeightRows, and the matrices of products."""

    def __init__(self, weights: Mapping[str, Matrix | F32], k: Kernels) -> None:
        self._k = k
        self._matrices: dict[str, Matrix] = {}
        self._vectors: dict[str, F32] = {}
        for name, w in weights.items():
            k.operation = f"weight {name}, one of {len(weights)}"
            if isinstance(w, Matrix):
                self._matrices[name] = k.weight(w)
            else:
                self._vectors[name] = k.array(w)
        k.operation = ""

    def matrix(self, name: str) -> Matrix:
        """A weight matrix by name."""
        return self._matrices[name]

    def vector(self, name: str) -> F32:
        """See WeightRows."""
        return self._vectors[name]

    def rows(self, name: str, ids: Array) -> tuple[I8, F32]:
        """See WeightRows; FormatError if an index is outside the table."""
        w = self._matrices[name]
        return self._k.gather(w.q[0], ids), self._k.gather(w.scale, ids)
