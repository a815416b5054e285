"""Define how a row chooses experts, and the sum of what they make of it (docs/spec/programs.md#route)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Routing
from proofcompute.arrays import F32, Array, Span
from proofcompute.program.operations.base import Pointwise, f32_rows, need, vector
from proofcompute.program.operations.expanding import Sketch
from proofcompute.program.operations.mapping import Map
from proofcompute.program.operations.moving import Take, View, reshape
from proofcompute.program.operations.reducing import Order, Reduce
from proofcompute.program.source import Source
from proofcompute.program.types import Expansion, Reads, Spec, WeightSpec

__all__ = ["Mix", "Route"]

_LEAST: Final = np.float32(-np.inf)


@dataclass(frozen=True)
class Route(Pointwise):
    """Choose the experts of the largest scores, and their shares, from the logits of a router.

    Of equal scores the first is chosen. An expert outside the chosen groups is not chosen.
    """

    top_k: int
    """The number of experts that a row uses."""
    score: str = "softmax"
    """``softmax`` of all logits, ``sigmoid``, or ``chosen``: softmax of the chosen logits, which are chosen
    themselves."""
    normalise: int = 0
    """1: the chosen scores are divided by their sum."""
    groups: int = 1
    """Groups of equally many experts, one after the other."""
    top_groups: int = 1
    """Groups from which experts may be chosen: those of the largest values."""
    best: int = 1
    """The value of a group is its largest score, or with 2 the sum of its two largest."""
    correction: str = ""
    """Name of a weight vector [experts] that is added to the scores for the choice only; may be empty."""

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 logits [experts] in; int32 [top_k] and float32 [top_k] out."""
        experts = f32_rows(ins, "route")
        need(self.score in ("softmax", "sigmoid", "chosen"), f"route: no score {self.score!r}")
        need(self.normalise in (0, 1) and self.best in (1, 2), "route: normalise is 0 or 1, best 1 or 2")
        fits = 1 <= self.top_groups <= self.groups <= experts and experts % self.groups == 0
        need(fits, f"route: {self.top_groups} of {self.groups} groups of {experts} experts")
        need(1 <= self.top_k <= self.top_groups * (experts // self.groups), f"route: {self.top_k} experts")
        if self.correction:
            vector(weights, self.correction, experts)
        return Spec("i32", (self.top_k,)), Spec("f32", (self.top_k,))

    def weights(self) -> Sequence[str]:
        """Return the correction, if there is one."""
        return (self.correction,) if self.correction else ()

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the experts times the choices, and times the steps for a score."""
        return ins[0].size * (self.top_k + self.top_groups + 8)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of scores, of what the choice is made by, and of positions of 64 bits."""
        return 40 * ins[0].size

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s, experts = Sketch(), ins[0].size
        scores = "in.0"
        if self.score == "softmax":
            scores = _softmax(s, scores)
        elif self.score == "sigmoid":
            one = s.number(1)
            scores = s.map("div", one, s.map("add", one, s.map("exp", s.map("neg", scores))))
        choice = s.map("add", scores, s.weight(self.correction)) if self.correction else scores
        if self.top_groups < self.groups:
            choice = self._of_best_groups(s, choice, experts)
        numbers = s(View((self.top_k,), (1,)), s(Order(0), s.map("neg", choice)))
        shares = s(Take(), scores, numbers)
        if self.score == "chosen":
            shares = _softmax(s, shares)
        if self.normalise:
            shares = s.map("div", shares, s(Reduce("sum", (0,)), shares))
        return s.end(numbers, shares)

    def _of_best_groups(self, s: Sketch, choice: str, experts: int) -> str:
        """Replace the scores of experts outside the best groups by minus infinity."""
        column, each = reshape((self.groups, 1)), experts // self.groups
        grouped = s(reshape((self.groups, each)), choice)
        nothing, value = s.number(_LEAST), s(Reduce("max", (1,)), grouped)
        if self.best == 2:
            first = s(column, s(Reduce("argmax", (1,)), grouped))
            places = s(Order(0), s(View((each,), (0,)), s.number(0)))  # 0, 1, 2, ..., as all are equal
            others = s.map("select", s.map("eq", places, first), nothing, grouped)
            value = s.map("add", value, s(Reduce("max", (1,)), others))
        # the order of an order holds the rank of each group
        rank = s(column, s(Order(0), s(Order(0), s.map("neg", value))))
        best = s.map("lt", rank, s(Map("constant", "i32", self.top_groups)))
        return s(reshape((experts,)), s.map("select", best, grouped, nothing))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        how = Routing(self.top_k, self.score, bool(self.normalise), self.groups, self.top_groups, self.best)
        correction = src.weights.constant(self.correction) if self.correction else None
        return k.route(ins[0], how, correction)


def _softmax(s: Sketch, x: str) -> str:
    e = s.map("exp", s.map("sub", x, s(Reduce("max", (0,)), x)))
    return s.map("div", e, s(Reduce("sum", (0,)), e))


@dataclass(frozen=True)
class Mix(Pointwise):
    """Add rows up, each times its share."""

    def reads(self) -> Sequence[Reads]:
        """Return that rows and shares are read row by row."""
        return (Reads.SAME, Reads.SAME)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: float32 [k, d] and [k] in, [d] out."""
        need(
            len(ins) == 2 and all(spec.dtype == "f32" for spec in ins) and len(ins[0].shape) == 2,
            "mix: needs float32 rows and their shares",
        )
        need(ins[1].shape == ins[0].shape[:1] and ins[0].shape[0] >= 1, "mix: needs a share for each row")
        return (Spec("f32", ins[0].shape[1:]),)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        s = Sketch()
        weighted = s.map("mul", "in.0", s(reshape((ins[0].shape[0], 1)), "in.1"))
        return s.end(s(Reduce("sum", (0,)), weighted))

    def run(self, ins: Sequence[F32], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run the operation; see the class."""
        return (k.mix(ins[0], ins[1]),)
