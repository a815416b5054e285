"""Measures how verification grows with rows, width, context, layers and cells, and compares with formulas.

Checking a hint for X (n, d) times W (d, m) under a key costs n (d + m) k multiplications for every set of
accumulators, while computing costs n d m. Attention over t earlier rows is recomputed and costs the same on
both sides: t times the width of the queries for scores and for each of the two limbs of the mixture.
:func:`checking` and :func:`computing` count these from a program, so that a measured exponent can be compared
with that of the formula at the same sizes. They leave out hashing, decoding, element-wise work and the fixed
cost of a call, so measured exponents are mostly lower at small sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from statistics import median

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.results import ScalingRow
from proofcompute.bench.settings import Settings
from proofcompute.bench.timing import exponent, in_turn
from proofcompute.errors import Cell
from proofcompute.freivalds.product import Site
from proofcompute.program.operations import Attention
from proofcompute.program.program import Program
from proofcompute.protocol.cells import all_cells
from proofcompute.testing.models import Shape, random_decoder, random_network
from proofcompute.testing.requests import sample_request, token_request
from proofcompute.testing.subject import Run, Subject

__all__ = ["SWEEPS", "checking", "computing", "scale"]

_LAYERS = 3
"""Number of products of a network built by hand."""


def checking(program: Program, cells: Sequence[Cell], columns: int) -> int:
    """Count the multiplications of checking cells under a key; hints hold the limbs of a row together."""
    return _count(program, cells, lambda site: site.w_limbs * (site.d * site.x_limbs + site.m) * columns)


def computing(program: Program, cells: Sequence[Cell]) -> int:
    """Count the multiplications of computing cells."""
    return _count(program, cells, lambda site: site.w_limbs * site.x_limbs * site.d * site.m)


def _count(program: Program, cells: Sequence[Cell], product: Callable[[Site], int]) -> int:
    total = 0
    for cell in cells:
        rows = cell.b - cell.a
        for site in program.plans[cell.segment].sites:
            total += rows * product(site)
        for node in program.segments[cell.segment].nodes:
            if isinstance(node.op, Attention):
                width = prod(program.specs[node.inputs[0]].shape)
                total += 3 * width * sum(range(cell.a + 1, cell.b + 1))
    return total


def _decoder(s: Settings, layers: int, k: Kernels) -> Subject:
    """Return the decoder for the sweeps over context, layers and cells."""
    width = max(64, 256 // s.scale)
    return Subject(random_decoder(Shape(layers, width, 4, 4, 2 * width, 512), "w8a16", k), k)


@dataclass(frozen=True)
class _Point:
    """One size of a sweep: a function that returns what is run and which cells are checked (None: all)."""

    size: int
    run: Callable[[], tuple[Subject, Run, tuple[Cell, ...] | None]]


@dataclass(frozen=True)
class _Sweep:
    formula: str
    points: Callable[[Settings, Kernels], list[_Point]]
    executes: bool
    """Whether the size is one of the request's, so that the cost of running grows too."""


def _rows(s: Settings, k: Kernels) -> list[_Point]:
    width = 512 // s.scale
    subject = Subject(random_network([width] * (_LAYERS + 1)), k)

    def run(n: int) -> tuple[Subject, Run, None]:
        return subject, subject.finish(sample_request(subject.model, n)), None

    return [_Point(n // s.scale, partial(run, n // s.scale)) for n in (128, 256, 512, 1_024, 2_048, 4_096)]


def _width(s: Settings, k: Kernels) -> list[_Point]:
    def run(d: int) -> tuple[Subject, Run, None]:
        subject = Subject(random_network([d] * (_LAYERS + 1)), k)
        return subject, subject.finish(sample_request(subject.model, 256)), None

    return [_Point(d // s.scale, partial(run, d // s.scale)) for d in (256, 512, 1_024, 2_048, 4_096)]


def _context(s: Settings, k: Kernels) -> list[_Point]:
    sizes = [n // s.scale for n in (512, 1_024, 2_048, 4_096, 8_192)]
    subject = _decoder(s, 1, k)
    made: list[Run] = []

    def run(t: int) -> tuple[Subject, Run, tuple[Cell, ...]]:
        if not made:
            made.append(subject.finish(token_request(subject.model, sizes[-1], 1)))
        return subject, made[0], (Cell(1, t - 1, t),)

    return [_Point(t, partial(run, t)) for t in sizes]


def _layers(s: Settings, k: Kernels) -> list[_Point]:
    def run(layers: int) -> tuple[Subject, Run, None]:
        subject = _decoder(s, layers, k)
        return subject, subject.finish(token_request(subject.model, 128 // s.scale, 1)), None

    return [_Point(n, partial(run, n)) for n in (2, 4, 8, 16, 32)]


def _cells(s: Settings, k: Kernels) -> list[_Point]:
    layers, most = 4, max(32, 128 // s.scale)
    subject = _decoder(s, layers, k)
    made: list[Run] = []

    def run(count: int) -> tuple[Subject, Run, tuple[Cell, ...]]:
        if not made:
            made.append(subject.finish(token_request(subject.model, most, 1)))
        # cells are spread evenly over rows and blocks, so the mean context is similar at every size
        middles = [(2 * i + 1) * most // (2 * count) for i in range(count)]
        chosen = [Cell(1 + i % layers, row, row + 1) for i, row in enumerate(middles)]
        return subject, made[0], tuple(sorted(chosen))

    return [_Point(c, partial(run, c)) for c in (most // 16, most // 8, most // 4, most // 2, most)]


SWEEPS = {
    "rows n": _Sweep("all cells of 3 products of n rows: 3 n (d limbs + d) k", _rows, executes=True),
    "width d": _Sweep("all cells of 3 products d by d: 3 n (d limbs + d) k", _width, executes=True),
    "context t": _Sweep(
        "one cell of a block: sum over products of (d limbs + m) k, plus 3 width t", _context, executes=False
    ),
    "layers": _Sweep("all cells: layers times those of a block, plus the head", _layers, executes=True),
    "cells c": _Sweep("c single-row cells of blocks: c times the mean cell", _cells, executes=False),
}
"""Sweeps by name."""


def scale(step: str, name: str, settings: Settings, kernels: Kernels) -> ScalingRow:
    """Measure one sweep, with sizes in turn, and return medians and slopes."""
    sweep = SWEEPS[name]
    points = sweep.points(settings, kernels)
    sizes = [p.size for p in points]
    checks, runs, check_counts, run_counts = [], [], [], []
    for point in points:
        subject, run, chosen = point.run()
        checks.append(subject.verifier(run, subject.open(run, chosen)))
        runs.append(partial(subject.execute, run.request))
        every = all_cells(run.claim)
        check_counts.append(checking(subject.model.program, every if chosen is None else chosen, 2))
        run_counts.append(computing(subject.model.program, every))
    rounds = {f"verify {n}": t for n, t in zip(sizes, in_turn(checks, settings.rounds), strict=True)}
    if sweep.executes:
        rounds |= {f"run {n}": t for n, t in zip(sizes, in_turn(runs, settings.rounds), strict=True)}
    verify = [median(rounds[f"verify {n}"]) for n in sizes]
    execute = [median(rounds[f"run {n}"]) for n in sizes] if sweep.executes else []
    return ScalingRow(
        step=step,
        name=name,
        sizes=sizes,
        verify_seconds=verify,
        verify_exponent=exponent(sizes, verify),
        tail_exponent=exponent(sizes[-2:], verify[-2:]),
        formula=sweep.formula,
        formula_exponent=exponent(sizes, check_counts),
        formula_tail_exponent=exponent(sizes[-2:], check_counts[-2:]),
        execute_seconds=execute,
        execute_exponent=exponent(sizes, execute) if execute else None,
        execute_formula_exponent=exponent(sizes, run_counts) if execute else None,
        rounds=rounds,
    )
