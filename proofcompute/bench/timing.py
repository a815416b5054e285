"""Clocks: medians, and ratios of two things measured in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

__all__ = ["alternating", "exponent", "in_turn", "phases", "seconds"]

T = TypeVar("T")


def seconds(action: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternating(a: Callable[[], object], b: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ``a`` and of ``b``, run in turn, and the median of the ratios b / a of each round."""
    times = [(seconds(a), seconds(b)) for _ in range(rounds)]
    return median(t for t, _ in times), median(t for _, t in times), median(y / x for x, y in times)


def phases(first: Callable[[], T], then: Callable[[T], object], rounds: int) -> tuple[float, float]:
    """Median seconds of ``first``, and the median share that ``then``, given its result, adds in each round.

    Both sides of a ratio belong to one and the same run, so what disturbs a whole run does not enter it.
    """
    firsts, shares = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        made = first()
        middle = time.perf_counter()
        then(made)
        firsts.append(middle - start)
        shares.append((time.perf_counter() - middle) / firsts[-1])
    return median(firsts), median(shares)


def in_turn(actions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each action; all run once before any runs again."""
    times = [[seconds(action) for action in actions] for _ in range(rounds)]
    return [median(column) for column in zip(*times, strict=True)]


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log value over log size by least squares: c for value = constant * size^c."""
    slope, _ = np.polyfit([math.log(s) for s in sizes], [math.log(v) for v in values], 1)
    return float(slope)
