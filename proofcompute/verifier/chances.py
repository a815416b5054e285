"""Compute with which probability a sampled audit finds an altered trace (docs/spec/verification.md#runs).

A trace has N cells in S segments of n_s rows. A sample draws c cells, uniformly, and g segments, uniformly,
and of each one of its B_s runs. The two draws are independent, so the probabilities that they miss multiply.

- **Scattered cells** miss m altered ones with probability C(N - m, c) / C(N, c), wherever they lie.
- **Runs.** Let q_s be the share of the runs of segment s that hold an altered cell. The drawn segments are a
  uniform set of g, so the probability to miss is the mean over all such sets of the product of 1 - q_s, which
  is e_g(1 - q_1, ..., 1 - q_S) / C(S, g) with the elementary symmetric polynomial e_g.

By Maclaurin's inequality the latter is at most (1 - mean q)^g: spreading over segments is what hides best. Of
m altered cells, wherever they lie, the mean of q is at least what filling runs completely gives, those of the
longest segments first. So :func:`share` is a probability that holds against whoever places them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.protocol.samples import Sample, run_count

__all__ = ["altered_cells", "cells_missed", "one", "row", "runs_missed", "segment", "share", "where"]

_ROUNDING: Final = 1e-6
"""The rounding of a share must not add a cell."""
_ALMOST: Final = 1 - 2**-52
"""The largest share of a segment's runs whose logarithm is taken."""


def altered_cells(share: float, total: int) -> int:
    """Return the cells that a share of a trace is, rounded up."""
    return max(0, math.ceil(share * total - _ROUNDING))


def cells_missed(total: int, altered: int, count: int) -> float:
    """Return the natural logarithm of C(N - m, c) / C(N, c): c of N cells hit none of m."""
    if count > total - altered:
        return -math.inf
    return sum(math.log1p(-altered / (total - i)) for i in range(count))


def runs_missed(shares: Sequence[float], count: int) -> float:
    """Return e_g(1 - q_1, ...) / C(S, g): one run of each of g uniform segments hits nothing altered.

    Args:
        shares: for each segment, the share q of its runs that hold something altered.
        count: g; all segments if there are no more.
    """
    g = min(count, len(shares))
    missed = np.zeros(g + 1)  # [k]: e_k / C(j, k) of the first j segments
    missed[0] = 1.0
    k = np.arange(1, g + 1)
    for j, q in enumerate(shares, 1):
        missed[1:] = np.maximum(0.0, (j - k) / j) * missed[1:] + k / j * (1.0 - q) * missed[:-1]
    return float(missed[g])


def where(rows: Sequence[int], sample: Sample, altered: Sequence[tuple[int, int]]) -> float:
    """Return the probability that a sample hits cells of given places.

    Args:
        rows: the rows of each segment.
        sample: what is drawn.
        altered: for each segment, first and end of its altered rows, counted from its first row.
    """
    cells = sum(b - a for a, b in altered)
    missed = cells_missed(sum(rows), cells, sample.cells)
    if sample.runs:
        touched = [_touched(n, sample.rows, a, b) for n, (a, b) in zip(rows, altered, strict=True)]
        miss = runs_missed(touched, sample.runs)
        missed += math.log(miss) if miss > 0 else -math.inf
    return -math.expm1(missed)


def _touched(rows: int, most: int, a: int, b: int) -> float:
    """Return the share of the runs of a segment that hold one of its rows a..b."""
    if a == b:
        return 0.0
    count = run_count(rows, most)
    first, last = (((x + 1) * count - 1) // rows for x in (a, b - 1))  # the run i with i n / B <= x
    return (last - first + 1) / count


def one(rows: Sequence[int], sample: Sample) -> float:
    """Return the probability that a sample hits one altered cell, wherever it is."""
    return min(where(rows, sample, _only(rows, s, (0, 1))) for s in _extremes(rows))


def segment(rows: Sequence[int], sample: Sample) -> float:
    """Return the probability that a sample hits a segment of which every cell is altered, whichever it is."""
    return min(where(rows, sample, _only(rows, s, (0, rows[s]))) for s in _extremes(rows))


def row(rows: Sequence[int], sample: Sample) -> float:
    """Return the probability that a sample hits one row that is altered in all segments that have most rows.

    Rows at which some segments do not run, such as those of a prompt but for the last one, have fewer cells.
    """
    most = max(rows)
    return where(rows, sample, [(0, int(n == most)) for n in rows])


def share(rows: Sequence[int], sample: Sample, portion: float) -> float:
    """Return a probability with which a sample hits a share of altered cells at least, wherever they are."""
    total = sum(rows)
    bad = altered_cells(portion, total)
    if not bad:
        return 0.0
    scattered = cells_missed(total, bad, sample.cells)
    if not sample.runs:
        return -math.expm1(scattered)
    g = min(sample.runs, len(rows))
    if g * min(n // run_count(n, sample.rows) for n in rows) > total - bad:
        return 1.0
    spread = -math.expm1(scattered + g * math.log1p(-min(_ALMOST, _least(rows, sample, bad))))
    return max(spread, one(rows, sample))


def _least(rows: Sequence[int], sample: Sample, bad: int) -> float:
    """Return the least mean of the shares q over all places of ``bad`` cells, or something smaller."""
    counts = [run_count(n, sample.rows) for n in rows]
    lengths = [-(-n // count) for n, count in zip(rows, counts, strict=True)]
    left, mean = bad, 0.0
    for s in sorted(range(len(rows)), key=lambda s: -counts[s] * lengths[s]):
        taken = min(left, rows[s])
        mean += taken / (counts[s] * lengths[s])
        left -= taken
    return mean / len(rows)


def _extremes(rows: Sequence[int]) -> set[int]:
    """Return one segment of each length: all others are like one of them."""
    return {rows.index(n) for n in set(rows)}


def _only(rows: Sequence[int], s: int, span: tuple[int, int]) -> list[tuple[int, int]]:
    return [span if i == s else (0, 0) for i in range(len(rows))]
