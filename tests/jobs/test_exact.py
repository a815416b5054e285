"""Products of integers: exact in both directions, for every type, shape and backend."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.errors import InputError, LimitError, VerificationError
from proofcompute.freivalds.field import P31, P61
from proofcompute.jobs import verify_product
from proofcompute.jobs.arrays import DTYPES, result_dtype
from proofcompute.jobs.exact import multiply

DEVICES = ("cpu", "numpy")
TYPES = ("int8", "int16", "int32")


def integers(rng: np.random.Generator, dtype: str, shape: tuple[int, int]) -> Array:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def by_python(a: Array, b: Array) -> list[list[int]]:
    """The definition, in Python integers."""
    return [[sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) for column in b.T] for row in a]


def product(a: Array, b: Array) -> Array:
    """The true product in the type that a claim has."""
    n, m = len(a), b.shape[1]
    dtype = result_dtype(a.dtype.name, b.dtype.name, a.shape[1])
    return np.array(by_python(a, b), dtype=object).reshape(n, m).astype(dtype)


def rejected(a: Array, b: Array, c: Array, device: str = "auto") -> bool:
    """The claim fails; whether the error holds nothing but where it happened."""
    with pytest.raises(VerificationError) as caught:
        verify_product(a, b, c, device=device)
    e = caught.value
    return (e.step, e.operation, e.cell, e.expected, e.found) == (8, "product", None, None, None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("left", TYPES)
@pytest.mark.parametrize("right", TYPES)
def test_random_products_are_exact_and_accepted(left: str, right: str, device: str) -> None:
    rng = np.random.default_rng(1)
    for n, d, m in ((1, 1, 1), (3, 5, 2), (7, 1, 9), (2, 33, 17), (5, 64, 1)):
        a, b = integers(rng, left, (n, d)), integers(rng, right, (d, m))
        if left == right == "int32":
            a, b = a >> 3, b >> 5  # below 2^60 for these lengths
        c = multiply(a, b, kernels_for(device))
        np.testing.assert_array_equal(c, product(a, b))
        result = verify_product(a, b, c, device=device)
        assert (result.rows, result.contraction, result.width) == (n, d, m)
        assert result.complete
        assert result.bound is None
        assert result.arithmetic == ("GF(2^31 - 1)" if left == right == "int8" else "GF(2^61 - 1)")
        assert result.soundness_bits > 60.9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TYPES)
def test_extreme_elements(dtype: str, device: str) -> None:
    info = np.iinfo(dtype)
    # int32: 2^31 2^31 is 2^62, too much; a smaller right factor keeps below 2^60
    large = [info.min, info.max] if dtype != "int32" else [-(1 << 27), (1 << 27) - 1]
    d = 3
    for x in (info.min, info.max):
        for y in large:
            a, b = np.full((2, d), x, dtype), np.full((d, 2), y, dtype)
            c = multiply(a, b, kernels_for(device))
            np.testing.assert_array_equal(c, product(a, b))
            assert verify_product(a, b, c, device=device).complete
            assert rejected(a, b, c + np.sign(c).astype(c.dtype), device=device)


def test_the_longest_int8_contraction_in_int32_and_one_more() -> None:
    for d, dtype, arithmetic in ((65535, "int32", "GF(2^31 - 1)"), (65536, "int64", "GF(2^61 - 1)")):
        a, b = np.full((1, d), -128, np.int8), np.full((d, 1), -128, np.int8)
        c = multiply(a, b, kernels_for("cpu"))
        assert c.dtype == dtype
        assert c.tolist() == [[d * 128 * 128]]
        result = verify_product(a, b, c)
        assert (result.arithmetic, result.dtypes[2]) == (arithmetic, dtype)
        assert rejected(a, b, c - 1)


def test_long_contractions_in_several_parts() -> None:
    rng = np.random.default_rng(2)
    a, b = integers(rng, "int8", (2, 70001)), integers(rng, "int8", (70001, 3))
    c = multiply(a, b, kernels_for("cpu"))
    np.testing.assert_array_equal(c, a.astype(np.int64) @ b.astype(np.int64))
    assert verify_product(a, b, c).complete


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 4, 0), (3, 0, 4), (0, 0, 0)])
def test_empty_shapes(shape: tuple[int, int, int], device: str) -> None:
    n, d, m = shape
    for dtype, claim in (("int8", np.int32), ("int16", np.int64), ("float32", np.float32)):
        a, b, c = np.zeros((n, d), dtype), np.zeros((d, m), dtype), np.zeros((n, m), claim)
        result = verify_product(a, b, c, device=device)
        assert (result.rows, result.total) == (n, n)
        if n and m:  # the sum of nothing is zero
            c[-1, -1] = 1
            assert rejected(a, b, c, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TYPES)
def test_every_element_is_checked(dtype: str, device: str) -> None:
    rng = np.random.default_rng(3)
    a, b = integers(rng, dtype, (4, 5)) >> 4, integers(rng, dtype, (5, 6)) >> 4
    c = product(a, b)
    for i in range(4):
        for j in range(6):
            for delta in (1, -1, 255, 1 << 20):
                wrong = c.copy()
                wrong[i, j] += delta
                assert rejected(a, b, wrong, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_claim_that_is_right_modulo_p_is_out_of_range(device: str) -> None:
    a, b = np.array([[3, -4]], np.int8), np.array([[5], [6]], np.int8)
    for p, dtype in ((P31, np.int32), (P31, np.int64), (P61, np.int64)):
        for value in (-9 + p, -9 - p):
            if abs(value) <= np.iinfo(dtype).max:
                assert rejected(a, b, np.array([[value]], dtype), device=device)
    # the very ends of the types, whose absolute value does not fit them
    for claim in (np.iinfo(np.int32).min, np.iinfo(np.int32).max, 1 << 30, -(1 << 30)):
        assert rejected(a, b, np.array([[claim]], np.int32), device=device)
    for claim in (np.iinfo(np.int64).min, np.iinfo(np.int64).max, 1 << 60, -(1 << 60)):
        assert rejected(a, b, np.array([[claim]], np.int64), device=device)


def test_a_product_that_wraps_in_its_type_is_not_the_product() -> None:
    a, b = np.full((1, 4), 1 << 30, np.int32), np.full((4, 1), 4, np.int32)
    true = 1 << 34
    assert verify_product(a, b, np.array([[true]], np.int64)).complete
    assert rejected(a, b, np.array([[true % (1 << 32)]], np.int32))


def test_the_bound_of_wide_products_is_sharp() -> None:
    a, b = np.array([[(1 << 31) - 1]], np.int32), np.array([[1 << 29]], np.int32)
    c = multiply(a, b, kernels_for("cpu"))  # (2^31 - 1) 2^29 is just below 2^60
    assert c.tolist() == [[((1 << 31) - 1) << 29]]
    assert verify_product(a, b, c).complete
    low = np.array([[-(1 << 31)]], np.int32)
    for f in (lambda: multiply(low, b, kernels_for("cpu")), lambda: verify_product(low, b, -c)):
        with pytest.raises(LimitError, match="2\\^60"):
            f()


def test_layouts_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    a, b = integers(rng, "int16", (12, 10)), integers(rng, "int16", (20, 7))
    a, b = a[::2, ::-1], np.asfortranarray(b[::2])
    c = np.asfortranarray(product(a, b))
    for x in (a, b, c):
        x.setflags(write=False)
    assert verify_product(a, b, c).complete
    assert verify_product(a.astype(">i2"), b, c.astype(">i8")).complete


@pytest.mark.parametrize(
    ("a", "b", "c"),
    [
        (np.zeros((2, 3), np.int8), np.zeros((4, 2), np.int8), np.zeros((2, 2), np.int32)),
        (np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros((2, 3), np.int32)),
        (np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int16)),
        (np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.float32)),
        (np.zeros((2, 3), np.int8), np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32)),
        (np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float64), np.zeros((2, 2), np.float64)),
        (np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float64)),
        (np.zeros((2, 3), np.int64), np.zeros((3, 2), np.int64), np.zeros((2, 2), np.int64)),
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int32)),
        (np.zeros((2, 3), np.bool_), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int32)),
        (np.zeros((2, 3), object), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int32)),
        (np.zeros((2, 3), np.float16), np.zeros((3, 2), np.float16), np.zeros((2, 2), np.float16)),
        (np.zeros(3, np.int8), np.zeros((3, 2), np.int8), np.zeros(2, np.int32)),
        (np.zeros((1, 2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int32)),
        (np.ma.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros((2, 2), np.int32)),
        ([[1, 2]], np.zeros((2, 2), np.int8), np.zeros((1, 2), np.int32)),
    ],
)
def test_what_cannot_be_multiplied_is_an_input_error(a: Array, b: Array, c: Array) -> None:
    with pytest.raises(InputError):
        verify_product(a, b, c)


@pytest.mark.parametrize("columns", [0, -1, 9])
def test_the_number_of_columns_is_checked(columns: int) -> None:
    x = np.zeros((1, 1), np.int8)
    with pytest.raises(InputError, match="columns"):
        verify_product(x, x, np.zeros((1, 1), np.int32), columns=columns)


def test_roundings_belong_to_floats() -> None:
    x = np.zeros((1, 1), np.int8)
    with pytest.raises(InputError, match="roundings"):
        verify_product(x, x, np.zeros((1, 1), np.int32), roundings=1)


def test_soundness_bits() -> None:
    x, c = np.ones((1, 1), np.int8), np.ones((1, 1), np.int32)
    for columns in (1, 2, 4):
        assert verify_product(x, x, c, columns=columns).soundness_bits == pytest.approx(
            columns * math.log2(P31)
        )
        wide = verify_product(x, x, c.astype(np.int64), columns=columns)
        assert wide.soundness_bits == pytest.approx(min(128, columns * math.log2(P61)))
    assert verify_product(x, x, c).columns == 2
    assert verify_product(x, x, c.astype(np.int64)).columns == 1


def test_columns_are_drawn_afresh_unless_a_test_fixes_them() -> None:
    # C is wrong by a vector that the fixed columns do not see, so only fresh ones can reject it.
    from proofcompute.commitments.hashing import Xof
    from proofcompute.freivalds.field import sample61

    seed = bytes(32)
    s = [int(v) for v in sample61(Xof("product", seed), (1, 2))[0]]
    a, b = np.zeros((1, 1), np.int16), np.zeros((1, 2), np.int16)
    # find a small (x, y) with x s0 + y s1 = 0 mod p, by Gauss's reduction of the lattice of solutions
    u, v = (P61, 0), (-s[1] * pow(s[0], -1, P61) % P61, 1)
    while u[0] ** 2 + u[1] ** 2 > v[0] ** 2 + v[1] ** 2:
        u, v = v, u
        dot, norm = u[0] * v[0] + u[1] * v[1], u[0] ** 2 + u[1] ** 2
        q = (2 * dot + norm) // (2 * norm)
        v = (v[0] - q * u[0], v[1] - q * u[1])
    forged = np.array([u], np.int64)
    assert (int(forged[0, 0]) * s[0] + int(forged[0, 1]) * s[1]) % P61 == 0
    assert forged.any()
    assert verify_product(a, b, forged, seed=seed).complete
    assert rejected(a, b, forged)


matrices = st.integers(1, 6)


@given(n=matrices, d=matrices, m=matrices, types=st.tuples(*[st.sampled_from(TYPES)] * 2), data=st.data())
def test_right_products_pass_and_wrong_ones_fail(
    n: int, d: int, m: int, types: tuple[str, str], data: st.DataObject
) -> None:
    def draw(dtype: str, rows: int, width: int) -> Array:
        info = np.iinfo(dtype)
        limit = min(int(info.max), 1 << 27)
        values = data.draw(
            st.lists(
                st.integers(-limit - (limit < 1 << 27), limit), min_size=rows * width, max_size=rows * width
            )
        )
        return np.array(values, dtype).reshape(rows, width)

    a, b = draw(types[0], n, d), draw(types[1], d, m)
    c = product(a, b)
    np.testing.assert_array_equal(multiply(a, b, kernels_for("numpy")), c)
    assert verify_product(a, b, c, device="numpy").complete
    wrong = c.copy()
    i, j = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, m - 1))
    wrong[i, j] = data.draw(st.integers(-(1 << 31), (1 << 31) - 1).filter(lambda v: v != int(c[i, j])))
    assert rejected(a, b, wrong, device="numpy")


def test_encodings_are_little_endian() -> None:
    assert all(t.byteorder in "<|=" and t.newbyteorder("<") == t for t in DTYPES.values())
