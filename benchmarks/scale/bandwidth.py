"""Freivalds' two passes against reading memory, and the product checks of a whole 70B-shaped model.

The yardstick is a plain parallel Numba sum over the same array. Each measurement repeats one thing for a
while before the next one runs: threads that have just finished a parallel loop go on spinning for
milliseconds and would take a core from whatever comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numba
import numpy as np

from benchmarks.cost.shapes import MODELS
from proofcompute.bench.timing import seconds
from proofcompute.field import P31
from proofcompute.freivalds import claims
from proofcompute.importers.decoder import PRECISIONS, decoder_program
from proofcompute.kernels import Array, Kernels
from proofcompute.messages import check_hint, pack_set

__all__ = ["all_layers", "bandwidths"]

_REPEATS = 7
"""Timed calls in a round, after half as many that are not."""


@numba.njit(parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _sum(values: Array) -> np.int64:
    total = np.int64(0)
    for i in numba.prange(values.size):
        total += values[i]
    return total


def _blocks(actions: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Median seconds of each action in each round; an action repeats before the next one starts."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, found in zip(actions, times, strict=True):
            for _ in range(_REPEATS // 2):
                action()
            found.append(median(seconds(action) for _ in range(_REPEATS)))
    return times


def bandwidths(k: Kernels, rounds: int) -> list[dict[str, Any]]:
    """Projecting hints and rows, and folding weights, two columns; bytes of the array over time."""
    rng = np.random.default_rng(0)
    hints = rng.integers(-(1 << 29), 1 << 29, (8_192, 8_192), np.int32)
    rows = rng.integers(-128, 128, (8_192, 8_192), np.int8)
    weights = rng.integers(-128, 128, (16_384, 8_192), np.int8)
    found = []
    for what, array, apply in (
        ("int32 hints", hints, k.project),
        ("int8 rows", rows, k.project),
        ("int8 weights (key)", weights, k.fold),
    ):
        length = array.shape[0] if apply == k.fold else array.shape[1]
        s = rng.integers(0, P31, (2, length)).astype(np.uint32)
        flat = array.reshape(-1)
        ours, sums = _blocks([lambda f=apply, a=array, s=s: f(a, s), lambda a=flat: _sum(a)], rounds)  # type: ignore[misc]
        found.append(
            {
                "what": what,
                "gigabytes_per_second": array.nbytes / median(ours) / 1e9,
                "sum_gigabytes_per_second": array.nbytes / median(sums) / 1e9,
                "of_sum": median(y / x for x, y in zip(ours, sums, strict=True)),
                "giga_elements_per_second": array.size / median(ours) / 1e9,
                "best_giga_elements_per_second": array.size / min(ours) / 1e9,
            }
        )
    return found


def all_layers(model: str, rows: int, k: Kernels, rounds: int) -> dict[str, Any]:
    """Product checks of ``rows`` tokens together through all blocks, one limb.

    What they read is summed, too: S, V, rows, packed hints and scales of every site. Hints and columns are
    random: a check costs the same whatever comes of it.
    """
    program = decoder_program(MODELS[model], PRECISIONS["w8a8"])
    rng = np.random.default_rng(0)
    sites, cases = [], []
    for plan in program.plans[1:-1]:
        for site in plan.sites:
            hint = pack_set(rng.integers(-(1 << 21), 1 << 21, (rows, site.m), np.int32), k)
            q = rng.integers(-127, 128, (1, rows, site.d), np.int8)
            s = rng.integers(0, P31, (2, site.m)).astype(np.uint32)
            v = rng.integers(0, P31, (1, 2, site.d)).astype(np.uint32)
            sw = np.ones(site.m, np.float32)
            sites.append((site, hint))
            cases.append((q, s, v, sw, np.frombuffer(hint, np.uint8)))
    sx = np.ones(rows, np.float32)

    def check() -> bool:
        passed = False
        for (site, hint), (q, s, v, sw, _) in zip(sites, cases, strict=True):
            wanted = claims(site, q, (), k)
            passed |= check_hint([hint], site.weight, q, wanted, (s, v), sx, (sw, None), k).holds
        return passed

    def read() -> None:
        for case in cases:
            for array in case:
                _serial_sum(array.reshape(-1))

    assert not check()  # random hints are wrong; those of real products pass where a block is measured
    checking, reading = (median(t) for t in _blocks([check, read], rounds))
    return {
        "what": f"product checks of {rows} token{'s' * (rows > 1)}, all {len(program.plans) - 2} blocks",
        "model": f"{model} w8a8",
        "milliseconds_per_token": 1e3 * checking / rows,
        "reading_milliseconds_per_token": 1e3 * reading / rows,
    }


@numba.njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _serial_sum(values: Array) -> np.int64:
    total = np.int64(0)
    for i in range(values.size):
        total += np.int64(values[i])
    return total
