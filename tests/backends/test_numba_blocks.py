"""Blocks of rows that threads multiply: about equally many rows for each, and the same bytes for any."""

from __future__ import annotations

import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.through import block_of
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.definition.products import quantise
from proofcompute.arithmetic.kernels import Matrix


def shares(rows: int, block: int, workers: int) -> list[int]:
    """Rows of each thread, when they take one block after the other."""
    found = [0] * workers
    for number, first in enumerate(range(0, rows, block)):
        found[number % workers] += min(block, rows - first)
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
@pytest.mark.parametrize("most", [12, 36, 60, 96])
def test_the_longest_share_is_nearly_the_shortest_possible(most: int, workers: int) -> None:
    for rows in (1, 11, 12, 13, 95, 96, 97, 200, 511, 1024, 5000):
        block = block_of(rows, most, workers)
        sizes = range(min(48, most), most + 1, 12)
        assert block in sizes
        best = min(max(shares(rows, size, workers)) for size in sizes)
        assert max(shares(rows, block, workers)) <= best * 1.02
        assert all(max(shares(rows, size, workers)) > best * 1.01 for size in sizes if size > block)


def test_a_thousand_rows_are_halved() -> None:
    assert max(shares(1024, block_of(1024, 96, 2), 2)) == 520
    assert max(shares(1024, 96, 2)) == 544


@pytest.mark.parametrize("limbs", [1, 2])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_products_of_any_blocks_are_equal(limbs: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: workers)
    rng = np.random.default_rng(5)
    q, scale = quantise(rng.standard_normal((37, 33), np.float32), 1)
    w = Matrix(q, scale, None)
    for rows in (49, 97, 130, 333):
        x = rng.standard_normal((rows, 33), np.float32)
        fast, slow = (k.linear_through(x, (), w, limbs) for k in (NumbaKernels(), NumpyKernels()))
        assert fast.tobytes() == slow.tobytes()
