"""Join chains of :class:`.mapping.Map` to expressions that a backend evaluates in one pass.

A step of a plan holds an :class:`Elementwise`, which knows the types and the shape of its result. Two are
joined where the first is read by the second only and has its shape; a number without inputs is joined to all
of its readers. Every element is computed by the same functions in the same order as before, and no more bytes
are alive at once than the plan counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import ELEMENTS, MAX_INPUTS, MAX_TERMS, Expression, Term
from proofcompute.arrays import Array, Span
from proofcompute.program.source import Source
from proofcompute.program.types import Reads, Step

__all__ = ["Elementwise", "join_maps", "repeated", "rows_of"]


def rows_of(ins: Sequence[Any]) -> int:
    """Return the leading axis of a result that broadcasts over rows: 1 unless an input has another."""
    return next((len(x) for x in ins if len(x) != 1), 1)


def repeated(x: Array, n: int, k: Kernels) -> Array:
    """Return rows that are given once because all n are the same, n times."""
    return k.gather(x, k.zeros((n,), np.int32)) if len(x) == 1 != n else x


@dataclass(frozen=True)
class Elementwise:
    """One expression over the elements of its inputs, whose row shapes broadcast."""

    expression: Expression
    shape: tuple[int, ...]
    """Shape of a row of the result."""

    broadcasts = True
    products = False
    captured = True

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Evaluate the expression."""
        return (k.evaluate(self.expression, ins, rows_of(ins), self.shape),)


def join_maps(steps: Sequence[Step], results: frozenset[str]) -> list[Step]:
    """Return the steps with chains of elementwise operations joined, all ``results`` kept."""
    return _Joining(steps, results).joined()


class _Joining:
    """The steps of a plan while chains of elementwise operations are joined.

    A step is joined only where the bytes that are alive at once do not grow: what it reads may have to live
    longer, instead of its result (:meth:`_grows`).
    """

    def __init__(self, steps: Sequence[Step], results: frozenset[str]) -> None:
        self._steps = steps
        self._now: dict[int, Step] = dict(enumerate(steps))
        self._made = {name: i for i, step in enumerate(steps) for name, *_ in step.outputs}
        self._kept = results | {name for step in steps for name, keep, _ in step.outputs if keep}
        self._readers: dict[str, set[int]] = {}
        self._first: dict[str, int] = {}
        """The first step that reads a tensor."""
        self._last: dict[str, int] = {}
        """The last step that reads a tensor now."""
        for i, step in enumerate(steps):
            for name, _ in step.inputs:
                self._readers.setdefault(name, set()).add(i)
                self._first.setdefault(name, i)
                self._last[name] = i

    def joined(self) -> list[Step]:
        """Join what can be joined, in order."""
        for i, step in enumerate(self._steps):
            if isinstance(step.op, Elementwise):
                for name in dict.fromkeys(name for name, _ in step.inputs):
                    self._try(i, name)
        return [self._now[i] for i in sorted(self._now)]

    def _try(self, i: int, name: str) -> None:
        """Compute the tensor ``name`` inside step i if that changes nothing else."""
        at, second = self._made.get(name), self._now[i]
        first = None if at is None else self._now.get(at)
        if at is None or first is None or name in self._kept:
            return
        if not (isinstance(first.op, Elementwise) and isinstance(second.op, Elementwise)):
            return
        alone = self._readers[name] == {i}
        if not (first.inputs or alone or len(first.op.expression.terms) == 1):
            return  # copies of a long chain in all of its readers would be larger than the program
        if first.inputs:
            if not (alone and first.op.shape == second.op.shape) or self._grows(
                (at, first, first.op), (i, second, second.op)
            ):
                return
        joined = _join(first, first.op, second, second.op)
        if joined is None:
            return
        self._now[i] = joined
        self._readers[name].discard(i)
        if not self._readers[name]:
            del self._now[at]
        for read, _ in first.inputs:
            self._readers[read].discard(at)
            self._readers[read].add(i)
            self._last[read] = max(self._last[read], i)

    def _grows(self, one: tuple[int, Step, Elementwise], other: tuple[int, Step, Elementwise]) -> bool:
        """Return whether more bytes may be alive at once if step ``one`` is computed inside step ``other``.

        What only the first reads lives on to the second, and its result is gone. Either that is no more, or
        all of it is alive at the first anyway with everything that the second needs, and nothing is computed
        between the two. Every tensor has the shape of the result at most.
        """
        (at, first, inner), (i, second, outer) = one, other
        (name, *_), *_ = first.outputs
        kinds = dict(zip(first.inputs, inner.expression.inputs, strict=True))
        longer = [
            ELEMENTS[dtype].itemsize
            for (read, _), dtype in kinds.items()
            if self._last[read] < i and read not in self._kept and not self._constant(read)
        ]
        target = ELEMENTS[inner.expression.terms[-1].dtype].itemsize
        if sum(longer) <= target:
            return False
        between = any(j in self._now and self._steps[j].inputs for j in range(at + 1, i))
        there = all(
            read == name or self._constant(read) or self._made.get(read, self._first[read]) <= at
            for read, _ in second.inputs
        )
        return between or not there or ELEMENTS[outer.expression.terms[-1].dtype].itemsize > target

    def _constant(self, name: str) -> bool:
        """Return whether a tensor is one that the model holds, or a number."""
        at = self._made.get(name)
        return at is not None and not self._steps[at].inputs and self._steps[at].op.broadcasts


def _join(first: Step, inner: Elementwise, second: Step, outer: Elementwise) -> Step | None:
    """Return ``second`` with ``first`` computed inside it, or None if that is too large."""
    (target, *_), *_ = first.outputs
    names: dict[tuple[str, Reads], str] = {}
    for step, op in ((first, inner), (second, outer)):
        for entry, dtype in zip(step.inputs, op.expression.inputs, strict=True):
            if entry[0] != target or step is first:
                names.setdefault(entry, dtype)
    terms: list[Term] = []
    at = {name: i for i, (name, _) in enumerate(names)}
    result = _append(terms, inner, [at[name] for name, _ in first.inputs], len(names))
    inside = at | {target: result}
    _append(terms, outer, [inside[name] for name, _ in second.inputs], len(names))
    if len(terms) > MAX_TERMS or len(names) > MAX_INPUTS:
        return None
    where = f"{first.name}+{second.name.rpartition('/')[2]}"
    expression = Expression(tuple(names.values()), tuple(terms))
    return Step(where, Elementwise(expression, outer.shape), tuple(names), second.outputs)


def _append(terms: list[Term], op: Elementwise, inputs_at: Sequence[int], inputs: int) -> int:
    """Append the terms of an expression whose inputs have other numbers; return that of its result."""
    known = list(inputs_at)
    for term in op.expression.terms:
        args = tuple(known[i] for i in term.args)
        known.append(inputs + len(terms))
        terms.append(replace(term, args=args))
    return known[-1]
