"""Chooses where a program is cut into segments: committed bytes against what opening a cell costs.

A cut commits all tensors that are alive there, in every run, and both cells beside it open them. A cell opens
the tensors at both of its ends and the hints of its products, so fewer cuts mean larger cells. With C bytes
committed and cells that open o_1, o_2, ... bytes, what is minimised is C + (o_1^2 + o_2^2 + ...) / (o_1 +
o_2 + ...): the bytes that are committed, plus the bytes that an audit of a cell drawn by its size opens.
Limits of programs are kept with some room. What is computed from constants only is computed in every segment
that uses it, and what no output needs is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from proofcompute.errors import FormatError
from proofcompute.freivalds.product import set_count
from proofcompute.limits import MAX_OPENING_PART, MAX_SEGMENT_PRODUCTS, MAX_SEGMENT_WORK, MIB
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Segment, Spec, WeightSpec

__all__ = ["cut_program", "needed", "shared"]

_ACCUMULATOR: Final = 2.5
"""Bytes of an accumulator in a hint, about."""
_MEMORY: Final = 1 << 30
"""Bytes alive for one row of a segment, where cuts allow it."""
_OPENED: Final = 128 * MIB
"""Bytes that a cell of one row opens, where cuts allow it."""
_ALIVE: Final = 32
"""Tensors that a cut may commit."""
_CANDIDATES: Final = 400
"""Places among which cuts are chosen: those that commit the fewest bytes."""


def shared(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return operations of which no two compute the same from the same; outputs keep their names."""
    known: dict[tuple[object, tuple[str, ...]], tuple[str, ...]] = {}
    renamed: dict[str, str] = {}
    kept = set(outputs)
    found = []
    for node in nodes:
        inputs = tuple(renamed.get(n, n) for n in node.inputs)
        key = (node.op, inputs)
        same = known.get(key)
        if same is not None and not kept & set(node.outputs):
            renamed |= dict(zip(node.outputs, same, strict=True))
            continue
        known.setdefault(key, node.outputs)
        found.append(replace(node, inputs=inputs))
    return found


def needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return the operations that outputs depend on."""
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


@dataclass(frozen=True)
class _Costs:
    """What operations cost a row, each in its place."""

    hints: list[float]
    work: list[int]
    products: list[int]
    alive: list[int]
    """Bytes alive at once, while each operation runs."""


def cut_program(
    inputs: Sequence[tuple[str, Spec]],
    nodes: Sequence[Node],
    outputs: Sequence[str],
    weights: Mapping[str, WeightSpec],
    context: int,
) -> Program:
    """Return the program of operations, cut into segments.

    Raises FormatError or LimitError if no cuts make it a program.
    """
    nodes = needed(shared(nodes, outputs), outputs)
    specs = dict(inputs)
    for node in nodes:
        made = node.op.infer([specs[n] for n in node.inputs], weights)
        specs |= dict(zip(node.outputs, made, strict=True))
    free = _free(nodes)
    work = [n for n in nodes if not set(n.outputs) <= free]
    if not work:
        raise FormatError("nothing depends on an input")
    last = _last_uses(work)
    public = {name for name, _ in inputs}
    chosen = _choose(work, specs, weights, free | public, last)
    used = {w for node in nodes for w in node.op.weights()}
    segments, committed = _segments(nodes, work, chosen, free, last, public)
    return Program(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        feedback=False,
        context=context,
        weights=tuple(w for w in weights.values() if w.name in used),
        committed=tuple(committed),
        segments=tuple(segments),
    )


def _free(nodes: Sequence[Node]) -> set[str]:
    """Return the tensors that depend on constants only."""
    found: set[str] = set()
    for node in nodes:
        if all(n in found for n in node.inputs) and not node.op.table():
            found.update(node.outputs)
    return found


def _last_uses(work: Sequence[Node]) -> dict[str, int]:
    return {name: i for i, node in enumerate(work) for name in (*node.outputs, *node.inputs)}


def _costs(
    work: Sequence[Node],
    specs: Mapping[str, Spec],
    weights: Mapping[str, WeightSpec],
    given: set[str],
    last: Mapping[str, int],
) -> _Costs:
    costs = _Costs([], [], [], [])
    ends: dict[int, list[str]] = {}
    for name, i in last.items():
        ends.setdefault(i, []).append(name)
    now = 0
    for i, node in enumerate(work):
        ins, outs = [specs[n] for n in node.inputs], [specs[n] for n in node.outputs]
        hint, products = 0.0, 0
        for s in node.op.sites(ins, weights):
            sets = set_count(s.d, s.x_limbs, s.w_limbs)
            hint += _ACCUMULATOR * sets * s.rows * s.m
            products += s.rows * s.m * s.d * s.x_limbs * weights[s.weight].limbs
        now += sum(s.nbytes for s in outs)
        costs.hints.append(hint)
        costs.products.append(products)
        costs.work.append(node.op.work(ins, outs))
        costs.alive.append(now + node.op.scratch(ins, outs) + int(hint * 2))
        now -= sum(specs[n].nbytes for n in ends.get(i, ()) if n not in given)
    return costs


def _choose(
    work: Sequence[Node],
    specs: Mapping[str, Spec],
    weights: Mapping[str, WeightSpec],
    given: set[str],
    last: Mapping[str, int],
) -> list[int]:
    """Return after which operations to cut, by dynamic programming over places where few bytes are alive."""
    costs = _costs(work, specs, weights, given, last)
    alive: set[str] = set()
    places: list[tuple[int, int]] = []
    for i, node in enumerate(work[:-1]):
        alive.update(node.outputs)
        alive = {n for n in alive if last[n] > i}
        if 1 <= len(alive) <= _ALIVE:
            places.append((i, sum(specs[n].nbytes for n in alive)))
    if len(places) > _CANDIDATES:
        places = sorted(sorted(places, key=lambda p: p[1])[:_CANDIDATES])
    opened = sum(costs.hints) or 1.0
    ends = [*places, (len(work) - 1, 0)]
    best: list[tuple[float, int]] = []
    starts = [(-1, 0), *places]
    for j, (end, written) in enumerate(ends):
        options = [(math.inf, 0)]
        hints, effort, products, memory = 0.0, 0, 0, 0
        at = end
        for i in range(j, -1, -1):
            start, read = starts[i]
            while at > start:
                hints += costs.hints[at]
                effort += costs.work[at]
                products += costs.products[at]
                memory = max(memory, costs.alive[at])
                at -= 1
            cell = hints + read + written
            before = best[i - 1][0] if i else 0.0
            over = max(
                memory / _MEMORY,
                cell / _OPENED,
                2 * effort / MAX_SEGMENT_WORK,
                2 * products / MAX_SEGMENT_PRODUCTS,
                2 * cell / MAX_OPENING_PART,
            )
            # beyond a limit only where nothing else is possible
            penalty = 1e18 * over if over > 1 else 0.0
            options.append((before + written + cell * cell / opened + penalty, i))
        best.append(min(options))
    chosen: list[int] = []
    j = len(ends) - 1
    while True:
        i = best[j][1]
        if i == 0:
            return chosen[::-1]
        chosen.append(ends[i - 1][0])
        j = i - 1


def _segments(
    nodes: Sequence[Node],
    work: Sequence[Node],
    chosen: Sequence[int],
    free: set[str],
    last: Mapping[str, int],
    public: set[str],
) -> tuple[list[Segment], list[Committed]]:
    maker = {name: node for node in nodes for name in node.outputs if name in free}
    segments, committed = [], []
    bounds = [-1, *chosen, len(work) - 1]
    alive: set[str] = set()
    for k, (a, b) in enumerate(pairwise(bounds)):
        placed: list[Node] = []
        names: dict[str, str] = {}

        def place(name: str, k: int = k, placed: list[Node] = placed, names: dict[str, str] = names) -> str:
            """Compute what depends on constants in this segment, and return its name here."""
            if name not in maker:
                return name
            if name not in names:
                node = maker[name]
                inputs = tuple(place(n) for n in node.inputs)
                outs = tuple(f"{n}@{k}" for n in node.outputs)
                placed.append(Node(f"{node.name}@{k}", node.op, inputs, outs))
                names.update(zip(node.outputs, outs, strict=True))
            return names[name]

        for node in work[a + 1 : b + 1]:
            inputs = tuple(place(n) for n in node.inputs)
            placed.append(replace(node, inputs=inputs))
            alive.update(node.outputs)
        segments.append(Segment(f"segment.{k}", tuple(placed)))
        alive = {n for n in alive if last[n] > b}
        made = [n for node in work[a + 1 : b + 1] for n in node.outputs if n in alive]
        if made and b < len(work) - 1:
            committed.append(Committed(f"segment.{k}", tuple(made)))
    return segments, committed
