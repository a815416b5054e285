"""Compares Freivalds' two passes with reading memory, and times the product checks of a 70B-shaped model.

The reference is a plain parallel Numba sum over the same array. Each measurement repeats one action for a
while before the next one runs, because threads that have just finished a parallel loop spin for milliseconds
and would take a core from the next action.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numba
import numpy as np

from benchmarks.cost.shapes import MODELS
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.bench.timing import seconds
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.sets import hint_sets, pack_set
from proofcompute.importers.compiling import PRECISIONS, decoder_program
from proofcompute.protocol.hints import check_hint
from proofcompute.testing.models import Shape

__all__ = ["LayerChecks", "all_layers", "bandwidths"]

_REPEATS = 7
"""Timed calls in a round, after half as many that are not timed."""


@numba.njit(parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def _sum(values: Array) -> np.int64:
    total = np.int64(0)
    for i in numba.prange(values.size):
        total += values[i]
    return total


def _blocks(actions: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return the median seconds of each action per round; an action repeats before the next one starts."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, found in zip(actions, times, strict=True):
            for _ in range(_REPEATS // 2):
                action()
            found.append(median(seconds(action) for _ in range(_REPEATS)))
    return times


def bandwidths(k: Kernels, rounds: int) -> list[dict[str, Any]]:
    """Time projecting hints and rows, and folding weights, with two columns, in bytes per second."""
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
                "rounds": {"ours": ours, "sum": sums},
            }
        )
    return found


class LayerChecks:
    """Product checks of ``rows`` tokens together through all blocks of a decoder, one limb.

    Hints and columns are random: a check costs the same whatever comes of it.
    """

    def __init__(self, shape: Shape, rows: int, columns: int, k: Kernels) -> None:
        program = decoder_program(shape.arch, PRECISIONS["w8a8"])
        rng = np.random.default_rng(0)
        self.k = k
        self.sites, self.cases = [], []
        for plan in program.plans[1:-1]:
            for site in plan.sites:
                q = rng.integers(-127, 128, (1, rows, site.d), np.int8)
                # a long contraction comes in parts, each with integers of its own
                most = [min(1 << 21, claim.bound) for claim in hint_sets(site, q, (), k)]
                hint = [pack_set(rng.integers(-n, n, (rows, site.m), np.int32), k) for n in most]
                s = rng.integers(0, P31, (columns, site.m)).astype(np.uint32)
                v = rng.integers(0, P31, (1, columns, site.d)).astype(np.uint32)
                sw = np.ones(site.m, np.float32)
                self.sites.append((site, hint))
                self.cases.append((q, s, v, sw))
        self.blocks = len(program.plans) - 2
        self.sx = np.ones(rows, np.float32)
        self.gated = rng.standard_normal((rows, 2 * shape.ffn_width), np.float32)

    def check(self) -> bool:
        """Check every product of every block; return whether any check passed, which random hints do not."""
        passed = False
        for (site, hint), (q, s, v, sw) in zip(self.sites, self.cases, strict=True):
            wanted = hint_sets(site, q, (), self.k)
            checked = check_hint(hint, site.weight, q, wanted, (s, v), self.sx, (sw, None), self.k)
            passed |= checked.holds
        return passed

    def check_and_gate(self) -> bool:
        """Do the same, and recompute the gate of every block."""
        for _ in range(self.blocks):
            self.k.gate(self.gated)
        return self.check()

    def read(self) -> None:
        """Sum what the checks read: S, V, rows, packed hints and scales of every site."""
        for (_, hint), case in zip(self.sites, self.cases, strict=True):
            for array in (*case, *(np.frombuffer(part, np.uint8) for part in hint)):
                _serial_sum(array.reshape(-1))


def all_layers(model: str, rows: int, k: Kernels, rounds: int) -> dict[str, Any]:
    """Time product checks of ``rows`` tokens together through all blocks, and a sum over what they read."""
    layers = LayerChecks(MODELS[model], rows, 2, k)
    assert not layers.check()  # those of real products pass where a block is measured
    checks, reads = _blocks([layers.check, layers.read], rounds)
    return {
        "what": f"product checks of {rows} token{'s' * (rows > 1)}, all {layers.blocks} blocks",
        "model": f"{model} w8a8",
        "milliseconds_per_token": 1e3 * median(checks) / rows,
        "reading_milliseconds_per_token": 1e3 * median(reads) / rows,
        "rounds": {"check": checks, "read": reads},
    }


@numba.njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _serial_sum(values: Array) -> np.int64:
    total = np.int64(0)
    for i in range(values.size):
        total += np.int64(values[i])
    return total
