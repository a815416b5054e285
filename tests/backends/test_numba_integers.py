"""Integer kernels at sizes that end inside a vector, a panel or a unit, and at extreme values."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from kernel_cases.hints import true_hint
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.codegen.shapes import PERMUTES
from proofcompute.arithmetic.backends.numba.kernels import field61, unpacking
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import InputError
from proofcompute.freivalds import field

FAST, SLOW = NumbaKernels(), NumpyKernels()


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("bits", range(1, 33))
def test_pack(bits: int) -> None:
    for count in (0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 97, 1000):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        values = rng(bits, count).integers(low, high, count, endpoint=True).astype(np.int32)
        values[:2] = [low, high][: values[:2].size]
        packed = SLOW.pack(values, bits)
        assert FAST.pack(values, bits) == packed


@pytest.mark.parametrize("bits", range(1, 33))
def test_check_hint(bits: int) -> None:
    """Rows that start at every bit of a byte, longer than a piece, with extreme values."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for n, m in ((9, 17), (2, 1043), (1, 2100)):
        values = rng(bits, m).integers(low, high, (2, n, m), endpoint=True).astype(np.int32)
        values[0, 0, :2] = [low, high]
        sets = [(bits, SLOW.pack(v, bits)) for v in values]
        for bias in (False, True):
            made = true_hint(sets, n, m, 3, bias=bias)
            found, wanted = (k.check_hint(made) for k in (FAST, SLOW))
            assert found.extremes == wanted.extremes
            assert found.holds
            assert wanted.holds
            assert found.y.tobytes() == wanted.y.tobytes()


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("bits", [22, 23, 24, 32])
def test_the_largest_sums_of_a_piece(bits: int, rows: int) -> None:
    """1,024 products of the least value of a width, or of the greatest, with the largest residue."""
    for value in (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
        values = np.full((rows, 2048), value, np.int32)
        made = true_hint([(bits, SLOW.pack(values, bits))], rows, 2048)
        made.s[:] = field.P31 - 1
        made.v[0] = field.project31(values, made.s).T
        assert FAST.check_hint(made).holds
        made.v[0, 1, rows - 1] = (int(made.v[0, 1, rows - 1]) + 1) % field.P31
        assert not FAST.check_hint(made).holds


@pytest.mark.parametrize("lanes", [n for n in (0, 8, 16) if n <= PERMUTES])
def test_unpacking_with_and_without_a_permutation(lanes: int) -> None:
    unpack = unpacking.unpacker(lanes)

    @numba.njit  # type: ignore[untyped-decorator]
    def pieces(data: Any, bits: Any, first: Any, out: Any) -> None:
        unpack(np.uint64(data.ctypes.data), data.size, bits, first, out.size, out)

    for bits in range(1, 33):
        values = rng(bits).integers(-(1 << (bits - 1)), 1 << (bits - 1), 210).astype(np.int32)
        data = np.frombuffer(SLOW.pack(values, bits), np.uint8)
        for first, count in ((0, 210), (0, 1), (7, 150), (193, 17), (1, 16)):
            out = np.empty(count, np.int32)
            pieces(data, bits, first, out)
            assert np.array_equal(out, values[first : first + count])


def test_pack_on_several_threads() -> None:
    values = rng(1).integers(-(1 << 18), 1 << 18, 700_001).astype(np.int32)
    packed = SLOW.pack(values, 19)
    assert FAST.pack(values, 19) == packed
    values[-1] = 1 << 18
    with pytest.raises(InputError):
        FAST.pack(values, 19)


@pytest.mark.parametrize("d", [1, 2, 31, 32, 33, 64, 511, 512, 513, 1000, 8193])
def test_extreme_products(d: int) -> None:
    for n, m in ((1, 1), (2, 5), (7, 3), (8, 33), (13, 4)):
        q = np.full((n, d), -128, np.int8)
        w = np.full((m, d), -128, np.int8)
        q[:, ::3] = 127
        assert np.array_equal(FAST.product(q, w), SLOW.product(q, w))


@pytest.mark.parametrize("n", [1, 3, 7, 8, 11, 12, 13, 25, 100])
def test_linear_with_largest_weights(n: int) -> None:
    """Every activation at +-32639 and every weight at -128: the largest sums that int32 lanes see."""
    for limbs in (1, 2):
        for m, d in ((1, 512), (31, 513), (33, 1100), (5, 9000)):
            x = np.ones((n, d), np.float32)
            x[:, 1::2] *= np.float32(-1 if n % 2 else 1)
            w = Matrix(np.full((limbs, m, d), -128, np.int8), rng(m).random(m).astype(np.float32))
            for x_limbs in (1, 2):
                assert FAST.linear(x, w, x_limbs).tobytes() == SLOW.linear(x, w, x_limbs).tobytes()


def test_rows_beyond_one_block() -> None:
    x = rng(2).standard_normal((1000, 40)).astype(np.float32)
    w = Matrix(rng(3).integers(-127, 128, (1, 35, 40)).astype(np.int8), np.ones(35, np.float32))
    assert FAST.linear(x, w, 2).tobytes() == SLOW.linear(x, w, 2).tobytes()
    q = rng(4).integers(-128, 128, (1000, 40)).astype(np.int8)
    assert np.array_equal(FAST.product(q, w.q[0]), SLOW.product(q, w.q[0]))


def residues(p: int, *shape: int) -> np.ndarray:
    s = rng(*shape).integers(0, p, shape, dtype=np.uint64)
    s.reshape(-1)[: min(3, s.size)] = [p - 1, p // 2, p // 2 + 1][: min(3, s.size)]
    return s


@pytest.mark.parametrize("m", [0, 1, 2, 31, 32, 33, 63, 64, 65, 200])
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32])
def test_projections_31(kind: Any, m: int) -> None:
    limits = np.iinfo(kind)
    for k in (1, 2, 3, 5):
        s = residues(field.P31, k, m).astype(np.uint32)
        for y in (
            rng(m, k).integers(limits.min, limits.max, (4, m), endpoint=True).astype(kind),
            np.full((2, m), limits.min, kind),
            np.full((2, m), limits.max, kind),
        ):
            assert np.array_equal(FAST.project(y, s), field.project31(y, s))
            assert np.array_equal(FAST.fold(np.ascontiguousarray(y.T), s), field.fold31(y.T, s))


@pytest.mark.parametrize("m", [0, 1, 7, 33, 200])
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
def test_projections_61(kind: Any, m: int) -> None:
    limits = np.iinfo(kind)
    for k in (1, 3):
        s = residues(field.P61, k, m)
        for y in (
            rng(m, k).integers(limits.min, limits.max, (4, m), endpoint=True, dtype=kind),
            np.full((2, m), limits.min, kind),
            np.full((2, m), limits.max, kind),
        ):
            assert np.array_equal(field61.project61(y, s), field.project61(y, s))
            assert np.array_equal(field61.fold61(np.ascontiguousarray(y.T), s), field.fold61(y.T, s))


@pytest.mark.parametrize(
    "balanced", [-32768, 32767, 32768, -(1 << 30) + 1, (1 << 30) - 1, 0x3FFF8000, -0x3FFF8000]
)
def test_bytes_times_the_largest_halves(balanced: int) -> None:
    """A column's residue is split in two 16-bit halves: the largest sums that int32 lanes see."""
    m = 2 * 4096 + 33
    s = np.full((2, m), balanced % field.P31, np.uint32)
    for value in (-128, 127):
        y = np.full((3, m), value, np.int8)
        assert np.array_equal(FAST.project(y, s), field.project31(y, s))
        assert np.array_equal(FAST.fold(np.ascontiguousarray(y.T), s), field.fold31(y.T, s))


def test_projections_on_several_threads() -> None:
    y = rng(5).integers(-(1 << 31), 1 << 31, (300, 2000)).astype(np.int32)
    s = residues(field.P31, 2, 2000).astype(np.uint32)
    assert np.array_equal(FAST.project(y, s), field.project31(y, s))
    w = rng(6).integers(-128, 128, (2000, 300)).astype(np.int8)
    assert np.array_equal(FAST.fold(w, s), field.fold31(w, s))
    s61 = residues(field.P61, 1, 2000)
    assert np.array_equal(field61.fold61(w, s61), field.fold61(w, s61))


@pytest.mark.parametrize("check", [FAST.project, FAST.fold])
def test_columns_must_be_residues(check: Any) -> None:
    y, s = np.ones((3, 3), np.int8), np.zeros((2, 3), np.uint32)
    s[1, 2] = field.P31
    with pytest.raises(InputError):
        check(y, s)
    with pytest.raises(InputError):
        check(y, np.zeros((2, 4), np.uint32))
    with pytest.raises(InputError):
        check(y.astype(np.int64), np.zeros((2, 3), np.uint32))


@pytest.mark.parametrize("check", [field61.project61, field61.fold61])
def test_columns_must_be_residues_61(check: Any) -> None:
    y, s = np.ones((3, 3), np.int64), np.zeros((2, 3), np.uint64)
    s[1, 2] = field.P61
    with pytest.raises(InputError):
        check(y, s)
    with pytest.raises(InputError):
        check(y, np.zeros((2, 4), np.uint64))
    with pytest.raises(InputError):
        check(y.astype(np.uint8), np.zeros((2, 3), np.uint64))
