"""Times calls that a device only queues."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from proofcompute.arithmetic.kernels import Kernels

__all__ = ["Measurement", "seconds", "wait"]

ROUNDS = 5
MOST = 1024
"""Most calls of a round: each may leave a check that is evaluated when the round ends."""


@dataclass(frozen=True)
class Measurement:
    """One figure."""

    name: str
    """The name of the measured quantity."""
    value: float
    unit: str
    detail: dict[str, Any]
    """Parameters of the measurement, such as sizes."""

    def plain(self) -> dict[str, Any]:
        """Return the figure as a dictionary for JSON."""
        return asdict(self)


def wait(kernels: Kernels) -> None:
    """Wait until all queued work is done."""
    kernels.host(kernels.zeros((1,), np.uint8))


def seconds(call: Callable[[], object], finish: Callable[[], object], least: float) -> float:
    """Return the seconds of one call: the mean of the fastest round, each of at least ``least`` seconds.

    ``finish`` waits for what the calls have queued.
    """

    def spent(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        finish()
        return time.perf_counter() - start

    spent(1)
    count = 1
    while spent(count) < least and count < MOST:
        count *= 2
    return min(spent(count) for _ in range(ROUNDS)) / count
