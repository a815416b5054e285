"""SHA-256 in lanes against hashlib: every length, prefixes on both sides of a block, any number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.kernels.sha256 import LANES
from proofcompute.commitments import hashing
from proofcompute.errors import InputError, UnsupportedError

KERNELS = NumbaKernels()


def rows_of(n: int, width: int) -> np.ndarray:
    return np.random.default_rng(n * 1000 + width).integers(0, 256, (n, width)).astype(np.uint8)


@pytest.mark.parametrize("prefix", [b"", b"\x01", bytes(range(33))])
def test_every_length(prefix: bytes) -> None:
    for width in range(201):
        rows = rows_of(LANES + 3, width)
        expected = hashing.hash_rows("sha256", prefix, rows)
        assert np.array_equal(KERNELS.hash_rows("sha256", prefix, rows), expected), width


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, LANES - 1, LANES, LANES + 1, 3 * LANES, 100])
def test_any_number_of_rows(n: int) -> None:
    for width in (0, 1, 64, 408):
        rows = rows_of(n, width)
        found = KERNELS.hash_rows("sha256", b"\x00" + bytes(32), rows)
        assert np.array_equal(found, hashing.hash_rows("sha256", b"\x00" + bytes(32), rows))


@pytest.mark.parametrize("length", [55, 56, 63, 64, 65, 119, 120, 128, 1000, 1024, 1025, 3000])
def test_long_prefixes(length: int) -> None:
    prefix = bytes(i % 251 for i in range(length))
    rows = rows_of(20, 70)
    assert np.array_equal(
        KERNELS.hash_rows("sha256", prefix, rows), hashing.hash_rows("sha256", prefix, rows)
    )


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_few_long_rows(n: int) -> None:
    """Up to eight are hashed one by one, by several threads."""
    rows = rows_of(n, (1 << 17) + 5)
    expected = hashing.hash_rows("sha256", b"prefix", rows)
    assert np.array_equal(KERNELS.hash_rows("sha256", b"prefix", rows), expected)
    found = KERNELS.hash_rows("sha256", b"prefix", rows[:, ::2])  # not contiguous
    assert np.array_equal(found, hashing.hash_rows("sha256", b"prefix", rows[:, ::2]))


def test_enough_rows_for_several_threads() -> None:
    rows = rows_of(9_001, 64)
    assert np.array_equal(
        KERNELS.hash_rows("sha256", b"\x01", rows), hashing.hash_rows("sha256", b"\x01", rows)
    )


def test_read_only_rows() -> None:
    rows = np.frombuffer(bytes(range(256)) * 5, dtype=np.uint8).reshape(20, 64)
    assert np.array_equal(KERNELS.hash_rows("sha256", b"", rows), hashing.hash_rows("sha256", b"", rows))


@pytest.mark.parametrize("suite", hashing.SUITES)
def test_every_suite(suite: str) -> None:
    rows = rows_of(20, 45)
    assert np.array_equal(KERNELS.hash_rows(suite, b"p", rows), hashing.hash_rows(suite, b"p", rows))


def test_errors() -> None:
    with pytest.raises(UnsupportedError):
        KERNELS.hash_rows("md5", b"", rows_of(20, 4))
    with pytest.raises(InputError):
        KERNELS.hash_rows("sha256", b"", rows_of(20, 4).reshape(-1))
