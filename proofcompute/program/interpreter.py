"""Run segments of programs; prover and verifier share this interpreter (docs/spec/programs.md#execution)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.errors import ExecutionError
from proofcompute.program.liveness import last_uses
from proofcompute.program.operations.elementwise import repeated
from proofcompute.program.operations.fused import fuse
from proofcompute.program.operations.scan import Loop
from proofcompute.program.plans import SegmentPlan, cached_per_plan
from proofcompute.program.program import Program
from proofcompute.program.source import RowReader, Source
from proofcompute.program.types import Reads, Step

__all__ = ["run", "run_products"]


def run(program: Program, segment: int, spans: Sequence[Span], src: Source, k: Kernels) -> dict[str, Array]:
    """Execute a segment on the rows of ``spans`` and return the tensors that it writes or emits.

    Every committed float tensor is settled (-0 becomes +0, non-finite is an error) and handed to
    ``src.rows.write`` before any later operation reads other rows of it.

    Raises ExecutionError naming segment and operation where the arithmetic has no result, DeviceError where
    this thread's floats are not those of IEEE 754.
    """
    steps = _steps(program.plans[segment])
    return _run(steps, spans, [src] * len(steps), k)


def run_products(
    program: Program, segment: int, spans: Sequence[Span], src: Source, unread: Source, k: Kernels
) -> None:
    """Execute the steps of a segment that make products, and those on which their rows depend.

    ``src.rows`` already holds all rows of committed tensors. The products are those of :func:`run`, in the
    same order; a product that no other depends on is taken from ``unread``, which may return no rows. Raises
    as :func:`run`.
    """
    steps, read = _product_steps(program.plans[segment])
    if steps:
        _run(steps, spans, [src if used else unread for used in read], k)


_Steps = tuple[tuple[Step, tuple[str, ...]], ...]
"""Steps, each with the tensors that are dropped after it."""


def _run(steps: _Steps, spans: Sequence[Span], of: Sequence[Source], k: Kernels) -> dict[str, Array]:
    """Run steps, each with its source; all sources have the same rows."""
    require_ieee()
    rows = of[0].rows
    n = sum(s.b - s.a for s in spans)
    values: dict[str, Array] = {}
    results: dict[str, Array] = {}
    for ((where, op, inputs, outputs), last), src in zip(steps, of, strict=True):
        ins: list[Any] = []
        for name, mode in inputs:
            if mode is not Reads.SAME:
                read = rows.prefix if mode is Reads.PREFIX else rows.whole
                ins.append([k.local(read(name, s)) for s in spans])
                continue
            if name not in values:
                values[name] = _read(rows, name, spans, k)
            x = values[name]
            ins.append(x if len(x) == n or op.broadcasts else repeated(x, n, k))
        k.operation = where
        try:
            outs = op.run(ins, spans, src, k)
            for (name, kept, settled), out in zip(outputs, outs, strict=True):
                if kept:
                    out = out if len(out) == n else repeated(out, n, k)
                    out = k.settle(out) if settled else out
                    results[name] = out
                    _write(rows, name, spans, out)
                values[name] = out
            for name in last:
                values.pop(name, None)
        except ExecutionError as e:
            if e.named:  # by the operation before this one that is at fault
                raise
            raise type(e)(f"{where}: {e}") from e
    return results


@cached_per_plan
def _steps(plan: SegmentPlan) -> _Steps:
    """Return the fused steps of a plan."""
    steps = fuse(plan.steps)
    return tuple(zip(steps, last_uses(steps), strict=True))


@cached_per_plan
def _product_steps(plan: SegmentPlan) -> tuple[_Steps, tuple[bool, ...]]:
    """Return the fused steps that make products or that products depend on, and whether each is read."""
    wanted: set[str] = set()
    found: list[tuple[Step, bool]] = []
    for step in reversed(fuse(plan.steps)):
        # Products of a loop depend on those of its earlier steps, whoever reads its results.
        read = isinstance(step.op, Loop) or any(name in wanted for name, *_ in step.outputs)
        if read or step.op.products:
            wanted.update(name for name, mode in step.inputs if mode is Reads.SAME)
            found.insert(0, (step, read))
    steps = [step for step, _ in found]
    return tuple(zip(steps, last_uses(steps), strict=True)), tuple(read for _, read in found)


def _read(rows: RowReader, name: str, spans: Sequence[Span], k: Kernels) -> Array:
    if len(spans) == 1:
        return k.local(rows.read(name, spans[0]))
    return k.concatenate([k.local(rows.read(name, s)) for s in spans])


def _write(rows: RowReader, name: str, spans: Sequence[Span], out: Array) -> None:
    if len(spans) == 1:
        rows.write(name, spans[0], out)
        return
    at = 0
    for s in spans:
        rows.write(name, s, out[at : at + s.b - s.a])
        at += s.b - s.a
