"""A verifier reads an opening frame by frame: its memory does not grow with the number of cells."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import synthetic
from proofcompute.errors import Cell
from proofcompute.testing.models import random_network
from proofcompute.testing.requests import sample_request
from proofcompute.testing.subject import Audit, Run, Subject
from proofcompute.verifier import Verified
from proofcompute.verifier.auditor import Auditor

SIZES = (16, 32, 64, 128, 256, 512)
ROWS = 256
SLACK = 32 << 10
"""Bytes by which peaks may differ; the shortest opening is larger."""


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(random_network([96, 320, 320, 64]), synthetic.KERNELS)


@pytest.fixture(scope="module")
def run(subject: Subject) -> Run:
    return subject.finish(sample_request(subject.model, ROWS))


def single_rows(count: int) -> tuple[Cell, ...]:
    """So many cells of one row, over all segments and rows."""
    step = 3 * ROWS // count
    return tuple(Cell(i // ROWS, i % ROWS, i % ROWS + 1) for i in range(0, step * count, step))


def ranges(count: int) -> tuple[Cell, ...]:
    """A few cells, of more and more rows up to the most that one cell may have."""
    return tuple(Cell(segment, 0, count // 4) for segment in range(3))


def peak(subject: Subject, run: Run, audit: Audit, path: Path) -> tuple[int, Verified]:
    """Most bytes that verifying takes at once, with the opening on disk."""
    path.write_bytes(audit.opening)
    cells, auditor = itertools.count(1), Auditor(subject.key(), device=subject.kernels)

    def tidy(_: int) -> None:
        if not next(cells) % 16:
            gc.collect()  # what the interpreter keeps for later (free lists) is not the verifier's

    with path.open("rb") as stream:
        tracemalloc.start()
        try:
            found = auditor.check(run.request, run.data, audit.challenge, stream, progress=tidy)
            return tracemalloc.get_traced_memory()[1], found
        finally:
            tracemalloc.stop()


def measured(
    subject: Subject, run: Run, cells: Callable[[int], tuple[Cell, ...]], path: Path
) -> Iterator[tuple[int, int]]:
    """Bytes of the opening, and the peak, for each size."""
    warm = subject.open(run, single_rows(SIZES[0]))
    peak(subject, run, warm, path)  # columns are derived once
    for count in SIZES:
        audit = subject.open(run, cells(count))
        most, found = peak(subject, run, audit, path)
        assert found.cells == sum(c.b - c.a for c in audit.challenge.cells)
        yield len(audit.opening), most


def test_peak_memory_does_not_grow_with_the_number_of_cells(
    subject: Subject, run: Run, tmp_path: Path
) -> None:
    sizes, peaks = zip(*measured(subject, run, single_rows, tmp_path / "opening"), strict=True)
    assert sizes[-1] > 25 * sizes[0]
    assert max(peaks) - min(peaks) < SLACK < sizes[0]


def test_the_measure_sees_memory_that_grows(subject: Subject, run: Run, tmp_path: Path) -> None:
    """One larger and larger cell does take more: what the other test allows is not everything."""
    sizes, peaks = zip(*measured(subject, run, ranges, tmp_path / "opening"), strict=True)
    assert peaks[-1] - peaks[0] > 8 * SLACK
    assert sizes[-1] > 25 * sizes[0]
