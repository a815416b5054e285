"""Define loops of a fixed number of steps inside a row: recurrent networks over a sequence
(docs/spec/primitives.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofcompute.arithmetic import primitives
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.limits import MAX_OPERANDS, MAX_SCAN
from proofcompute.program.liveness import last_uses
from proofcompute.program.lowering import infer_body
from proofcompute.program.operations.base import Planned, need
from proofcompute.program.operations.elementwise import repeated
from proofcompute.program.operations.fused import fuse
from proofcompute.program.operations.moving import contiguous
from proofcompute.program.source import Source
from proofcompute.program.types import Body, Node, Reads, Runs, Spec, Step, WeightSpec

__all__ = ["Loop", "Scan"]


@dataclass(frozen=True)
class Scan(Planned):
    """Run a body ``count`` times.

    The inputs are the initial values that the body carries, then rows [count, ...] of which step t sees entry
    t, then rows that every step sees whole. The body reads them as ``in.0``, ``in.1``, ... The outputs are
    the carried values after the last step, then the body's other results of all steps, [count, ...].
    """

    count: int
    carried: int
    """The number of carried values: the first inputs, and the first of ``results``."""
    scanned: int
    """The number of inputs that are seen entry by entry."""
    whole: int
    """The number of inputs that every step sees whole."""
    nodes: tuple[Node, ...]
    """The body: operations that read rows of the step only."""
    results: tuple[str, ...]
    """Tensors of the body: the carried values for the next step, then what is collected."""

    def __post_init__(self) -> None:
        counts = (self.carried, self.scanned, self.whole)
        need(min(counts) >= 0 and sum(counts) <= MAX_OPERANDS, f"scan: {counts} inputs")

    def reads(self) -> Sequence[Reads]:
        """Return that every input is read row by row."""
        return (Reads.SAME,) * (self.carried + self.scanned + self.whole)

    def infer(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Spec]:
        """Infer types, and check the body."""
        need(len(ins) == self.carried + self.scanned + self.whole, "scan: another number of inputs")
        need(1 <= self.count <= MAX_SCAN, f"scan: {self.count} steps")
        need(len(self.results) >= max(1, self.carried), "scan: too few results")
        for s in ins[self.carried : self.carried + self.scanned]:
            need(len(s.shape) >= 1 and s.shape[0] == self.count, "scan: an input has another number of steps")
        specs = infer_body("scan", self.nodes, self.body(ins).inputs, weights)
        need(all(r in specs for r in self.results), "scan: a result is not made")
        made = [specs[r] for r in self.results]
        need(made[: self.carried] == list(ins[: self.carried]), "scan: a carried value changes its type")
        return (
            *made[: self.carried],
            *(Spec(s.dtype, (self.count, *s.shape)) for s in made[self.carried :]),
        )

    def weights(self) -> Sequence[str]:
        """Return the weights of the body."""
        return tuple(dict.fromkeys(w for node in self.nodes for w in node.op.weights()))

    def body(self, ins: Sequence[Spec]) -> Body:
        """Return the body, with the types of what a step reads."""
        inputs = {f"in.{i}": s for i, s in enumerate(ins)}
        for i in range(self.carried, self.carried + self.scanned):
            inputs[f"in.{i}"] = Spec(ins[i].dtype, ins[i].shape[1:])
        return Body(self.count, self.nodes, inputs)

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the bytes of what a step is given, and of what is collected until it is joined."""
        given = self.body(ins).inputs
        step = sum(given[f"in.{i}"].nbytes for i in range(self.carried + self.scanned))
        return step + sum(s.nbytes for s in outs[self.carried :])

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return the loop over fused steps."""
        fused = fuse(steps, frozenset(self.results))
        dropped = [tuple(n for n in last if n not in self.results) for last in last_uses(fused)]
        return Loop(
            self,
            tuple(zip(fused, dropped, strict=True)),
            any(s.op.products for s in fused),
            all(s.op.captured for s in fused),
        )


@dataclass(frozen=True)
class Loop:
    """A loop as a plan runs it."""

    scan: Scan
    steps: tuple[tuple[Step, tuple[str, ...]], ...]
    """The steps of the body, each with the tensors that are dropped after it."""
    products: bool
    """Whether the body makes products with weights."""
    captured: bool
    """See Runs."""

    broadcasts = False

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run all steps one after the other."""
        scan, n = self.scan, sum(s.b - s.a for s in spans)
        first, last = scan.carried, scan.carried + scan.scanned
        carried, where = list(ins[:first]), k.operation
        collected: list[list[Array]] = [[] for _ in scan.results[first:]]
        for t in range(scan.count):
            given = (*carried, *(_entry(x, t, k) for x in ins[first:last]), *ins[last:])
            values = {f"in.{i}": x for i, x in enumerate(given)}
            for step, dropped in self.steps:
                k.operation = step.name
                found = [values[name] for name, _ in step.inputs]
                if not step.op.broadcasts:
                    found = [repeated(x, n, k) for x in found]
                made = step.op.run(found, spans, src, k)
                values |= dict(zip((name for name, *_ in step.outputs), made, strict=True))
                for name in dropped:
                    values.pop(name, None)
            results = [repeated(values[r], n, k) for r in scan.results]
            carried = results[:first]
            for rows, one in zip(collected, results[first:], strict=True):
                rows.append(one.reshape((n, 1, *one.shape[1:])))
        k.operation = where
        return (*carried, *(k.join(rows, 0) for rows in collected))


def _entry(x: Array, t: int, k: Kernels) -> Array:
    """Return entry t of rows [n, count, ...]."""
    shape = tuple(x.shape[2:])
    offset = t * math.prod(shape)
    return k.view(x, primitives.View(shape, contiguous(shape), offset, (0,) * len(shape), shape))
