"""Join chains of :class:`.mapping.Map` to expressions that a backend evaluates in one pass.

A step of a plan holds an :class:`Elementwise`, which knows the types and the shape of its result. Two are
joined where the first is read by the second only and has its shape; a number without inputs is joined to all
of its readers. Every element is computed by the same functions in the same order as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import MAX_INPUTS, MAX_TERMS, Expression, Term
from proofcompute.arrays import Array, Span
from proofcompute.program.source import Source
from proofcompute.program.types import Step

__all__ = ["Elementwise", "join_maps", "rows_of"]


def rows_of(ins: Sequence[Any]) -> int:
    """Return the leading axis of a result that broadcasts over rows: 1 unless an input has another."""
    return next((len(x) for x in ins if len(x) != 1), 1)


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
    made = {name: i for i, step in enumerate(steps) for name, *_ in step.outputs}
    readers: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        for name, _ in step.inputs:
            readers.setdefault(name, []).append(i)
    kept = results | {name for step in steps for name, keep, _ in step.outputs if keep}
    now: dict[int, Step] = dict(enumerate(steps))
    for i, step in enumerate(steps):
        if not isinstance(step.op, Elementwise):
            continue
        for name, _ in step.inputs:
            at = made.get(name)
            first = None if at is None else now.get(at)
            if at is None or first is None or not isinstance(first.op, Elementwise) or name in kept:
                continue
            alone = set(readers[name]) == {i}
            if first.inputs and not (alone and first.op.shape == step.op.shape):
                continue
            second = now[i]
            joined = _join(first, first.op, second, second.op) if isinstance(second.op, Elementwise) else None
            if joined is None:
                continue
            now[i] = joined
            readers[name] = [r for r in readers[name] if r != i]
            if not readers[name]:
                del now[at]
            for read, _ in first.inputs:
                readers[read].append(i)
                if alone:
                    readers[read] = [r for r in readers[read] if r != at]
    return [now[i] for i in sorted(now)]


def _join(first: Step, inner: Elementwise, second: Step, outer: Elementwise) -> Step | None:
    """Return ``second`` with ``first`` computed inside it, or None if that is too large."""
    (target, *_), *_ = first.outputs
    names: dict[tuple[str, bool], str] = {}
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
