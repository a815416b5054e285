"""Times actions in rounds, and computes figures from the rounds.

The time of every round is kept, in whole nanoseconds, and every figure is computed from these, so a reader of
the results can compute it again, or other figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

__all__ = [
    "alternating",
    "compared",
    "exponent",
    "in_turn",
    "phases",
    "ratios",
    "repeated",
    "seconds",
    "spread",
]

T = TypeVar("T")
_DIGITS = 9
"""Decimal digits of a second that the clock resolves."""


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    action()
    return round(time.perf_counter() - start, _DIGITS)


def repeated(action: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each of several calls."""
    return [seconds(action) for _ in range(rounds)]


def alternating(
    a: Callable[[], object], b: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Run ``a`` and ``b`` in turn, and return the seconds of each in each round."""
    times = [(seconds(a), seconds(b)) for _ in range(rounds)]
    return [t for t, _ in times], [t for _, t in times]


def phases(
    first: Callable[[], T], then: Callable[[T], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Return the seconds, in each round, of ``first`` and of ``then``, which gets its result.

    Both belong to the same run, so a disturbance of the whole run does not affect their ratio.
    """
    firsts, seconds_then = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        made = first()
        middle = time.perf_counter()
        then(made)
        end = time.perf_counter()
        firsts.append(round(middle - start, _DIGITS))
        seconds_then.append(round(end - middle, _DIGITS))
    return firsts, seconds_then


def in_turn(actions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return the seconds of each action in each round; all run once before any runs again."""
    times = [[seconds(action) for action in actions] for _ in range(rounds)]
    return [list(column) for column in zip(*times, strict=True)]


def ratios(below: Sequence[float], above: Sequence[float]) -> list[float]:
    """Return ``above`` divided by ``below``, round by round."""
    return [y / x for x, y in zip(below, above, strict=True)]


def compared(below: Sequence[float], above: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of each, and the median of the ratios ``above`` divided by ``below``."""
    return median(below), median(above), median(ratios(below, above))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return minimum, lower quartile, median, upper quartile and maximum; quartiles are interpolated."""
    low, high = (float(q) for q in np.quantile(np.asarray(values, np.float64), (0.25, 0.75)))
    return {"min": min(values), "q1": low, "median": median(values), "q3": high, "max": max(values)}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of log value over log size by least squares: c for value = constant * size^c."""
    slope, _ = np.polyfit([math.log(s) for s in sizes], [math.log(v) for v in values], 1)
    return float(slope)
