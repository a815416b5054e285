"""The one interpreter, and the one list of what a cell needs (design, sections 2 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from proofcompute.errors import Cell, ExecutionError
from proofcompute.ieee import require_ieee
from proofcompute.kernels import Array, Kernels
from proofcompute.liveness import last_uses
from proofcompute.ops.fused import fuse
from proofcompute.parts import once_for_each
from proofcompute.program import Program, SegmentPlan, Site, Span, Step
from proofcompute.source import RowReader, Source
from proofcompute.statement import Statement

__all__ = ["GroupRows", "Needs", "TableRows", "needs", "run"]


def run(program: Program, segment: int, spans: Sequence[Span], src: Source, k: Kernels) -> dict[str, Array]:
    """Execute a segment on the rows of ``spans`` and return the tensors that it writes or emits.

    Every committed float tensor is settled (-0 becomes +0, non-finite is an error) and handed to
    ``src.rows.write`` before any later operation reads a prefix of it.

    Raises ExecutionError naming segment and operation where the arithmetic has no result, DeviceError where
    this thread's floats are not those of IEEE 754.
    """
    require_ieee()
    rows = src.rows
    values: dict[str, Array] = {}
    results: dict[str, Array] = {}
    for (where, op, inputs, outputs), last in _steps(program.plans[segment]):
        ins: list[Any] = []
        for name, prefix in inputs:
            if prefix:
                ins.append([k.local(rows.prefix(name, s)) for s in spans])
                continue
            if name not in values:
                values[name] = _gather(rows, name, spans, k)
            ins.append(values[name])
        k.operation = where
        try:
            outs = op.run(ins, spans, src, k)
            for (name, kept, settled), out in zip(outputs, outs, strict=True):
                if kept:
                    out = k.settle(out) if settled else out
                    results[name] = out
                    _scatter(rows, name, spans, out)
                values[name] = out
            for name in last:
                values.pop(name, None)
        except ExecutionError as e:
            raise type(e)(f"{where}: {e}") from e
    return results


@once_for_each
def _steps(plan: SegmentPlan) -> tuple[tuple[Step, tuple[str, ...]], ...]:
    """What is done, and which tensors are let go after each step."""
    steps = fuse(plan.steps)
    return tuple(zip(steps, last_uses(steps), strict=True))


def _gather(rows: RowReader, name: str, spans: Sequence[Span], k: Kernels) -> Array:
    if len(spans) == 1:
        return k.local(rows.read(name, spans[0]))
    return k.join([k.local(rows.read(name, s)) for s in spans])


def _scatter(rows: RowReader, name: str, spans: Sequence[Span], out: Array) -> None:
    if len(spans) == 1:
        rows.write(name, spans[0], out)
        return
    at = 0
    for s in spans:
        rows.write(name, s, out[at : at + s.b - s.a])
        at += s.b - s.a


class GroupRows(NamedTuple):
    """Rows of one committed group that must be opened."""

    group: int
    a: int
    b: int


class TableRows(NamedTuple):
    """Rows of one weight matrix that must be opened, ascending and distinct."""

    weight: str
    ids: tuple[int, ...]


class Needs(NamedTuple):
    """All that an opening of one cell holds, in this order."""

    plan: SegmentPlan
    groups: tuple[GroupRows, ...]
    tables: tuple[TableRows, ...]
    sites: tuple[Site, ...]


def needs(statement: Statement, cell: Cell) -> Needs:
    """What must be opened so that ``cell`` can be checked: committed rows, table rows, products.

    The prover opens exactly this and the verifier loops over exactly this. The groups are those read (rows
    a..b, or 0..b where an operation reads a prefix) and those written (rows a..b), in program order.
    """
    plan = statement.program.plans[cell.segment]
    tables: dict[str, set[int]] = {}
    for weight, tensor in plan.tables:
        tables.setdefault(weight, set()).update(int(i) for i in statement.inputs[tensor][cell.a : cell.b])
    return Needs(
        plan,
        tuple([GroupRows(g, 0 if prefix else cell.a, cell.b) for g, prefix in plan.groups]),
        tuple(TableRows(w, tuple(sorted(ids))) for w, ids in tables.items()),
        plan.sites,
    )
