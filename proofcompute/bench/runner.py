"""One benchmark run, step by step."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from proofcompute.bench.machine import load, machine
from proofcompute.bench.results import BudgetRow, ColumnsRow, Results, ScalingRow, SizeRow, SuiteRow
from proofcompute.bench.scaling import SWEEPS, scale
from proofcompute.bench.settings import Settings
from proofcompute.bench.sweeps import Bench
from proofcompute.errors import InputError
from proofcompute.importers import packaged_smollm2
from proofcompute.kernels import Kernels

__all__ = ["measure", "planned"]

Row = SizeRow | SuiteRow | ColumnsRow | BudgetRow | ScalingRow


def planned(settings: Settings, kernels: Kernels) -> int:
    """Number of steps that :func:`measure` reports."""
    return sum(1 for _ in _steps(Bench(settings, kernels)))


def measure(
    settings: Settings,
    kernels: Kernels,
    command: str,
    note: str = "",
    progress: Callable[[str], None] | None = None,
) -> Results:
    """Run the sweeps.

    Args:
        settings: what to measure.
        kernels: backend of prover and verifier alike.
        command: what to write into the results as the way to repeat this run.
        note: a remark about the machine, for the results.
        progress: called with the name of each step before it starts; :func:`planned` says how many there are.

    The demo model is left out, and named among what was left out, where it is not installed.
    """
    before, start = load(), time.perf_counter()
    rows: dict[type, list[Any]] = {t: [] for t in (SizeRow, SuiteRow, ColumnsRow, BudgetRow, ScalingRow)}
    left_out: list[str] = []
    for name, step in _steps(Bench(settings, kernels)):
        if progress is not None:
            progress(name)
        if name.startswith("size demo") and (reason := _demo_missing()):
            left_out.append(f"{name}: {reason}")
            continue
        row = step()
        rows[type(row)].append(row)
        gc.collect()  # a model of the last step must not count against the next one
    return Results(
        command=command,
        note=note,
        quick=settings.quick,
        rounds=settings.rounds,
        prompt=settings.prompt,
        tokens=settings.tokens,
        machine=machine(kernels, max(before, load())),
        seconds=time.perf_counter() - start,
        sizes=rows[SizeRow],
        suites=rows[SuiteRow],
        columns=rows[ColumnsRow],
        budgets=rows[BudgetRow],
        scaling=rows[ScalingRow],
        left_out=left_out,
    )


def _steps(bench: Bench) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Names of the steps and what they do."""
    s = bench.settings
    if "sizes" in s.sections:
        for size in s.sizes:
            for precision in s.precisions:
                yield f"size {size} {precision}", partial(bench.size, size, precision)
    if "suites" in s.sections:
        for suite in s.suites:
            yield f"suite {suite}", partial(bench.suite, suite)
    if "columns" in s.sections:
        for columns in s.columns:
            yield f"columns {columns}", partial(bench.column, columns)
    if "budgets" in s.sections:
        for cells in bench.budget_list():
            yield f"budget {cells}", partial(bench.budget, cells)
    if "scaling" in s.sections:
        for name in SWEEPS:
            yield f"scaling in {name}", partial(scale, name, s, bench.kernels)


def _demo_missing() -> str:
    try:
        packaged_smollm2()
    except InputError as e:
        return str(e)
    return ""
