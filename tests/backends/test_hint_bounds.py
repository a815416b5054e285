"""Hints are unpacked by address: not one byte beside the packed ones is read, whatever their width."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import sys

import numpy as np
import pytest

from kernel_cases.hints import true_hint
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels

FAST, SLOW = NumbaKernels(), NumpyKernels()
PAGE = mmap.PAGESIZE
CASES = 400


class Guarded:
    """Bytes that touch, at their end or their start, a page that nobody may read."""

    def __init__(self, data: bytes, *, at_end: bool) -> None:
        inside = -(-len(data) // PAGE) * PAGE
        self.memory = mmap.mmap(-1, inside + 2 * PAGE)
        first = PAGE + inside - len(data) if at_end else PAGE
        self.memory[first : first + len(data)] = data
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for page in (start, start + PAGE + inside):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), PAGE, 0) == 0
        self.data = memoryview(self.memory)[first : first + len(data)]


def _read_all(rng: np.random.Generator) -> None:
    for _ in range(CASES):
        bits, columns, count = (int(rng.integers(a, b)) for a, b in ((1, 33), (1, 4), (1, 4)))
        n = int(rng.choice([1, 2, 3, 7]))
        m = int(rng.choice([1, 2, 15, 16, 17, 31, 33, 64, 576, 1023, 1024, 1025, 1537]))
        low, high = -(1 << (bits - 1)), 1 << (bits - 1)
        sets = [SLOW.pack(rng.integers(low, high, n * m).astype(np.int32), bits) for _ in range(count)]
        guarded = [Guarded(data, at_end=bool(rng.random() < 0.8)) for data in sets]
        made = true_hint([(bits, data) for data in sets], n, m, columns, bias=True)

        def read(k: Kernels, sets: list[bytes] | list[memoryview]) -> tuple[object, ...]:
            found = k.check_hint(made._replace(packed=[(bits, d) for d in sets]))  # noqa: B023
            return found.extremes, found.holds, found.y.tobytes()

        found = read(FAST, [g.data for g in guarded])
        assert found == read(SLOW, sets), (bits, n, m)
        assert found[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork, and pages that may not be read")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_beside_a_hint_is_read(seed: int) -> None:
    """In a child, which a read of a forbidden page ends."""
    FAST.check_hint(true_hint([(1, b"\0")], 1, 1))  # compiled here, once
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_read_all, args=(np.random.default_rng(seed),))
    process.start()
    process.join(120)
    assert process.exitcode == 0
