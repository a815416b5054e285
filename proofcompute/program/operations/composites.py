"""Define composites that every backend runs as their expansions (docs/spec/programs.md#operations)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.program.operations.base import Planned, f32_axis, need
from proofcompute.program.operations.expanding import Sketch
from proofcompute.program.operations.moving import View, contiguous, reshape
from proofcompute.program.operations.reducing import Reduce
from proofcompute.program.types import Expansion, Spec, WeightSpec

__all__ = ["Expanded", "Pool", "Silu", "Softmax"]


@dataclass(frozen=True)
class Expanded(Planned):
    """Defaults for a composite that no backend has: a plan holds its expansion."""

    native = False


@dataclass(frozen=True)
class Silu(Expanded):
    """Compute x / (1 + exp(-x))."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        f32_axis(ins, "silu")
        return (ins[0],)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        falling = s.map("exp", s.map("neg", "in.0"))
        return s.end(s.map("div", "in.0", s.map("add", s.number(1), falling)))


@dataclass(frozen=True)
class Softmax(Expanded):
    """Compute exp(x - max) / tree(exp(x - max)) along one axis."""

    axis: int

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 in, the same out."""
        f32_axis(ins, "softmax")
        need(0 <= self.axis < len(ins[0].shape), f"softmax: no axis {self.axis}")
        return (ins[0],)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s, shape = Sketch(), list(ins[0].shape)
        shape[self.axis] = 1
        most = s(reshape(shape), s(Reduce("max", (self.axis,)), "in.0"))
        e = s.map("exp", s.map("sub", "in.0", most))
        return s.end(s.map("div", e, s(reshape(shape), s(Reduce("sum", (self.axis,)), e))))


@dataclass(frozen=True)
class Pool(Expanded):
    """Reduce windows over the first axes of a row; its last axes are those of each place.

    Windows may reach over the ends by ``pads`` elements. What lies outside counts neither for a maximum nor
    for a mean, and every window must hold an element of the row.
    """

    kind: str
    """``max``, ``sum`` or ``mean``: the sum, divided by the number of elements of the row in the window."""
    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    """Elements outside at both ends of each axis; fewer than the window has."""

    def _places(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of windows along each axis."""
        axes = zip(shape, self.size, self.strides, self.pads, strict=False)
        return tuple((n + 2 * pad - k) // by + 1 for n, k, by, pad in axes)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 [places ..., rest ...] in, the same with other places out."""
        f32_axis(ins, "pool")
        shape, count = ins[0].shape, len(self.size)
        need(self.kind in ("max", "sum", "mean"), f"pool: no kind {self.kind!r}")
        need(
            1 <= count <= len(shape) and count == len(self.strides) == len(self.pads),
            "pool: a size, a stride and a margin for each axis",
        )
        axes = list(zip(self.size, self.strides, self.pads, strict=True))
        need(all(k >= 1 and by >= 1 and 0 <= pad < k for k, by, pad in axes), "pool: windows")
        places = self._places(shape)
        need(min(places) >= 1, "pool: windows larger than the row")
        padded = Spec("f32", (*(n + 2 * p for n, p in zip(shape, self.pads, strict=False)), *shape[count:]))
        Spec("f32", (*places, *self.size, *padded.shape[count:]))  # LimitError if the windows are too large
        return (Spec("f32", (*places, *shape[count:])),)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s, shape, count = Sketch(), ins[0].shape, len(self.size)
        places, axes = self._places(shape), tuple(range(count, 2 * count))
        fill = 0xFF800000 if self.kind == "max" else 0

        def windows(x: str, inner: tuple[int, ...], strides: tuple[int, ...]) -> str:
            """Return the windows of a row [places ..., *inner], with a margin."""
            rank = len(inner)
            low = (*self.pads, *(0,) * rank)
            whole = (*shape[:count], *inner)
            if any(self.pads):
                offset = -sum(p * st for p, st in zip(self.pads, strides, strict=False))
                high = tuple(a + n for a, n in zip(low, whole, strict=True))
                whole = tuple(a + n for a, n in zip(low, high, strict=True))
                x = s(View(whole, strides, offset, low, high, fill), x)
                strides = contiguous(whole)
            by = tuple(st * b for st, b in zip(strides, self.strides, strict=False))
            return s(View((*places, *self.size, *inner), (*by, *strides[:count], *strides[count:])), x)

        seen = windows("in.0", shape[count:], contiguous(shape))
        result = s(Reduce("max" if self.kind == "max" else "sum", axes), seen)
        if self.kind == "mean":
            ones = s(Reduce("sum", axes), windows(s.number(1), (), (0,) * count))
            by_place = s(reshape((*places, *(1,) * (len(shape) - count))), ones)
            result = s.map("div", result, by_place)
        return s.end(result)
