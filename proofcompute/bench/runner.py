"""One benchmark run, step by step; what was measured before is kept."""

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
    """Number of steps that :func:`measure` reports."""
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
        kernels: backend of prover and verifier alike.
        command: what to write into the results as the way to repeat this run.
        note: a remark about the machine, for the results.
        own: the model and the prompt whose digests the settings name.
        kept: results of the same settings that were interrupted; their steps are not measured again.
        progress: called with the name of each step before it starts, with a remark behind it where the step
            is kept; :func:`planned` says how many there are.
        save: called with the results so far after every step that was measured.
        warn: called once with a text if others use the machine: before all steps, during one or after.

    The demo model is left out, and named among what was left out, where it is not installed.
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
        run.take(name, step)
        if save is not None:
            save(run.results(complete=False))
        gc.collect()  # a model of the last step must not count against the next one
    run.look(load(), "right after the end")
    results = run.results(complete=True)
    if save is not None:
        save(results)
    return results


class _Run:
    """What has been measured so far."""

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
        self.look(load(), "right before the start")

    def has(self, name: str) -> bool:
        """Whether a step was measured already."""
        return any(step.name == name for step in self._steps)

    def take(self, name: str, step: _Step) -> None:
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
            self._tell(busy, f"during {name}")

    def look(self, busy: Busy, when: str) -> None:
        """Take in what others use while nothing is measured."""
        self._around = max(self._around, busy.others)
        self._stolen = max(self._stolen, busy.stolen)
        self._tell(busy, when)

    def _tell(self, busy: Busy, when: str) -> None:
        """One warning a run is enough: the results hold the figures of every step."""
        if not busy.quiet and not self._warned:
            self._warned = True
            self._warn(busy.complaint(when))

    def results(self, *, complete: bool) -> Results:
        """All so far."""
        place = {name: i for i, name in enumerate(self._names)}  # what was missing before may come later
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
    """Settings as JSON holds them."""
    return {
        f.name: [str(v) if isinstance(v, Lengths) else v for v in value]
        if isinstance(value, tuple)
        else value
        for f in fields(settings)
        for value in (getattr(settings, f.name),)
    }


def _steps(bench: Bench) -> Iterator[tuple[str, _Step]]:
    """Names of the steps and what they do, given their name."""
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
