"""Holds the program that a graph becomes: its values, functions of elements, and other shapes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, Term, infer
from proofcompute.arrays import Array
from proofcompute.importers.lowering.values import (
    NARROW,
    STORED,
    Constant,
    RefusedError,
    Row,
    Value,
    constant,
)
from proofcompute.limits import MAX_RANK, MAX_WIDTH
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Number, Tensor

__all__ = [
    "Elements",
    "Limbs",
    "Operand",
    "Study",
    "axis_of",
    "empty",
    "guard",
    "numpy_kernels",
    "rounded",
    "type_of",
    "typed",
]

Operand: TypeAlias = Value | Number
"""A value, or a Python number that stands for an element of the other operands' type."""

Limbs: TypeAlias = Callable[[str], tuple[int, int]]
"""Returns the limbs of the activations, and of the weights, of the product with a name."""

_WRAPPING: Final = frozenset({"add", "sub", "mul", "neg", "abs", "not", "shl", "div"})
"""Functions whose result may leave the range of a narrow integer."""

_QUICK: Final[Mapping[str, Callable[..., Array]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "abs": np.abs, "max": np.maximum, "min": np.minimum, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "tanh": np.tanh,
}  # fmt: skip
"""NumPy's own functions of floats, whose last bits may differ between machines."""


def guard(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape. Raises RefusedError if it has too many elements or axes, or a negative length."""
    if any(n < 0 for n in shape) or math.prod(shape) > MAX_WIDTH or len(shape) > 2 * MAX_RANK:
        raise RefusedError(f"shape {list(shape)[:9]} is larger than {MAX_WIDTH} elements, or negative")
    return tuple(int(n) for n in shape)


@lru_cache(maxsize=1)
def numpy_kernels() -> Kernels:
    """Return the definition in NumPy, which folds constants."""
    return kernels_for("numpy")


@dataclass(frozen=True, eq=False)
class Study:
    """How an evaluation rounds the products of a graph, to find out what that costs in accuracy."""

    limbs: Limbs
    """The limbs to which products are rounded; two limbs are taken as exact."""
    names: list[str]
    """Takes the names of products as they are made."""
    keep: bool = False
    """Whether what is made may be kept for the next evaluations of the same sample, and of it alone."""

    def product(self, name: str, made: Callable[[int, int], Array]) -> Array:
        """Return a product, made with so many limbs of activations and weights."""
        self.names.append(name)
        return made(*self.limbs(name))


def _repeats(array: Array) -> bool:
    """Return whether all elements of a contiguous array have the same bytes."""
    flat = array.reshape(array.size, 1).view(np.uint8)
    return bool((flat == flat[0]).all())


def scale_of(largest: Array) -> Array:
    """Return the scales of rows that are rounded to 8 bits, given the largest absolute number of each."""
    scale = largest / np.float32(127)
    return np.where(scale > 0, scale, np.float32(1))


def rounded(x: Array, axis: int = -1, *, scale: Array | None = None) -> Array:
    """Return floats rounded to 8 bits with a scale for each row along an axis, or with scales of another."""
    if scale is None:
        scale = scale_of(np.abs(x).max(axis=axis, keepdims=True, initial=0))
    return (np.rint(x / scale) * scale).astype(np.float32)


class Elements:
    """The program that a graph becomes, and functions of elements.

    Args:
        builder: what collects the operations.
        limbs: how many limbs each product has, given its name.
        quick: whether constants may be folded by NumPy's own functions and matrix products; then a constant
            is not the same on every machine, which is good enough to measure errors with.
    """

    def __init__(self, builder: ProgramBuilder, limbs: Limbs = lambda name: (2, 2), *, quick: bool = False):
        self.builder = builder
        self.limbs = limbs
        self.quick = quick
        self.node = "graph"
        """The node that is lowered now; products are named after it."""
        self.products: list[tuple[str, int]] = []
        """Names of products with weights, and how many multiplications each makes for a row."""
        self.study: Study | None = None
        """How products of constants are rounded, where a precision is being chosen."""
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = {}
        self._names: set[str] = set()
        self._reshaped: dict[Tensor, Tensor] = {}

    # -- values --------------------------------------------------------------------------------------
    def row(self, base: Tensor, dtype: str, inputs: frozenset[str]) -> Row:
        """Return a tensor of the program as a value."""
        return Row(base, tuple(range(len(base.shape))), dtype, inputs)

    def known(self, x: Value, what: str) -> Array:
        """Return the elements of a constant. Raises RefusedError if the value depends on rows."""
        if isinstance(x, Constant):
            return x.array
        raise RefusedError(f"{what} depends on the input {', '.join(sorted(x.inputs))}", x.inputs)

    def names(self) -> set[str]:
        """Return the names that products have so far, for :meth:`rename`."""
        return set(self._names)

    def rename(self, names: set[str]) -> None:
        """Give the names again that products got since ``names`` were all."""
        self._names = set(names)

    def name(self, what: str = "") -> str:
        """Return a name after the node that is lowered, which no other product has."""
        made = base = f"{self.node}{what}"[:200]
        count = 1
        while made in self._names:
            count += 1
            made = f"{base}.{count}"
        self._names.add(made)
        return made

    def tensor(self, x: Value) -> Tensor:
        """Return a value as a tensor of the program, its axes in their order."""
        if isinstance(x, Constant):
            return self._constant(np.ascontiguousarray(x.array))
        if x.order == tuple(range(len(x.order))):
            return x.base
        return self.builder.transpose(x.base, x.order)

    def _constant(self, array: Array) -> Tensor:
        """Return a constant of the program. Floats that are not finite are put in by choosing them."""
        if array.size == 0:
            raise RefusedError("a value has no elements")
        b, dtype = self.builder, type_of(array)
        first = array.reshape(-1)[0]
        if _repeats(array):
            number = b.number(first.item(), dtype)
            return b.broadcast(number, array.shape) if array.shape else number
        key = (dtype, array.shape, hashlib.sha256(array.data).digest())
        if key not in self._constants:
            if dtype == "f32" and not np.isfinite(array).all():
                finite = np.where(np.isfinite(array), array, np.float32(0))
                made = self._constant(finite)
                for bad in (np.nan, np.inf, -np.inf):
                    where = np.isnan(array) if np.isnan(bad) else array == bad
                    if where.any():
                        made = b.select(self._constant(where), bad, made)
                return made
            self._constants[key] = b.constant(array)
        return self._constants[key]

    def _inputs(self, *xs: Value) -> frozenset[str]:
        return frozenset[str]().union(*(x.inputs for x in xs if isinstance(x, Row)))

    # -- elements ------------------------------------------------------------------------------------
    def map(self, function: str, *xs: Operand, dtype: str = "") -> Value:
        """Apply a scalar function of docs/spec/primitives.md; shapes broadcast as in NumPy.

        ``dtype`` is the type that ``cast`` and ``bitcast`` give, one of graphs.
        """
        first = 1 if function == "select" else 0
        given = [x for x in xs[first:] if isinstance(x, Constant | Row)]
        if not given:
            raise RefusedError(f"{function} of numbers only")
        kind = given[0].dtype
        values = [x if isinstance(x, Constant | Row) else constant(x, kind) for x in xs]
        for x in values[first:]:
            if STORED[x.dtype] != STORED[kind]:
                raise RefusedError(f"{function} of {kind} and {x.dtype}")
        made = self._map(function, values, dtype)
        result = dtype or ("bool" if function in ("lt", "le", "eq") else kind)
        made = typed(made, result)
        return self.wrap(made) if result in NARROW and function in _WRAPPING else made

    def _map(self, function: str, xs: Sequence[Value], dtype: str) -> Value:
        to = STORED[dtype] if dtype else ""
        try:
            shape = np.broadcast_shapes(*(x.shape for x in xs))
        except ValueError:
            raise RefusedError(f"shapes {', '.join(str(list(x.shape)) for x in xs)} do not fit") from None
        if all(isinstance(x, Constant) for x in xs):
            arrays = [self.known(x, "") for x in xs]
            if self.quick and function in _QUICK and {a.dtype for a in arrays} == {np.dtype(np.float32)}:
                with np.errstate(all="ignore"):
                    return Constant(_QUICK[function](*arrays), dtype)
            types = [type_of(a) for a in arrays]
            term = Term(function, tuple(range(len(arrays))), infer(function, types, to))
            found = numpy_kernels().evaluate(
                Expression(tuple(types), (term,)), [a[None] for a in arrays], 1, guard(shape)
            )
            return Constant(found[0], dtype)
        if 0 in shape:
            return empty(shape, dtype or ("bool" if function in ("lt", "le", "eq") else xs[-1].dtype))
        order = self._order(xs, len(shape))
        back = tuple(order.index(j) for j in range(len(order)))
        tensors = [self._aligned(x, shape, back) for x in xs]
        made = self.builder.map(function, *tensors, dtype=to)
        if len(made.shape) != len(shape):
            made = self._reshape(made, tuple(shape[a] for a in back))
        return Row(made, order, dtype, self._inputs(*xs))

    @staticmethod
    def _order(xs: Sequence[Value], rank: int) -> tuple[int, ...]:
        """Return the order of axes that the largest operand of full rank has."""
        rows = [x for x in xs if isinstance(x, Row) and len(x.shape) == rank]
        if not rows:
            return tuple(range(rank))
        return max(rows, key=lambda x: math.prod(x.shape)).order

    def _aligned(self, x: Value, shape: Sequence[int], back: tuple[int, ...]) -> Tensor:
        """Return an operand with its axes in the order ``back`` of the result's axes."""
        plain = back == tuple(range(len(back)))
        if isinstance(x, Constant):
            if x.array.size == 1 and len(shape) > 0:
                return self._constant(x.array.reshape(()))
            if plain:
                return self._constant(np.ascontiguousarray(x.array))
            full = x.array.reshape((1,) * (len(shape) - x.array.ndim) + x.shape)
            return self._constant(np.ascontiguousarray(full.transpose(back)))
        if len(x.shape) < len(shape):
            if plain or math.prod(x.shape) == 1:
                return self.tensor(x)
            full_shape = (1,) * (len(shape) - len(x.shape)) + x.shape
            return self.builder.transpose(self._reshape(self.tensor(x), full_shape), back)
        axes = tuple(x.order[a] for a in back)
        return x.base if axes == tuple(range(len(axes))) else self.builder.transpose(x.base, axes)

    def wrap(self, x: Value) -> Value:
        """Bring narrow integers back into their range, modulo their number."""
        if x.dtype not in NARROW:
            return x
        low, high = NARROW[x.dtype]
        bits = (high - low + 1).bit_length() - 1
        if low == 0:
            return typed(self._map("and", [x, constant(high, x.dtype)], ""), x.dtype)
        by = constant(8 * ELEMENTS[STORED[x.dtype]].itemsize - bits, x.dtype)
        return typed(self._map("shr", [self._map("shl", [x, by], ""), by], ""), x.dtype)

    def cast(self, x: Value, dtype: str) -> Value:
        """Return the nearest elements of another type; narrow integers saturate as the others do."""
        if x.dtype == dtype:
            return x
        if STORED[x.dtype] == STORED[dtype] and dtype not in NARROW:
            return typed(x, dtype)
        if (dtype in NARROW and x.dtype not in NARROW) or (dtype in NARROW and x.dtype != dtype):
            low, high = NARROW[dtype]
            if STORED[x.dtype] != "bool":
                least, most = _range(STORED[x.dtype])
                x = self.map("max", x, max(low, least)) if low > least else x
                x = self.map("min", x, min(high, most)) if high < most else x
        if STORED[x.dtype] == STORED[dtype]:
            return typed(x, dtype)
        return self.map("cast", x, dtype=dtype)

    def select(self, condition: Value, x: Operand, y: Operand) -> Value:
        """Return x where the condition holds, else y."""
        return self.map("select", condition, x, y)

    # -- shapes --------------------------------------------------------------------------------------
    def _reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return a tensor in another shape; one that is itself a reshaped tensor is not read twice."""
        x = self._reshaped.get(x, x)
        if x.shape == tuple(shape):
            return x
        made = self.builder.reshape(x, shape)
        self._reshaped[made] = x
        return made

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Return a value in another shape of as many elements."""
        shape = guard(shape)
        if math.prod(shape) != math.prod(x.shape):
            raise RefusedError(f"{list(x.shape)} has no shape {list(shape)}")
        if x.shape == shape:
            return x
        if isinstance(x, Constant):
            return Constant(x.array.reshape(shape), x.dtype)
        moved = _same_order(x, shape)
        if moved is not None:
            base_shape, order = moved
            return Row(self._reshape(x.base, base_shape), order, x.dtype, x.inputs)
        return self.row(self._reshape(self.tensor(x), shape), x.dtype, x.inputs)


def empty(shape: Sequence[int], dtype: str) -> Constant:
    """Return a value without elements."""
    return constant(np.zeros(shape), dtype)


def typed(x: Value, dtype: str) -> Value:
    """Return a value under another type that is held the same."""
    if isinstance(x, Constant):
        return Constant(x.array, dtype)
    return Row(x.base, x.order, dtype, x.inputs)


def type_of(array: Array) -> str:
    """Return the name of an array's type."""
    return next(name for name, d in ELEMENTS.items() if d == array.dtype)


def _range(stored: str) -> tuple[float, float]:
    if stored == "f32":
        return -math.inf, math.inf
    info = np.iinfo(ELEMENTS[stored])
    return int(info.min), int(info.max)


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from 0. Raises RefusedError if there is none."""
    if not -rank <= axis < rank:
        raise RefusedError(f"a value with {rank} axes has no axis {axis}")
    return axis % rank


def _same_order(x: Row, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the shape of the tensor, and the order, where only axes of length 1 come or go."""
    if [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
        return None
    if x.order == tuple(range(len(x.order))):
        return shape, tuple(range(len(shape)))
    long = [a for a, n in zip(x.order, x.shape, strict=True) if n != 1]
    inner = sorted(long)
    ones = [i for i, n in enumerate(shape) if n == 1]
    at = {a: len(ones) + inner.index(a) for a in long}
    following = iter(long)
    order = tuple(ones.index(i) if n == 1 else at[next(following)] for i, n in enumerate(shape))
    base_shape = (*(1 for _ in ones), *(x.base.shape[a] for a in inner))
    return base_shape, order
