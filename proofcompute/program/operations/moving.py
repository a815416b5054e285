"""Define operations that move elements of a row: views, joins, look-ups and updates
(docs/spec/primitives.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from proofcompute.arithmetic import primitives
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import check_view, infer_put
from proofcompute.arrays import Array, Span
from proofcompute.limits import MAX_OPERANDS
from proofcompute.program.operations.base import Pointwise, need
from proofcompute.program.operations.through import Seen
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Runs, Spec, Step, WeightSpec

__all__ = ["Concat", "Put", "Split", "Take", "View", "contiguous", "reshape"]


@dataclass(frozen=True)
class View(Pointwise):
    """Read a row in another order, as :class:`proofcompute.arithmetic.primitives.View` says."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    low: tuple[int, ...] = ()
    """First index of each axis that lies inside the row; empty for 0 everywhere."""
    high: tuple[int, ...] = ()
    """First index of each axis that lies outside again; empty for the whole axes."""
    fill: int = 0
    """Bit pattern of the elements outside."""

    broadcasts = True

    @cached_property
    def view(self) -> primitives.View:
        """The view, with its bounds written out."""
        low, high = self.low or (0,) * len(self.shape), self.high or self.shape
        return primitives.View(self.shape, self.strides, self.offset, low, high, self.fill)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: any row in; the shape out. The elements read must all lie in the row."""
        need(len(ins) == 1, "view: needs one input")
        out = Spec(ins[0].dtype, self.shape)
        check_view(self.view, out.dtype, ins[0].size)
        return (out,)

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return the view, with the size of the row that it reads."""
        return Seen(self.view, ins[0].size)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.view(ins[0], self.view),)


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a C-contiguous row, in elements."""
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= n
    return tuple(reversed(out))


def reshape(shape: Sequence[int]) -> View:
    """Return the view of a row in another shape of as many elements."""
    return View(tuple(shape), contiguous(shape))


@dataclass(frozen=True)
class Split(Pointwise):
    """Cut a row into consecutive pieces along its last axis."""

    widths: tuple[int, ...]

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: one float32 row in, one for each width out."""
        need(len(ins) == 1 and ins[0].dtype == "f32" and len(ins[0].shape) == 1, "split: needs a float32 row")
        (width,) = ins[0].shape
        need(
            all(w > 0 for w in self.widths) and sum(self.widths) == width, f"split of {width}: {self.widths}"
        )
        return tuple(Spec("f32", (w,)) for w in self.widths)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        x, a, parts = ins[0], 0, []
        for width in self.widths:
            parts.append(k.slice_columns(x, a, a + width))
            a += width
        return parts


@dataclass(frozen=True)
class Concat(Pointwise):
    """Put rows of one type one after the other along an axis."""

    axis: int
    count: int
    """Number of inputs."""

    broadcasts = True

    def __post_init__(self) -> None:
        need(1 <= self.count <= MAX_OPERANDS, f"concat: {self.count} inputs")

    def reads(self) -> Sequence[Reads]:
        """Return that every input is read row by row."""
        return (Reads.SAME,) * self.count

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: rows that differ in one axis at most in, one row out."""
        need(len(ins) == self.count, "concat: needs as many inputs as it says")
        first = ins[0]
        need(0 <= self.axis < len(first.shape), f"concat: no axis {self.axis}")

        def rest(s: Spec) -> tuple[str, tuple[int, ...]]:
            return s.dtype, (*s.shape[: self.axis], *s.shape[self.axis + 1 :])

        need(
            all(len(s.shape) == len(first.shape) and rest(s) == rest(first) for s in ins),
            "concat: rows differ in type or in another axis",
        )
        length = sum(s.shape[self.axis] for s in ins)
        return (Spec(first.dtype, (*first.shape[: self.axis], length, *first.shape[self.axis + 1 :])),)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.join(ins, self.axis),)


@dataclass(frozen=True)
class Take(Pointwise):
    """Look up entries of the first axis of a row by integers; one outside the axis is an error."""

    broadcasts = True

    def reads(self) -> Sequence[Reads]:
        """Return that the table and the numbers are read row by row."""
        return (Reads.SAME, Reads.SAME)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: [d, ...] and integers [...] in; the integers' shape and the entries' out."""
        need(len(ins) == 2 and len(ins[0].shape) >= 1, "take: needs entries and numbers")
        need(ins[1].dtype in ("i32", "i64"), "take: numbers are int32 or int64")
        return (Spec(ins[0].dtype, (*ins[1].shape, *ins[0].shape[1:])),)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of numbers of 64 bits."""
        return 8 * ins[1].size

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.take(ins[0], ins[1]),)


@dataclass(frozen=True)
class Put(Pointwise):
    """Update entries of the first axis of a row, in the order of the numbers."""

    how: str
    """``none`` (the last value wins), ``add``, ``mul``, ``max`` or ``min``."""

    broadcasts = True

    def reads(self) -> Sequence[Reads]:
        """Return that entries, numbers and values are read row by row."""
        return (Reads.SAME,) * 3

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: [d, ...], integers [...] and values of Take's shape in; [d, ...] out."""
        need(len(ins) == 3 and len(ins[0].shape) >= 1, "put: needs entries, numbers and values")
        need(ins[1].dtype in ("i32", "i64"), "put: numbers are int32 or int64")
        infer_put(self.how, ins[0].dtype)
        fits = Spec(ins[0].dtype, (*ins[1].shape, *ins[0].shape[1:]))
        need(ins[2] == fits, "put: values do not fit entries and numbers")
        return (ins[0],)

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the elements of entries and values, each value's with the time of one after the other."""
        return ins[0].size + (ins[2].size << (10 if self.how == "none" else 14))

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of numbers of 64 bits."""
        return 8 * ins[1].size

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.put(ins[0], ins[1], ins[2], self.how),)
