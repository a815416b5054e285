"""Runs a benchmark step by step, and keeps steps that were measured before."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.busy import Busy, Watch, load
from proofcompute.bench.machine import code, machine
from proofcompute.bench.own import Own
from proofcompute.bench.results import SECTIONS, Load, Results, Row, Step
from proofcompute.bench.scaling import SWEEPS, scale
from proofcompute.bench.settings import Lengths, Settings
from proofcompute.bench.sweeps import Bench
from proofcompute.errors import InputError
from proofcompute.importers import packaged_smollm2

__all__ = ["measure", "plain", "planned"]

_Step = Callable[[str], Row | None]


def planned(settings: Settings, kernels: Kernels) -> int:
    """Return the number of steps that :func:`measure` reports."""
    return sum(1 for _ in _steps(Bench(settings, kernels, Own())))


def measure(
    settings: Settings,
    kernels: Kernels,
    command: str,
    note: str = "",
    *,
    own: Own | None = None,
    kept: Results | None = None,
    progress: Callable[[str], None] | None = None,
    save: Callable[[Results], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Results:
    """Run the sweeps.

    Args:
        settings: what to measure.
        kernels: the backend of prover and verifier.
        command: the command that repeats this run, for the results.
        note: a remark about the machine, for the results.
        own: the model and the prompt whose digests the settings name.
        kept: results of an interrupted run with the same settings; their steps are not measured again.
        progress: called with the name of each step before it starts, and with a remark if the step is kept;
            :func:`planned` returns their number.
        save: called with the results so far after every step that was measured.
        warn: called at most once, with a text, if others use the machine.

    The demo model is left out, which the results state, if it is not installed.
    """
    steps = dict(_steps(Bench(settings, kernels, own or Own())))
    fixed = {
        "command": command,
        "note": note,
        "settings": plain(settings),
        "machine": machine(kernels),
        "code": code(),
    }
    run = _Run(fixed, list(steps), kept, warn or (lambda _: None))
    for name, step in steps.items():
        if progress is not None:
            progress(f"{name}: kept" if run.has(name) else name)
        if run.has(name):
            continue
        if name.startswith("size demo") and (reason := _demo_missing()):
            run.left_out.append(f"{name}: {reason}")
            continue
        run.measure(name, step)
        if save is not None:
            save(run.results(complete=False))
        gc.collect()  # memory of the last step's model must not slow down the next step
    run.add_load(load(), "right after the end")
    results = run.results(complete=True)
    if save is not None:
        save(results)
    return results


class _Run:
    """The measurements of a run so far."""

    def __init__(
        self, fixed: dict[str, Any], names: list[str], kept: Results | None, warn: Callable[[str], None]
    ) -> None:
        self._fixed = fixed
        self._names = names
        self._warn = warn
        self._warned = False
        self.left_out: list[str] = []
        self._steps: list[Step] = list(kept.steps) if kept else []
        self._rows: dict[str, list[Row]] = {s: list(getattr(kept, s, ())) for s in SECTIONS}
        self._around = kept.load.around if kept else 0.0
        self._stolen = kept.load.stolen if kept else 0.0
        self.add_load(load(), "right before the start")

    def has(self, name: str) -> bool:
        """Return whether a step was measured already."""
        return any(step.name == name for step in self._steps)

    def measure(self, name: str, step: _Step) -> None:
        """Measure a step."""
        watch, start = Watch(), time.perf_counter()
        row = step(name)
        spent, busy = time.perf_counter() - start, watch.busy()
        if row is None:
            self.left_out.append(f"{name}: the request has no more cells")
            return
        section = next(s for s, kind in SECTIONS.items() if isinstance(row, kind))
        self._rows[section].append(row)
        others, stolen = (None, None) if busy is None else (busy.others, busy.stolen)
        self._steps.append(Step(name, spent, others, stolen))
        if busy is not None:
            self._warn_once(busy, f"during {name}")

    def add_load(self, busy: Busy, when: str) -> None:
        """Record the load by others while nothing is measured."""
        self._around = max(self._around, busy.others)
        self._stolen = max(self._stolen, busy.stolen)
        self._warn_once(busy, when)

    def _warn_once(self, busy: Busy, when: str) -> None:
        """Warn of the first load only; the results hold the figures of every step."""
        if not busy.quiet and not self._warned:
            self._warned = True
            self._warn(busy.complaint(when))

    def results(self, *, complete: bool) -> Results:
        """Return the results so far, in the order of the steps."""
        place = {name: i for i, name in enumerate(self._names)}  # a step may have been added after later ones
        stolen = [s.stolen for s in self._steps if s.stolen is not None]
        rows: dict[str, Any] = {
            section: sorted(found, key=lambda row: place[row.step]) for section, found in self._rows.items()
        }
        return Results(
            **self._fixed,
            **rows,
            load=Load(
                around=self._around,
                during=max((s.others for s in self._steps if s.others is not None), default=0.0),
                stolen=max([self._stolen, *stolen]),
            ),
            seconds=sum(s.seconds for s in self._steps),
            complete=complete,
            steps=list(self._steps),
            left_out=list(self.left_out),
        )


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as plain data for JSON."""
    return {
        f.name: [str(v) if isinstance(v, Lengths) else v for v in value]
        if isinstance(value, tuple)
        else value
        for f in fields(settings)
        for value in (getattr(settings, f.name),)
    }


def _steps(bench: Bench) -> Iterator[tuple[str, _Step]]:
    """Yield the name of each step and the function that measures it, given its name."""
    s = bench.settings
    if "sizes" in s.sections:
        for size in s.sizes:
            for precision in s.precisions:
                for lengths in s.lengths:
                    at = f" {lengths}" if len(s.lengths) > 1 else ""
                    yield (
                        f"size {size} {precision}{at}",
                        partial(bench.size, size=size, precision=precision, lengths=lengths),
                    )
    if "suites" in s.sections:
        for suite in s.suites:
            yield f"suite {suite}", partial(bench.suite, suite=suite)
    if "columns" in s.sections:
        for columns in s.columns:
            yield f"columns {columns}", partial(bench.column, columns=columns)
    if "budgets" in s.sections:
        for cells in bench.budget_list():
            yield f"budget {'all' if cells is None else cells}", partial(bench.budget, cells=cells)
    if "scaling" in s.sections:
        for name in SWEEPS:
            yield f"scaling in {name}", partial(scale, name=name, settings=s, kernels=bench.kernels)


def _demo_missing() -> str:
    try:
        packaged_smollm2()
    except InputError as e:
        return str(e)
    return ""
