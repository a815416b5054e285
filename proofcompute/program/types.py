"""Define the parts of programs: types of rows, weights, operations, segments, and steps of the interpreter.

A program is a list of **segments**; a segment is a list of operation applications (:class:`Node`). Every
tensor has a leading row axis (token positions of a language model, samples otherwise); a :class:`Spec`
describes one row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.product import Site
from proofcompute.limits import KIB, MAX_NAME, MAX_RANK, MAX_WIDTH

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.arrays import Array, Span

__all__ = [
    "CONSTANT_LEAF",
    "Body",
    "Committed",
    "Expansion",
    "LeafField",
    "Node",
    "Op",
    "Reads",
    "Runs",
    "Segment",
    "Spec",
    "Step",
    "WeightSpec",
    "check_name",
]

CONSTANT_LEAF = 64 * KIB
"""Bytes of a leaf of a larger constant; zeros fill its last leaf."""


class Reads(Enum):
    """The ways in which rows of an operation's output depend on rows of one of its inputs."""

    SAME = "same"
    """Row t depends on row t."""
    PREFIX = "prefix"
    """Row t depends on rows 0..t."""
    ALL = "all"
    """Row t depends on all rows."""


@dataclass(frozen=True)
class Spec:
    """The type of one row of a tensor."""

    dtype: str
    """One of :data:`~proofcompute.arithmetic.primitives.ELEMENTS`."""
    shape: tuple[int, ...]
    """Shape of one row; ``()`` for a scalar."""

    def __post_init__(self) -> None:
        if self.dtype not in ELEMENTS:
            raise FormatError(f"element type {self.dtype!r} is none of {', '.join(ELEMENTS)}")
        _check_shape("row", self.shape)

    @cached_property
    def size(self) -> int:
        """The number of elements of one row."""
        return math.prod(self.shape)

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy element type, little-endian."""
        return ELEMENTS[self.dtype]

    @cached_property
    def nbytes(self) -> int:
        """The size of one row in bytes."""
        return self.size * self.numpy.itemsize


def _check_shape(what: str, shape: tuple[int, ...]) -> None:
    """Raise LimitError unless no axis is empty and neither axes nor elements are too many."""
    size = 1
    for n in shape[:MAX_RANK]:
        size = min(size * n, MAX_WIDTH + 1) if n >= 1 else MAX_WIDTH + 1
    if len(shape) > MAX_RANK or size > MAX_WIDTH:
        raise LimitError(
            f"{what} shape {shape[:MAX_RANK]} is empty, larger than {MAX_WIDTH} elements or has more than "
            f"{MAX_RANK} axes"
        )


@dataclass(frozen=True)
class WeightSpec:
    """A weight that operations name. Its root is part of the model id."""

    name: str
    kind: str
    """``matrix`` (int8 rows, one float32 scale each, also readable as a table), or ``constant`` (an array
    that every key holds)."""
    shape: tuple[int, ...]
    """Output channels and contraction length of a matrix, with the number of groups (experts) before them
    where there are groups; the shape of a constant."""
    dtype: str = "i8"
    """``i8`` for a matrix; the element type of a constant."""
    limbs: int = 1
    """Limbs of a matrix's elements, 1 or 2."""
    bias: bool = False
    """Whether each row of a matrix carries a float32 bias."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in ("matrix", "constant") or self.dtype not in ELEMENTS:
            raise FormatError(
                f"weight {self.name}: {self.kind!r} of {self.dtype!r} is neither a matrix nor a constant"
            )
        if self.kind == "constant":
            _check_shape(f"constant {self.name}:", self.shape)
            if self.limbs != 1 or self.bias:
                raise FormatError(f"weight {self.name}: a constant has one limb and no bias")
            return
        if len(self.shape) not in (2, 3) or self.dtype != "i8":
            raise FormatError(f"weight {self.name}: a matrix has int8 elements, and 2 axes or 3 with groups")
        good = all(1 <= n <= MAX_WIDTH for n in self.shape) and self.rows <= MAX_WIDTH
        if not good or self.limbs not in (1, 2):
            raise LimitError(f"weight {self.name}: shape {self.shape}, {self.limbs} limbs")

    @property
    def groups(self) -> int:
        """The number of matrices that share one shape; 1 for a single one."""
        return self.shape[0] if self.kind == "matrix" and len(self.shape) == 3 else 1

    @property
    def m(self) -> int:
        """Output channels of a matrix, or of each of its groups."""
        return self.shape[-2]

    @property
    def width(self) -> int:
        """Contraction length of a matrix."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """The number of leaves: output channels of all groups of a matrix; pieces of a constant."""
        if self.kind == "constant":
            return -(-self.nbytes // CONSTANT_LEAF)
        return self.groups * self.m

    @property
    def nbytes(self) -> int:
        """The size in bytes, without what fills the last leaf of a constant."""
        if self.kind == "constant":
            return math.prod(self.shape) * ELEMENTS[self.dtype].itemsize
        return self.rows * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """The size of one leaf: the limbs of a row, its scale and its bias, or a piece of a constant."""
        if self.kind == "constant":
            return min(self.nbytes, CONSTANT_LEAF)
        return self.limbs * self.width + 4 + 4 * self.bias


class Op(Protocol):
    """An operation: a frozen dataclass of attributes (integers, strings, tuples of integers).

    It is a primitive, or a composite that is defined by its expansion into others.
    """

    settled: ClassVar[bool]
    """Whether float outputs are finite and without -0 by construction."""
    native: ClassVar[bool]
    """Whether backends run the operation as it is; else a plan holds its expansion."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Return the types of the outputs. Raises FormatError if inputs, attributes or weights do not fit."""
        ...

    def reads(self) -> Sequence[Reads]:
        """Return how output rows depend on each input."""
        ...

    def weights(self) -> Sequence[str]:
        """Return the names of the weights that are used."""
        ...

    def sites(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return the matrix products that this operation makes, in order."""
        ...

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return how many elements are made for each row, apart from those of products with weights."""
        ...

    def each_position(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return how many numbers are multiplied for each row of an input of which many rows are read."""
        ...

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes that running takes for each row, besides inputs, outputs and products."""
        ...

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return what defines a composite, given inputs that it fits; None for a primitive."""
        ...

    def body(self, ins: Sequence[Spec]) -> Body | None:
        """Return what a loop repeats; None for any other operation."""
        ...

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return what a plan runs, with the types looked up. ``steps`` are those of a loop's body."""
        ...

    def table(self) -> str | None:
        """Return the weight whose rows the first input looks up, if any."""
        ...

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return which inputs are indices: their positions, and the limit that each index must be below."""
        ...

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Any, k: Kernels) -> Sequence[Array]:
        """Execute on concatenated rows.

        An input that is read as PREFIX or ALL is a list with an array of rows 0..b, or of all rows, for each
        span.
        """
        ...


class Body(NamedTuple):
    """What a loop repeats."""

    times: int
    """Number of steps, at least 1."""
    nodes: tuple[Node, ...]
    """Operations of a step; they read ``in.0``, ``in.1``, ... and each other's outputs."""
    inputs: Mapping[str, Spec]
    """Types of the inputs of a step, by name."""


class Expansion(NamedTuple):
    """Operations that together define a composite."""

    nodes: tuple[Node, ...]
    """Applications in order; they read the composite's inputs by the names ``in.0``, ``in.1``, ... and each
    other's outputs."""
    outputs: tuple[str, ...]
    """The names of the composite's outputs."""


@dataclass(frozen=True)
class Node:
    """One application of an operation."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """Operations between two cuts, in execution order."""

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Committed:
    """Tensors of one segment that are committed together; a leaf is the concatenation of their rows."""

    name: str
    tensors: tuple[str, ...]


class LeafField(NamedTuple):
    """The place of one tensor's row in a leaf of its group."""

    tensor: str
    a: int
    """Its first byte."""
    b: int
    """The first byte after it."""
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Runs(Protocol):
    """The part of an operation that the interpreter needs."""

    @property
    def broadcasts(self) -> bool:
        """Whether an input that is the same for all rows may be given once, with a leading axis of 1.

        The result has one too if all inputs do.
        """
        ...

    @property
    def products(self) -> bool:
        """Whether products with weights are made."""
        ...

    @property
    def captured(self) -> bool:
        """Whether a device may record what is done and repeat it for other rows of as many.

        It may not if what is done depends on values, or on row numbers, that are on the host.
        """
        ...

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Any, k: Kernels) -> Sequence[Array]:
        """Execute on concatenated rows.

        An input that is read as PREFIX or ALL is a list with an array of rows 0..b, or of all rows, for each
        span.
        """
        ...


class Step(NamedTuple):
    """One node, with the facts that the interpreter needs looked up once."""

    name: str
    """Segment and node, for errors."""
    op: Runs
    inputs: tuple[tuple[str, Reads], ...]
    """For each input, its name, and which of its rows are read."""
    outputs: tuple[tuple[str, bool, bool], ...]
    """For each output, its name, whether it is committed or emitted, and whether it is settled first."""


def check_name(name: str) -> None:
    """Raise FormatError unless ``name`` is short, printable and not empty."""
    if not name or len(name.encode()) > MAX_NAME or not name.isprintable():
        raise FormatError(f"name {name[:40]!r} is empty, unprintable or longer than {MAX_NAME} bytes")
