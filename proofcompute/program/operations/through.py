"""Join views, products and elementwise operations, and views, elementwise operations and reductions.

Rows of several axes are images or sequences: their windows are views, and written out they would be larger
than the row by the size of a window. So a product or a reduction is given the row and the views, and a
backend may read one through the other (:class:`proofcompute.arithmetic.primitive_functions.Primitives`). What
is computed stays the same. Steps are joined where nothing else reads what lies between them, and no more
bytes are alive at once than the plan counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import Expression, Term, View
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.elementwise import Elementwise, repeated, rows_of
from proofcompute.program.source import Source, ThroughCall
from proofcompute.program.types import Reads, Step

__all__ = ["Product", "Reduction", "Seen", "join_views"]

_SAME = Expression(("f32",), (Term("cast", (0,), "f32"),))
"""The expression that is its input."""


def _reshaped(shape: tuple[int, ...]) -> View:
    """Return the view that reads the elements of a row in their order, from the first one on."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return View(shape, strides, 0, (0,) * len(shape), shape)


def _in_order(v: View) -> bool:
    """Return whether a view only gives a shape to the first elements of a row."""
    plain = _reshaped(v.shape)
    strides = all(n == 1 or a == b for n, a, b in zip(v.shape, v.strides, plain.strides, strict=True))
    return strides and (v.offset, any(v.low), v.high) == (0, False, plain.high)


@dataclass(frozen=True)
class Seen:
    """A view as a plan runs it."""

    view: View
    source: int
    """Elements of the row that is read."""

    broadcasts = True
    products = False
    captured = True

    @property
    def same(self) -> bool:
        """Whether the elements are those of the row, in its order."""
        return math.prod(self.view.shape) == self.source and _in_order(self.view)

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Read the row through the view; in another shape only, it stays where it is."""
        (x,) = ins
        return (x.reshape((len(x), *self.view.shape)) if self.same else k.view(x, self.view),)


@dataclass(frozen=True)
class Product:
    """A product over the last axis of rows that are seen through views, and an expression of it."""

    weight: str
    limbs: int
    shape: tuple[int, ...]
    """Shape of a row of the product."""
    views: tuple[View, ...] = ()
    after: Expression | None = None
    """Its first input is the product, the others are the inputs of the step after the first."""

    broadcasts = True
    products = True
    captured = True

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run on the rows and what the expression reads beside the product."""
        x, *others = ins
        x = repeated(x, sum(s.b - s.a for s in spans), k)
        call = ThroughCall(self.weight, x, self.views, self.limbs, self.after, tuple(others))
        return (src.products.through(call, k),)


@dataclass(frozen=True)
class Reduction:
    """A reduction of an expression of rows that are seen through views."""

    kind: str
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    """Shape of what is reduced."""
    expression: Expression
    views: tuple[View | None, ...]

    broadcasts = True
    products = False
    captured = True

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Evaluate and reduce."""
        seen = self.views if any(self.views) else ()
        made = (self.expression, ins, rows_of(ins), self.shape, seen)
        return (k.reduce_of(self.kind, self.axes, *made),)

    @classmethod
    def of(cls, kind: str, axes: tuple[int, ...], shape: tuple[int, ...]) -> Reduction:
        """Return the reduction of rows as they are."""
        return cls(kind, axes, shape, _SAME, (None,))

    @property
    def size(self) -> int:
        """Elements of the result."""
        return math.prod(n for i, n in enumerate(self.shape) if i not in self.axes)


class _Readers(NamedTuple):
    """Who makes and who reads each tensor."""

    made: dict[str, int]
    alone: dict[str, int]
    """The one reader of tensors that are read once, row by row, and are no results."""


def _readers(steps: Sequence[Step], results: frozenset[str]) -> _Readers:
    made = {name: i for i, step in enumerate(steps) for name, *_ in step.outputs}
    kept = results | {name for step in steps for name, keep, _ in step.outputs if keep}
    reads: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        for name, mode in step.inputs:
            reads.setdefault(name, []).extend([i] if mode is Reads.SAME else [i, i])
    alone = {name: at[0] for name, at in reads.items() if len(at) == 1 and name not in kept and name in made}
    return _Readers(made, alone)


def join_views(steps: Sequence[Step], results: frozenset[str]) -> list[Step]:
    """Return the steps with products and reductions joined to what stands beside them."""
    now = list(steps)
    for join, kind in (
        (_views_before_product, Product),
        (_shape_after_product, Product),
        (_map_after_product, Product),
        (_map_before_reduction, Reduction),
        (_view_before_reduction, Reduction),
    ):
        at = 0
        while at < len(now):
            found = join(now, at, _readers(now, results)) if isinstance(now[at].op, kind) else None
            if found is None:
                at += 1
            else:
                now, at = found
    return now


_Found = tuple[list[Step], int] | None
"""The steps after a join, and where to look next; None where nothing was joined."""


def _between(steps: Sequence[Step], first: int, last: int) -> bool:
    """Return whether something is computed from other tensors between two steps."""
    return any(step.inputs for step in steps[first + 1 : last])


def _constants_first(steps: list[Step], first: int, last: int) -> list[Step]:
    """Return the steps without number ``last``, those between that have no inputs before number ``first``."""
    between = steps[first + 1 : last]
    early = [s for s in between if not s.inputs]
    late = [s for s in between if s.inputs]
    return [*steps[:first], *early, steps[first], *late, *steps[last + 1 :]]


def _views_before_product(steps: list[Step], i: int, now: _Readers) -> _Found:
    """Let a product read through the view that makes its rows."""
    step = steps[i]
    op: Any = step.op
    (name, mode), *others = step.inputs
    at = now.made.get(name)
    if mode is not Reads.SAME or at is None or now.alone.get(name) != i or _between(steps, at, i):
        return None
    seen: Any = steps[at].op
    if not isinstance(seen, Seen):
        return None
    size, product = math.prod(seen.view.shape), math.prod(op.shape)
    # The row lives on instead of what is seen of it. Limbs and sums of the product are counted and not held.
    held = (4 + op.limbs) * size + 4 * product
    if not (seen.same or product + seen.source // 8 <= size or 4 * seen.source <= held):
        return None
    joined = replace(op, views=(seen.view, *op.views))
    where = f"{steps[at].name}+{_short(step.name)}"
    made = Step(where, joined, (steps[at].inputs[0], *others), step.outputs)
    return [*steps[:at], *steps[at + 1 : i], made, *steps[i + 1 :]], i - 1


def _shape_after_product(steps: list[Step], i: int, now: _Readers) -> _Found:
    """Let a product have the shape that is read of it, so that what reads that is joined to the product."""
    step = steps[i]
    op: Any = step.op
    ((name, *_),) = step.outputs
    last = now.alone.get(name)
    if last is None or op.after is not None or not op.views:
        return None
    seen: Any = steps[last].op
    if not isinstance(seen, Seen) or not seen.same or seen.view.shape[-1:] != op.shape[-1:]:
        return None
    final = op.views[-1]
    rows = _reshaped((*seen.view.shape[:-1], final.shape[-1]))
    before = op.views[:-1] if _in_order(final) else op.views
    joined = replace(op, shape=seen.view.shape, views=(*before, rows))
    made = Step(f"{step.name}+{_short(steps[last].name)}", joined, step.inputs, steps[last].outputs)
    return [*steps[:i], made, *steps[i + 1 : last], *steps[last + 1 :]], i


def _map_after_product(steps: list[Step], i: int, now: _Readers) -> _Found:
    """Evaluate what only reads a product where it is made."""
    step = steps[i]
    op: Any = step.op
    ((name, *_),) = step.outputs
    last = now.alone.get(name)
    if last is None or op.after is not None:
        return None
    reader = steps[last]
    outer = reader.op
    if not isinstance(outer, Elementwise) or outer.shape != op.shape:
        return None
    others = [entry for entry in reader.inputs if entry[0] != name]
    makers = [now.made.get(other, -1) for other, _ in others]
    if any(i < at and steps[at].inputs for at in makers) or any(mode is not Reads.SAME for _, mode in others):
        return None  # what it reads does not exist yet
    place = [entry[0] for entry in reader.inputs].index(name)
    order = [place, *(j for j in range(len(reader.inputs)) if j != place)]
    joined = replace(op, after=_reordered(outer.expression, order))
    made = Step(f"{step.name}+{_short(reader.name)}", joined, (*step.inputs, *others), reader.outputs)
    moved = _constants_first(steps, i, last)
    at = moved.index(step)
    moved[at] = made
    return moved, at + 1


def _reordered(e: Expression, order: Sequence[int]) -> Expression:
    """Return an expression whose input i is input ``order[i]`` of another one."""
    to = {old: new for new, old in enumerate(order)}
    terms = tuple(replace(t, args=tuple(to.get(a, a) for a in t.args)) for t in e.terms)
    return Expression(tuple(e.inputs[j] for j in order), terms)


def _map_before_reduction(steps: list[Step], i: int, now: _Readers) -> _Found:
    """Evaluate what is reduced where it is reduced."""
    step = steps[i]
    op: Any = step.op
    ((name, _),) = step.inputs[:1]
    at = now.made.get(name)
    if op.expression != _SAME or at is None or now.alone.get(name) != i or _between(steps, at, i):
        return None
    inner = steps[at].op
    if not isinstance(inner, Elementwise) or inner.shape != op.shape or not steps[at].inputs:
        return None
    if inner.expression.terms[-1].dtype != "f32":
        return None
    joined = replace(op, expression=inner.expression, views=(None,) * len(steps[at].inputs))
    made = Step(f"{steps[at].name}+{_short(step.name)}", joined, steps[at].inputs, step.outputs)
    return [*steps[:at], *steps[at + 1 : i], made, *steps[i + 1 :]], i


def _view_before_reduction(steps: list[Step], i: int, now: _Readers) -> _Found:
    """Let a reduction read through the views that make what it is given."""
    step = steps[i]
    op: Any = step.op
    for j, (name, mode) in enumerate(step.inputs):
        at = now.made.get(name)
        other = mode is not Reads.SAME or op.views[j] is not None
        if other or at is None or now.alone.get(name) != i:
            continue
        seen: Any = steps[at].op
        between = steps[at + 1 : i]
        if not isinstance(seen, Seen) or any(s.inputs and not isinstance(s.op, Seen) for s in between):
            continue
        view = seen.view
        larger = op.size > math.prod(view.shape) and seen.source > math.prod(op.shape)
        if any(view.low) or view.high != view.shape or larger:
            continue  # a margin is written out, and the row must not live on where it is larger
        views = (*op.views[:j], view, *op.views[j + 1 :])
        inputs = (*step.inputs[:j], steps[at].inputs[0], *step.inputs[j + 1 :])
        where = f"{steps[at].name}+{_short(step.name)}"
        made = Step(where, replace(op, views=views), inputs, step.outputs)
        return [*steps[:at], *steps[at + 1 : i], made, *steps[i + 1 :]], i - 1
    return None


def _short(name: str) -> str:
    """Return a step's name without that of its segment."""
    return name.split("/", 1)[-1]
