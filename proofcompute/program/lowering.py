"""Turn the operations of a segment into the steps of its plan, within budgets (docs/spec/programs.md#limits).

A composite that backends do not have is replaced by its expansion, and the body of a loop becomes steps of
its own. A program from outside may hold many and large operations, so everything is counted as it is added,
before anything is computed: steps, elements, multiplications and loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.product import Site
from proofcompute.limits import (
    MAX_ACCUMULATOR,
    MAX_CONSTANTS,
    MAX_LOOPED,
    MAX_NAME,
    MAX_OPERATIONS,
    MAX_PRODUCTS,
    MAX_SCAN,
    MAX_SEGMENT_PRODUCTS,
    MAX_SEGMENT_WORK,
)
from proofcompute.program.liveness import product_memory, row_memory
from proofcompute.program.types import Node, Reads, Spec, Step, WeightSpec, check_name

__all__ = ["Budget", "Lowered", "Tensors", "check_constants", "infer_body", "infer_node", "lower"]

_DEEPEST: Final = 8
"""Composites and loops inside each other."""

Tensors = dict[str, Spec]
"""The types of tensors by name."""


@dataclass
class Budget:
    """What a program has used so far."""

    context: int
    """The most rows of a request, and so of a prefix."""
    steps: int = 0
    """Steps of all plans."""
    work: int = 0
    """Elements for one row of the segment that is lowered now."""
    multiplications: int = 0
    """Multiplications of products for one row of that segment."""
    attended: int = 0
    """Multiplications of that segment for each position that a row attends to."""
    products: int = 0
    """Products of all segments for one row."""
    looped: int = 0
    """Operations that loops run for one row."""

    def begin(self) -> None:
        """Begin a segment."""
        self.work = self.multiplications = self.attended = 0

    def add(self, where: str, work: int, sites: Sequence[Site], times: int) -> None:
        """Count one step. Raises LimitError if there are too many, or if they do too much."""
        self.steps += 1
        self.work += times * work
        self.products += times * len(sites)
        self.multiplications += times * sum(s.rows * s.m * s.d * s.x_limbs * s.w_limbs for s in sites)
        for what, n, limit in (
            ("steps", self.steps, MAX_OPERATIONS),
            ("elements", self.work, MAX_SEGMENT_WORK),
            ("multiplications", self.multiplications, MAX_SEGMENT_PRODUCTS),
            ("products", self.products, MAX_PRODUCTS),
        ):
            if n > limit:
                raise LimitError(f"{where}: over {limit} {what} for one row")
        for site in sites:
            if site.bound >= MAX_ACCUMULATOR:
                raise FormatError(f"{where}: accumulators of {site.weight} may reach 2^30")

    def attend(self, where: str, each: int) -> None:
        """Count so many multiplications for each row of the longest request."""
        self.attended += each
        self.multiplications += self.context * each
        if self.multiplications > MAX_SEGMENT_PRODUCTS:
            raise LimitError(f"{where}: over {MAX_SEGMENT_PRODUCTS} multiplications for one row")


@dataclass
class Lowered:
    """The steps of a segment, with what follows from each."""

    steps: list[Step] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    """Products, in execution order."""
    scratch: list[int] = field(default_factory=list)
    """Bytes that each step takes for a row besides its inputs and outputs."""

    def memory(self, specs: Mapping[str, Spec]) -> int:
        """Return the most bytes that are alive at once for each row."""
        return row_memory(self.steps, self.scratch, specs)


def infer_node(where: str, node: Node, specs: Tensors, weights: Mapping[str, WeightSpec]) -> None:
    """Add the types of a node's outputs to ``specs``. Raises FormatError if they do not follow from it."""
    outs = node.op.infer([specs[n] for n in node.inputs], weights)
    if len(outs) != len(node.outputs):
        raise FormatError(f"{where}: {len(node.outputs)} outputs where {len(outs)} are made")
    for name, spec in zip(node.outputs, outs, strict=True):
        check_name(name)
        if name in specs:
            raise FormatError(f"{where}: tensor {name} is defined twice")
        specs[name] = spec


def infer_body(
    where: str, nodes: Sequence[Node], inputs: Mapping[str, Spec], weights: Mapping[str, WeightSpec]
) -> Tensors:
    """Return the types of all tensors of an expansion or of a loop's body, which see one row only."""
    specs = dict(inputs)
    for node in nodes:
        modes = tuple(node.op.reads())
        ins = [specs[n] for n in node.inputs if n in specs]
        if len(ins) != len(node.inputs) or len(modes) != len(node.inputs):
            raise FormatError(f"{where}/{node.name}: reads what is not made before it, or too much")
        if node.op.table() is not None or any(m is not Reads.SAME for m in modes):
            raise FormatError(f"{where}/{node.name}: reads more than the row of its step")
        infer_node(f"{where}/{node.name}", node, specs, weights)
        if node.op.indices(ins, weights):
            raise FormatError(f"{where}/{node.name}: chooses by what is not public")
    return specs


def lower(
    where: str,
    node: Node,
    names: Mapping[str, str],
    specs: Tensors,
    into: Lowered,
    budget: Budget,
    weights: Mapping[str, WeightSpec],
    *,
    kept: frozenset[str] = frozenset(),
    times: int = 1,
    depth: int = 0,
) -> None:
    """Append the steps of one node to ``into``.

    Args:
        where: segment and node, for errors.
        node: the node; its types are inferred already.
        names: the tensors of the plan for the node's inputs and outputs where they have other names there.
        specs: types of the plan's tensors; those of an expansion's tensors are added.
        into: what was lowered before.
        budget: what was used before.
        weights: the program's weights.
        kept: tensors that are committed or emitted.
        times: how often the step runs for one row.
        depth: how many composites and loops it is inside of.

    Raises LimitError if a budget is exceeded.
    """
    op = node.op
    inputs = [names.get(n, n) for n in node.inputs]
    outputs = [names.get(n, n) for n in node.outputs]
    ins, outs = [specs[n] for n in inputs], [specs[n] for n in outputs]
    expansion = None if op.native else op.expand(ins, weights)
    body = op.body(ins)
    if (expansion is not None or body is not None) and depth == _DEEPEST:
        raise LimitError(f"{where}: more than {_DEEPEST} composites and loops inside each other")
    if expansion is not None:
        given = {f"in.{i}": spec for i, spec in enumerate(ins)}
        inner = infer_body(where, expansion.nodes, given, weights)
        made = dict(zip(expansion.outputs, outputs, strict=True))
        if len(made) != len(outputs) or any(inner.get(a) != specs[b] or a in given for a, b in made.items()):
            raise FormatError(f"{where}: the expansion does not make the outputs")  # a fault of the operation
        # No name of a program holds a zero byte, so that these are new.
        inside = {n: f"\0{outputs[0]}\0{n}" for n in inner} | made
        inside |= dict(zip(given, inputs, strict=True))
        specs.update({inside[n]: spec for n, spec in inner.items()})
        for child in expansion.nodes:
            lower(
                _inside(where, child), child, inside, specs, into, budget, weights,
                kept=kept, times=times, depth=depth + 1,
            )  # fmt: skip
        return
    sites = tuple(op.sites(ins, weights))
    scratch = max(map(product_memory, sites), default=0) + op.scratch(ins, outs)
    steps: Sequence[Step] = ()
    if body is not None:
        rounds = times * body.times * max(1, len(body.nodes))
        budget.looped += rounds
        if rounds > MAX_SCAN or budget.looped > MAX_LOOPED:
            raise LimitError(f"{where}: a loop of more than {MAX_SCAN} operations, or loops of {MAX_LOOPED}")
        types, loop = infer_body(where, body.nodes, body.inputs, weights), Lowered()
        for child in body.nodes:
            lower(
                _inside(where, child), child, {}, types, loop, budget, weights,
                times=times * body.times, depth=depth + 1,
            )  # fmt: skip
        steps, sites = loop.steps, tuple(loop.sites) * body.times
        scratch += loop.memory(types)
        budget.add(where, sum(s.size for s in (*ins, *outs)), (), times)
    else:
        budget.add(where, op.work(ins, outs), sites, times)
        budget.attend(where, times * op.each_position(ins, outs))
    keep = [n in kept for n in outputs]
    floats = [s.dtype == "f32" and not op.settled for s in outs]
    into.steps.append(
        Step(
            where,
            op.lowered(ins, outs, steps),
            tuple(zip(inputs, op.reads(), strict=True)),
            tuple((n, k, k and f) for n, k, f in zip(outputs, keep, floats, strict=True)),
        )
    )
    into.sites.extend(sites)
    into.scratch.append(scratch)


def _inside(where: str, node: Node) -> str:
    """Return the name of an operation inside of another, for errors."""
    return f"{where}.{node.name}"[: 3 * MAX_NAME]


def check_constants(weights: Sequence[WeightSpec]) -> None:
    """Raise LimitError if the constants together are larger than a key may hold."""
    total = sum(w.nbytes for w in weights if w.kind == "constant")
    if total > MAX_CONSTANTS:
        raise LimitError(f"constants of {total} bytes, more than {MAX_CONSTANTS}")
