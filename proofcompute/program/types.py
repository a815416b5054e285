"""Define the parts of programs: types of rows, weights, operations, segments, and a plan for each segment.

A program is a list of **segments**; a segment is a list of operation applications (:class:`Node`). Every
tensor has a leading row axis (token positions of a language model, samples otherwise); a :class:`Spec`
describes one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.product import Site
from proofcompute.limits import MAX_CELL_MEMORY, MAX_CELL_ROWS, MAX_NAME, MAX_WIDTH

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.arrays import Array, Span

__all__ = [
    "DTYPES",
    "Committed",
    "LeafField",
    "Node",
    "Op",
    "Reads",
    "Runs",
    "Segment",
    "SegmentPlan",
    "Spec",
    "Step",
    "WeightSpec",
    "cached_per_plan",
    "check_name",
]

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype("<f4"),
    "i8": np.dtype("i1"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
}
"""The names of element types and their little-endian encodings."""


class Reads(Enum):
    """The ways in which rows of an operation's output depend on rows of one of its inputs."""

    SAME = "same"
    """Row t depends on row t."""
    PREFIX = "prefix"
    """Row t depends on rows 0..t."""


@dataclass(frozen=True)
class Spec:
    """The type of one row of a tensor."""

    dtype: str
    """``f32``, ``i8``, ``i32`` or ``i64``."""
    shape: tuple[int, ...]
    """Shape of one row; ``()`` for a scalar."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise FormatError(f"element type {self.dtype!r} is none of {', '.join(DTYPES)}")
        if len(self.shape) > 3 or any(n < 1 for n in self.shape) or self.size > MAX_WIDTH:
            raise LimitError(f"row shape {self.shape} is empty or larger than {MAX_WIDTH} elements")

    @cached_property
    def size(self) -> int:
        """The number of elements of one row."""
        return math.prod(self.shape)

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy element type, little-endian."""
        return DTYPES[self.dtype]

    @cached_property
    def nbytes(self) -> int:
        """The size of one row in bytes."""
        return self.size * self.numpy.itemsize


@dataclass(frozen=True)
class WeightSpec:
    """A weight tensor that operations name. Its root is part of the model id."""

    name: str
    kind: str
    """``matrix`` (int8 rows, one float32 scale each, also readable as a table) or ``vector`` (float32)."""
    rows: int
    """Output channels of a matrix (its leaves); 1 for a vector."""
    width: int
    """Contraction length of a matrix; length of a vector."""
    limbs: int = 1
    """Limbs of a matrix's elements, 1 or 2."""
    bias: bool = False
    """Whether each row of a matrix carries a float32 bias."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in ("matrix", "vector"):
            raise FormatError(f"weight {self.name}: kind {self.kind!r} is neither matrix nor vector")
        if not (1 <= self.rows <= MAX_WIDTH and 1 <= self.width <= MAX_WIDTH and self.limbs in (1, 2)):
            raise LimitError(f"weight {self.name}: {self.rows} rows of {self.width}, {self.limbs} limbs")
        if self.kind == "vector" and (self.rows != 1 or self.limbs != 1 or self.bias):
            raise FormatError(f"weight {self.name}: a vector has one row, one limb and no bias")

    @property
    def row_bytes(self) -> int:
        """The size of one leaf in bytes: the limbs of a row, its scale and its bias, or the whole vector."""
        if self.kind == "vector":
            return 4 * self.width
        return self.limbs * self.width + 4 + 4 * self.bias


class Op(Protocol):
    """An operation: a frozen dataclass of attributes (integers, strings, tuples of integers)."""

    settled: ClassVar[bool]
    """Whether float outputs are finite and without -0 by construction."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Return the types of the outputs. Raises FormatError if inputs, attributes or weights do not fit."""
        ...

    def reads(self) -> Sequence[Reads]:
        """Return how output rows depend on each input."""
        ...

    def sites(self, weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return the matrix products that this operation makes, in order."""
        ...

    def table(self) -> str | None:
        """Return the weight whose rows the first input looks up, if any."""
        ...

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return which inputs are indices: their positions, and the limit that each index must be below."""
        ...

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Any, k: Kernels) -> Sequence[Array]:
        """Execute on concatenated rows; a PREFIX input is a list with one array of rows 0..b per span."""
        ...


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

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Any, k: Kernels) -> Sequence[Array]:
        """Execute on concatenated rows; a PREFIX input is a list with one array of rows 0..b per span."""
        ...


class Step(NamedTuple):
    """One node, with the facts that the interpreter needs looked up once."""

    name: str
    """Segment and node, for errors."""
    op: Runs
    inputs: tuple[tuple[str, bool], ...]
    """For each input, its name, and whether a prefix is read."""
    outputs: tuple[tuple[str, bool, bool], ...]
    """For each output, its name, whether it is committed or emitted, and whether it is settled first."""


@dataclass(frozen=True, eq=False)
class SegmentPlan:
    """The facts that follow from a program about one of its segments."""

    index: int
    name: str
    reads: tuple[tuple[str, Reads], ...]
    """Committed tensors read from outside, or of this segment's own earlier rows; PREFIX wins over SAME."""
    writes: tuple[str, ...]
    """Committed tensors produced."""
    emits: tuple[str, ...]
    """Public outputs produced."""
    groups: tuple[tuple[int, bool], ...]
    """The committed groups that are read or written, in program order, and whether from row 0 on (PREFIX)."""
    sites: tuple[Site, ...]
    """Products, in execution order."""
    tables: tuple[tuple[str, str], ...]
    """(weight, public tensor of row indices) for each table lookup."""
    steps: tuple[Step, ...]
    """The steps of the interpreter, in order."""
    row_memory: int
    """Bytes that are alive at once for each row of a cell."""
    known: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What functions found out about the plan (:func:`cached_per_plan`)."""

    @property
    def cell_rows(self) -> int:
        """The most rows of a cell."""
        return min(MAX_CELL_ROWS, MAX_CELL_MEMORY // max(1, self.row_memory))


_T = TypeVar("_T")


def cached_per_plan(f: Callable[[SegmentPlan], _T]) -> Callable[[SegmentPlan], _T]:
    """Decorate ``f`` so that it is called once for each plan. A result is kept as long as its plan."""

    @wraps(f)
    def found(plan: SegmentPlan) -> _T:
        if f not in plan.known:
            plan.known[f] = f(plan)
        return cast(_T, plan.known[f])

    return found


def check_name(name: str) -> None:
    """Raise FormatError unless ``name`` is short, printable and not empty."""
    if not name or len(name.encode()) > MAX_NAME or not name.isprintable():
        raise FormatError(f"name {name[:40]!r} is empty, unprintable or longer than {MAX_NAME} bytes")
