"""Define programs: models as data (docs/spec/programs.md).

A program is a list of **segments** of operations (:mod:`proofcompute.program.types`). Tensors named in a
:class:`Committed` group cross segment boundaries and are committed by the prover, one Merkle tree for each
group. A tensor that is not committed lives inside its segment and is recomputed at audit time. Public tensors
(inputs and outputs) travel in the request and the receipt.

A program with ``feedback`` is autoregressive: its one output is appended to its one input, so that row t of
the output is row t + 1 of the input. Such outputs exist from the last row of the prompt on.

A ``pooled`` program has one output row for all rows of its inputs, such as the embedding of a text: segments
that emit run on the last row only. What they make of the others they read as ALL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.product import Site, set_count
from proofcompute.limits import (
    KIB,
    MAX_CELL_MEMORY,
    MAX_CELL_OPENING,
    MAX_ITEMS,
    MAX_OPENING_PART,
    MAX_OPENING_PIECE,
    MAX_OPERATIONS,
    MAX_SEGMENTS,
    MAX_WEIGHTS,
)
from proofcompute.program.lowering import Budget, Lowered, check_constants, infer_node, lower
from proofcompute.program.plans import SegmentPlan
from proofcompute.program.types import (
    Committed,
    LeafField,
    Node,
    Op,
    Reads,
    Segment,
    Spec,
    Step,
    WeightSpec,
    check_name,
)

__all__ = [
    "Committed",
    "Node",
    "Op",
    "Program",
    "Reads",
    "Segment",
    "SegmentPlan",
    "Site",
    "Spec",
    "Step",
    "WeightSpec",
]


@dataclass(frozen=True)
class Program:
    """A whole computation. Construction checks it; a Program that exists is well formed."""

    inputs: tuple[tuple[str, Spec], ...]
    """Public tensors in the request."""
    outputs: tuple[str, ...]
    """Public tensors in the receipt."""
    feedback: bool
    """Whether the output is fed back into the input (see the module's text)."""
    context: int
    """The most rows of one request."""
    weights: tuple[WeightSpec, ...]
    committed: tuple[Committed, ...]
    segments: tuple[Segment, ...]
    pooled: bool = False
    """Whether outputs have one row (see the module's text)."""

    def __post_init__(self) -> None:
        for what, n, limit in (
            ("segments", len(self.segments), MAX_SEGMENTS),
            ("operations", sum(len(s.nodes) for s in self.segments), MAX_OPERATIONS),
            ("weights", len(self.weights), MAX_WEIGHTS),
        ):
            if n > limit:
                raise LimitError(f"program has {n} {what}, more than {limit}")
        if not (self.inputs and self.outputs and self.segments and self.context >= 1):
            raise FormatError("a program needs inputs, outputs, segments and a context length")
        for what, names in (
            ("weight", [w.name for w in self.weights]),
            ("segment", [s.name for s in self.segments]),
            ("committed group", [c.name for c in self.committed]),
            ("committed tensor", [t for c in self.committed for t in c.tensors]),
            ("output", list(self.outputs)),
        ):
            for name in names:
                check_name(name)
            if len(set(names)) != len(names):
                raise FormatError(f"program has two {what}s of one name")
        if self.feedback and self.pooled:
            raise FormatError("an autoregressive program has an output for each row")
        if self.feedback and (
            len(self.inputs) != 1 or len(self.outputs) != 1 or self.inputs[0][1] != Spec("i32", ())
        ):
            raise FormatError("an autoregressive program has one int32 input and one output")
        check_constants(self.weights)
        _ = self._analysed  # infers every type; FormatError if one does not fit
        for plan in self.plans:
            self._check_openable(plan)
        if self.feedback and self.reads_all:
            raise FormatError("an autoregressive program reads all rows, before they exist")

    @cached_property
    def reads_all(self) -> bool:
        """Whether a segment reads all rows, so that the one before must have made all of them."""
        return any(mode is Reads.ALL for node in self._nodes for mode in node.op.reads())

    @property
    def _nodes(self) -> Iterator[Node]:
        return (node for segment in self.segments for node in segment.nodes)

    def _check_openable(self, plan: SegmentPlan) -> None:
        """Raise LimitError unless the last row of the longest request can be audited, whatever it costs."""
        groups = [(self.group_bytes(g), mode is not Reads.SAME) for g, mode in plan.groups]
        besides = sum(self.weight[name].row_bytes for name, _ in plan.tables)
        accumulators, sets = 0, 0
        for s in plan.sites:
            each = set_count(s.d, s.x_limbs, s.w_limbs)
            accumulators, sets = accumulators + each * s.rows * s.m, sets + each * min(s.groups, s.rows)
        besides += 4 * accumulators + 16 * sets
        if sets > MAX_ITEMS // 2:
            raise LimitError(f"{plan.name}: the hints of a row have {sets} sets, more than {MAX_ITEMS // 2}")
        besides += 8 * KIB * (len(groups) + len(plan.tables) + len(plan.sites))  # heads and proofs
        whole = besides + sum(self.context * row if many else row for row, many in groups)
        # What is long is sent ahead of the part, except for at most a piece.
        long = [min(self.context * row, max(MAX_OPENING_PIECE, row)) for row, many in groups if many]
        part = besides + sum(long) + sum(row for row, many in groups if not many)
        if whole > MAX_CELL_OPENING or part > MAX_OPENING_PART:
            raise LimitError(
                f"{plan.name}: a row may open {whole} bytes with the other rows, {part} of them in one "
                f"frame, more than {MAX_CELL_OPENING} or {MAX_OPENING_PART}; nobody could audit it"
            )

    @cached_property
    def weight(self) -> dict[str, WeightSpec]:
        """Weights by name."""
        return {w.name: w for w in self.weights}

    @cached_property
    def index_limits(self) -> dict[str, int]:
        """The limit that every element of a public tensor of indices must be below, by tensor.

        It is the least of the rows of the tables in which the element is looked up and of the logits with
        which it is sampled, because a token with a row in some table may have no logit.
        """
        limits: dict[str, int] = {}
        for node in self._nodes:
            found = node.op.indices([self.specs[n] for n in node.inputs], self.weight)
            for at, limit in found.items():
                name = node.inputs[at]
                limits[name] = min(limit, limits.get(name, limit))
        return limits

    @cached_property
    def group_of(self) -> dict[str, int]:
        """The index of the committed group to which each tensor belongs."""
        return {t: i for i, c in enumerate(self.committed) for t in c.tensors}

    @cached_property
    def _output_names(self) -> frozenset[str]:
        return frozenset(self.outputs)  # a set, because a hostile program may have many outputs

    @cached_property
    def _kept(self) -> frozenset[str]:
        """The tensors that are committed or emitted."""
        return frozenset(self.group_of) | self._output_names

    def group_bytes(self, group: int) -> int:
        """Return the bytes of one leaf of a committed group."""
        return self._group_bytes[group]

    def layout(self, group: int) -> tuple[LeafField, ...]:
        """Return the fields of one leaf of a committed group, one for each of its tensors, in order."""
        return self._layouts[group]

    @cached_property
    def _layouts(self) -> tuple[tuple[LeafField, ...], ...]:
        layouts = []
        for group in self.committed:
            ends = [0, *accumulate(self.specs[t].nbytes for t in group.tensors)]
            pieces = zip(group.tensors, pairwise(ends), strict=True)
            layouts.append(
                tuple(LeafField(t, a, b, self.specs[t].numpy, self.specs[t].shape) for t, (a, b) in pieces)
            )
        return tuple(layouts)

    @cached_property
    def leaf_kinds(self) -> tuple[int, ...]:
        """A number for each committed group; leaves of one number have fields of equal shapes and types."""
        found: dict[object, int] = {}
        alike = [tuple((field.dtype, field.shape) for field in layout) for layout in self._layouts]
        return tuple(found.setdefault(kind, len(found)) for kind in alike)

    @cached_property
    def _group_bytes(self) -> tuple[int, ...]:
        return tuple(sum(self.specs[t].nbytes for t in group.tensors) for group in self.committed)

    @property
    def specs(self) -> dict[str, Spec]:
        """The type of every tensor, by name."""
        return self._analysed[0]

    @property
    def plans(self) -> tuple[SegmentPlan, ...]:
        """One plan for each segment."""
        return self._analysed[1]

    @cached_property
    def _analysed(self) -> tuple[dict[str, Spec], tuple[SegmentPlan, ...]]:
        specs: dict[str, Spec] = {}
        public: set[str] = set()
        for name, spec in self.inputs:
            check_name(name)
            if name in specs or name in self.group_of:
                raise FormatError(f"input {name} is defined twice")
            specs[name] = spec
            public.add(name)
        budget = Budget(self.context)
        plans = tuple(self._plan(i, seg, specs, public, budget) for i, seg in enumerate(self.segments))
        written = {t for p in plans for t in p.writes}
        emitted = {t for p in plans for t in p.emits}
        if set(self.group_of) != written or set(self.outputs) != emitted:
            raise FormatError("a committed tensor or an output is not produced by any segment")
        writer = {t: p.index for p in plans for t in p.writes}
        for group in self.committed:
            if len({writer[t] for t in group.tensors}) != 1:
                raise FormatError(f"committed group {group.name} is not written by exactly one segment")
        if (self.feedback or self.pooled) and any(p.writes for p in plans if p.emits):
            # The segment starts at the prompt's last row; earlier rows would be committed and in no cell.
            raise FormatError("an autoregressive or pooled program's segment with an output commits a tensor")
        if self.feedback and specs[self.outputs[0]] != self.inputs[0][1]:
            raise FormatError("the output that is fed back has another type than the input")
        return specs, plans

    def _plan(
        self, index: int, seg: Segment, specs: dict[str, Spec], public: set[str], budget: Budget
    ) -> SegmentPlan:
        local: set[str] = set()
        reads: dict[str, Reads] = {}
        tables: list[tuple[str, str]] = []
        inner: dict[str, Spec] = {}
        lowered = Lowered()
        budget.begin()
        for node in seg.nodes:
            where = f"{seg.name}/{node.name}"
            modes = tuple(node.op.reads())
            if len(modes) != len(node.inputs):
                raise FormatError(f"{where}: {len(node.inputs)} inputs where {len(modes)} are read")
            for name, mode in zip(node.inputs, modes, strict=True):
                committed = name in self.group_of and name in specs
                if not (name in local or committed or name in public):
                    raise FormatError(f"{where}: reads {name}, which no earlier cut provides")
                if mode is not Reads.SAME and not (committed or name in public):
                    raise FormatError(f"{where}: reads other rows of {name}, which is not committed")
                if mode is Reads.ALL and name in local:
                    # Later rows would depend on earlier ones, and these on the later ones.
                    raise FormatError(f"{where}: reads all rows of {name}, which its own segment makes")
                if name not in public and (name not in local or mode is not Reads.SAME):
                    reads[name] = _wider(mode, reads.get(name))
            table = node.op.table()
            if table is not None:
                tables.append((table, node.inputs[0]))
            infer_node(where, node, specs, self.weight)
            for at in node.op.indices([specs[n] for n in node.inputs], self.weight):
                if node.inputs[at] not in public:
                    raise FormatError(f"{where}: chooses by {node.inputs[at]}, which is not public")
            local.update(node.outputs)
            inner.update({n: specs[n] for n in (*node.inputs, *node.outputs)})
            lower(where, node, {}, inner, lowered, budget, self.weight, kept=self._kept)
        produced = [n for node in seg.nodes for n in node.outputs]
        writes = tuple(n for n in produced if n in self.group_of)
        touched: dict[int, Reads] = {}
        for name, mode in (*reads.items(), *((n, Reads.SAME) for n in writes)):
            group = self.group_of[name]
            touched[group] = _wider(mode, touched.get(group))
        memory = lowered.memory(inner)
        if memory > MAX_CELL_MEMORY:
            raise LimitError(
                f"{seg.name}: a row takes {memory} bytes of memory, more than {MAX_CELL_MEMORY}; cut it"
            )
        return SegmentPlan(
            index,
            seg.name,
            tuple(reads.items()),
            writes,
            tuple(n for n in produced if n in self._output_names),
            tuple(sorted(touched.items())),
            tuple(lowered.sites),
            tuple(tables),
            tuple(lowered.steps),
            memory,
            budget.work,
            budget.attended,
        )

    @cached_property
    def captured(self) -> bool:
        """Whether a device may record a step of this program and repeat it for other rows."""
        steps = (step for plan in self.plans for step in plan.steps)
        return not self.reads_all and all(step.op.captured for step in steps)

    def first_row(self, segment: int, prompt: int) -> int:
        """Return the first row at which a segment runs, for a request whose input has ``prompt`` rows."""
        last = self.feedback or self.pooled
        return prompt - 1 if last and self.plans[segment].emits else 0


def _wider(mode: Reads, other: Reads | None) -> Reads:
    """Return the one of two ways to read that takes more rows: ALL before PREFIX before SAME."""
    order = (Reads.SAME, Reads.PREFIX, Reads.ALL)
    return mode if other is None else max(mode, other, key=order.index)
