"""Define recurrent layers over the steps of a row, as products and a loop
(docs/spec/programs.md#recurrent-layers).

The product of the inputs is one for all steps, each with a scale of its own; the recurrent product is made in
each step. An audit checks all of them by hints, and computes the rest again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.program.operations.base import f32_axis, matrix, need
from proofcompute.program.operations.composites import Expanded
from proofcompute.program.operations.expanding import Sketch
from proofcompute.program.operations.linear import Linear
from proofcompute.program.operations.moving import View
from proofcompute.program.operations.scan import Scan
from proofcompute.program.types import Expansion, Reads, Spec, WeightSpec

__all__ = ["Gru", "Lstm"]


@dataclass(frozen=True)
class _Recurrent(Expanded):
    """What both kinds of layers share: two matrices and how their rows are quantised."""

    weight: str
    """Matrix of the inputs, [gates h, d]."""
    recurrent: str
    """Matrix of the last output, [gates h, h]."""
    limbs: int
    """Limbs of inputs and outputs, 1 or 2."""

    def weights(self) -> Sequence[str]:
        """Return the matrices."""
        return (self.weight, self.recurrent)

    def _infer(
        self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec], what: str, gates: int, states: int
    ) -> Sequence[Spec]:
        """Infer types: x [steps, d] and states [h] in, outputs [steps, h] and the states out."""
        need(len(ins) == 1 + states, f"{what}: needs rows of steps and {states} states")
        f32_axis(ins[:1], what)
        need(len(ins[0].shape) == 2, f"{what}: needs steps of one axis each")
        need(self.limbs in (1, 2), f"{what}: {self.limbs} limbs")
        w, r = matrix(weights, self.weight), matrix(weights, self.recurrent)
        need(len(w.shape) == len(r.shape) == 2, f"{what}: matrices without groups")
        steps, d = ins[0].shape
        h = r.width
        need((w.m, w.width) == (gates * h, d) and r.m == gates * h, f"{what}: matrices do not fit")
        need(all(s == Spec("f32", (h,)) for s in ins[1:]), f"{what}: states are float32 rows of {h}")
        return (Spec("f32", (steps, h)), *ins[1:])

    def _loop(self, s: Sketch, count: int, states: int, step: Sketch, following: Sequence[str]) -> Expansion:
        """Return the input product and the loop whose body is ``step``; the first state is the output."""
        made = s(Linear(self.weight, self.limbs), "in.0")
        body = step.end(*following, following[0])
        loop = Scan(count, states, 1, 0, body.nodes, body.outputs)
        *last, outputs = s.several(loop, (*(f"in.{1 + i}" for i in range(states)), made), states + 1)
        return s.end(outputs, *last)


def _sigmoid(s: Sketch, x: str) -> str:
    """Return 1 / (1 + exp(-x))."""
    one = s.number(1)
    return s.map("div", one, s.map("add", one, s.map("exp", s.map("neg", x))))


@dataclass(frozen=True)
class Lstm(_Recurrent):
    """Run a long short-term memory over the steps of a row; gates are input, forget, cell, output.

    z = W x_t + R h; c = sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c). The inputs are x
    [steps, d], h and c before the first step; the outputs are h of all steps, and the last h and c.
    """

    def reads(self) -> Sequence[Reads]:
        """Return that all inputs are read row by row."""
        return (Reads.SAME,) * 3

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: x and two states in, the outputs and the states out."""
        return self._infer(ins, weights, "lstm", 4, 2)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        h, step = weights[self.recurrent].width, Sketch()
        z = step.map("add", "in.2", step(Linear(self.recurrent, self.limbs), "in.0"))
        i, f, g, o = (step(View((h,), (1,), n * h), z) for n in range(4))
        kept = step.map("mul", _sigmoid(step, f), "in.1")
        c = step.map("add", kept, step.map("mul", _sigmoid(step, i), step.map("tanh", g)))
        out = step.map("mul", _sigmoid(step, o), step.map("tanh", c))
        return self._loop(Sketch(), ins[0].shape[0], 2, step, (out, c))


@dataclass(frozen=True)
class Gru(_Recurrent):
    """Run a gated recurrent unit over the steps of a row; gates are reset, update, new.

    With a = W x_t and b = R h, in thirds: r = sigmoid(a_r + b_r); u = sigmoid(a_u + b_u);
    n = tanh(a_n + r b_n); h = (1 - u) n + u h. The inputs are x [steps, d] and h before the first step; the
    outputs are h of all steps, and the last h.
    """

    def reads(self) -> Sequence[Reads]:
        """Return that both inputs are read row by row."""
        return (Reads.SAME,) * 2

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types: x and a state in, the outputs and the state out."""
        return self._infer(ins, weights, "gru", 3, 1)

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return the definition."""
        h, step = weights[self.recurrent].width, Sketch()
        product = step(Linear(self.recurrent, self.limbs), "in.0")
        (ar, br), (au, bu), (an, bn) = (
            [step(View((h,), (1,), n * h), x) for x in ("in.1", product)] for n in range(3)
        )
        r, u = (_sigmoid(step, step.map("add", a, b)) for a, b in ((ar, br), (au, bu)))
        n = step.map("tanh", step.map("add", an, step.map("mul", r, bn)))
        fresh = step.map("mul", step.map("sub", step.number(1), u), n)
        out = step.map("add", fresh, step.map("mul", u, "in.0"))
        return self._loop(Sketch(), ins[0].shape[0], 1, step, (out,))
