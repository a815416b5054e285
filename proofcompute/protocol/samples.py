"""Say what a sampled audit draws: runs of consecutive rows, and single rows scattered over the trace.

A cell that is checked alone opens the rows of keys and values before it, and has costs that do not depend on
its length. A run of rows of one segment opens them once, so many cells in runs cost little more than one
(docs/guides/planning.md). One altered cell is found with the share that is covered, whatever its shape; runs
find what is spread over a few rows or segments less often than as many scattered cells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import MAX_CELLS, MAX_ROWS, MAX_SEGMENTS

__all__ = ["Sample", "run_count", "run_span"]

_RUNS: Final = re.compile(r"([1-9][0-9]{0,6})x([1-9][0-9]{0,7})", re.ASCII)


@dataclass(frozen=True)
class Sample:
    """How many cells of one trace are drawn, and in what shape.

    Raises InputError unless runs have rows, and something is drawn.
    """

    runs: int = 0
    """Segments (layers) of which one run each is checked; all of them if the program has no more."""
    rows: int = 0
    """The most rows of a run."""
    cells: int = 0
    """Cells of one row, uniform over all cells; all of them if there are no more."""

    def __post_init__(self) -> None:
        for what, value, most in (
            ("runs", self.runs, MAX_SEGMENTS),
            ("rows of a run", self.rows, MAX_ROWS),
            ("cells", self.cells, MAX_CELLS),
        ):
            if type(value) is not int or not 0 <= value <= most:
                raise InputError(f"a sample has 0 to {most} {what}, not {value!r}")
        if (self.runs == 0) != (self.rows == 0):
            raise InputError(f"{self.runs} runs of {self.rows} rows: give both numbers, or neither")
        if not self.runs and not self.cells:
            raise InputError("a sample draws something: runs, cells, or both")

    @staticmethod
    def parse(text: str, cells: int = 0) -> Sample:
        """Return the sample of runs written as ``RUNSxROWS``, such as ``3x256``, and of ``cells`` cells.

        Raises InputError for any other text.
        """
        found = _RUNS.fullmatch(text)
        if found is None:
            raise InputError(f"runs are written RUNSxROWS, for instance 3x256, not {text[:40]!r}")
        return Sample(int(found[1]), int(found[2]), cells)

    def fields(self) -> tuple[int, int, int]:
        """Return the numbers as messages hold them."""
        return self.runs, self.rows, self.cells

    @staticmethod
    def of(value: wire.Value) -> Sample:
        """Read the numbers of a message. Raises FormatError or LimitError if they are no sample."""
        runs, rows, cells = wire.as_list(value, "sample", n=3)
        numbers = (
            wire.as_int(runs, "runs", 0, MAX_SEGMENTS),
            wire.as_int(rows, "rows of a run", 0, MAX_ROWS),
            wire.as_int(cells, "cells", 0, MAX_CELLS),
        )
        try:
            return Sample(*numbers)
        except InputError as e:
            raise FormatError(str(e)) from e

    def __str__(self) -> str:
        runs = [f"{self.runs} run{'s' * (self.runs > 1)} of {self.rows} rows"] if self.runs else []
        cells = [f"{self.cells} cell{'s' * (self.cells > 1)}"] if self.cells else []
        return " and ".join(runs + cells)


def run_count(rows: int, most: int) -> int:
    """Return into how many runs of at most ``most`` rows a segment of ``rows`` rows is cut."""
    return -(-rows // most)


def run_span(rows: int, count: int, index: int) -> tuple[int, int]:
    """Return first and end row of one of ``count`` runs of a segment of ``rows`` rows, from its own first.

    Runs differ in length by at most one row, so that a row is as likely to be in the drawn one as any other.
    """
    return index * rows // count, (index + 1) * rows // count
