"""Products of floats: no honest product is rejected, and what the bound promises to catch is caught."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arrays import Array
from proofcompute.errors import InputError, LimitError, VerificationError
from proofcompute.jobs import FloatBound, float_bound, verify_product

TYPES = ("float32", "float64")


def accepted(a: Array, b: Array, c: Array, seed: int | None = None, columns: int | None = None) -> bool:
    try:
        verify_product(a, b, c, columns=columns, seed=None if seed is None else seed.to_bytes(32, "big"))
    except VerificationError:
        return False
    return True


def in_order(a: Array, b: Array, order: Array) -> Array:
    """A B summed one product after the other in the given order, every operation rounded."""
    c = np.zeros((len(a), b.shape[1]), a.dtype)
    for k in order:
        c = c + a[:, k, None] * b[None, k]
    return c


def in_a_tree(a: Array, b: Array) -> Array:
    terms = a[:, :, None] * b[None]
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        rest = terms[:, 2 * half :]
        terms = np.concatenate([terms[:, :half] + terms[:, half : 2 * half], rest], axis=1)
    return np.asarray(terms[:, 0])


def normal(seed: int, dtype: str, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- completeness ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 300, 7), (33, 64, 129), (4, 1000, 260), (2, 3, 1500)])
def test_honest_products_pass_in_any_order(dtype: str, shape: tuple[int, int, int]) -> None:
    n, d, m = shape
    rng = np.random.default_rng(1)
    a, b = normal(2, dtype, n, d), normal(3, dtype, d, m)
    for c in (
        a @ b,
        in_order(a, b, np.arange(d)),
        in_order(a, b, rng.permutation(d)),
        in_order(a, b, np.argsort(np.abs(a).sum(axis=0))),
        in_a_tree(a, b),
        (a.astype(np.longdouble) @ b.astype(np.longdouble)).astype(dtype),  # one rounding at the end
    ):
        assert verify_product(a, b, c).complete
    tree = 2 + math.ceil(math.log2(d)) if d > 1 else 1
    assert verify_product(a, b, in_a_tree(a, b), roundings=tree).complete


@pytest.mark.parametrize("dtype", TYPES)
def test_rounding_errors_that_all_have_one_sign_pass(dtype: str) -> None:
    # Adding 1/3 again and again, nearly every sum is rounded in one direction for long stretches.
    a, b = np.ones((3, 4000), dtype), np.full((4000, 50), 1 / 3, dtype)
    c = in_order(a, b, np.arange(4000))
    error = np.abs(c.astype(np.longdouble) - 4000 * np.longdouble(b[0, 0])).max()
    assert error > 100 * np.finfo(dtype).eps
    assert verify_product(a, b, c).complete


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", ["tiny", "small", "large"])
def test_underflow_and_large_numbers_pass(dtype: str, scale: str) -> None:
    info = np.finfo(dtype)
    factor = {
        "tiny": math.sqrt(float(info.tiny)) / 8,  # products are subnormal or vanish
        "small": float(info.tiny),  # every product vanishes
        "large": math.sqrt(float(info.max)) / 64,
    }[scale]
    a = (normal(4, "float64", 6, 40) * factor).astype(dtype)
    b = (normal(5, "float64", 40, 30) * factor).astype(dtype)
    with np.errstate(under="ignore"):
        c = a @ b
    assert verify_product(a, b, c).complete
    flushed = np.where(np.abs(c) < info.tiny, 0, c).astype(dtype)
    assert verify_product(a, b, flushed).complete


floats = st.floats(-(2.0**40), 2.0**40, width=32)


@given(n=st.integers(1, 4), d=st.integers(1, 6), m=st.integers(1, 5), data=st.data())
def test_any_honest_product_passes(n: int, d: int, m: int, data: st.DataObject) -> None:
    def draw(rows: int, width: int) -> Array:
        values = data.draw(st.lists(floats, min_size=rows * width, max_size=rows * width))
        return np.array(values, np.float32).reshape(rows, width)

    a, b = draw(n, d), draw(d, m)
    order = np.array(data.draw(st.permutations(range(d))))
    assert verify_product(a, b, in_order(a, b, order)).complete
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert verify_product(a, b, in_order(a, b, order)).complete


@pytest.mark.parametrize("dtype", TYPES)
def test_the_tolerance_covers_the_exact_error_for_all_signs(dtype: str) -> None:
    rng = np.random.default_rng(6)
    for d, m in ((3, 4), (40, 5), (17, 6)):
        a = (rng.standard_normal((3, d)) * 2.0 ** rng.integers(-20, 20, (3, d))).astype(dtype)
        b = rng.standard_normal((d, m)).astype(dtype)
        bound = float_bound(a, b)
        for c in (a @ b, in_order(a, b, rng.permutation(d))):
            for i in range(3):
                errors = [
                    Fraction(float(c[i, j]))
                    - sum(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) for k in range(d))
                    for j in range(m)
                ]
                worst = max(
                    abs(sum((s * e for s, e in zip(signs, errors, strict=True)), Fraction(0)))
                    for signs in itertools.product((-1, 1), repeat=m)
                )
                assert worst <= bound.tolerance[i]


# -- soundness -------------------------------------------------------------------------------------------
def exact_case(dtype: str, n: int = 3, d: int = 50, m: int = 20) -> tuple[Array, Array, Array, FloatBound]:
    """Factors of small integers: C is exact and so is all that the check computes, so errors are known."""
    rng = np.random.default_rng(7)
    a, b = rng.integers(-9, 10, (n, d)).astype(dtype), rng.integers(-9, 10, (d, m)).astype(dtype)
    return a, b, a @ b, float_bound(a, b)


def corrupted(c: Array, row: int, sizes: dict[int, float]) -> Array:
    wrong = c.astype(np.float64)
    for column, size in sizes.items():
        wrong[row, column] += size
    return wrong.astype(c.dtype)


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_single_wrong_element_above_the_bound_is_always_caught(row: int, sign: int) -> None:
    for dtype in TYPES:
        a, b, c, bound = exact_case(dtype)
        for column in range(c.shape[1]):
            wrong = corrupted(c, row, {column: sign * 1.01 * bound.caught[row]})
            # a single wrong element shows in every column, whatever its sign
            assert not accepted(a, b, wrong, columns=1)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_bound_is_nearly_the_tolerance(dtype: str) -> None:
    a, b, c, bound = exact_case(dtype)
    ratio = bound.caught / bound.tolerance
    assert (ratio >= 1).all()
    assert (ratio <= (1.001 if dtype == "float32" else 2.5)).all()
    for row in range(3):  # below the tolerance nothing is rejected, so the threshold lies in between
        below = corrupted(c, row, {4: 0.99 * bound.tolerance[row]})
        assert all(accepted(a, b, below, seed) for seed in range(20))


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_least_visible_error_is_missed_as_rarely_as_promised(columns: int) -> None:
    # Two equal errors cancel in a column when their signs differ: the worst case of the proof.
    a, b, c, bound = exact_case("float32")
    size = 1.01 * float(bound.caught[1])
    wrong = corrupted(c, 1, {3: size, 11: size})
    trials = 400
    missed = sum(accepted(a, b, wrong, seed, columns) for seed in range(trials))
    p = 2.0**-columns
    assert abs(missed - trials * p) <= 4 * math.sqrt(trials * p * (1 - p))
    assert FloatBound.probability(columns) == 1 - p


@pytest.mark.parametrize("dtype", TYPES)
def test_spread_out_errors_above_the_bound_are_caught(dtype: str) -> None:
    a, b, c, bound = exact_case(dtype)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        wrong = c + (rng.standard_normal(c.shape) * 2 * bound.caught[:, None]).astype(dtype)
        assert not accepted(a, b, wrong)


def test_a_cheaper_format_is_caught_where_few_roundings_are_granted() -> None:
    def rounded(x: Array) -> Array:  # to 8 significant bits, as bfloat16
        bits = x.view(np.uint32)
        return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)

    a, b = normal(8, "float32", 16, 1024), normal(9, "float32", 1024, 256)
    honest, cheap = in_a_tree(a, b), rounded(a) @ rounded(b)
    assert verify_product(a, b, honest, roundings=12).complete
    with pytest.raises(VerificationError):
        verify_product(a, b, cheap, roundings=12)


def test_fewer_roundings_shrink_the_bound_in_proportion() -> None:
    a, b = normal(10, "float32", 8, 500), normal(11, "float32", 500, 100)
    full, some = float_bound(a, b), float_bound(a, b, roundings=50)
    np.testing.assert_allclose(full.tolerance / some.tolerance, 10, rtol=1e-2)
    more = float_bound(a, b, roundings=10**9)
    np.testing.assert_array_equal(more.caught, full.caught)  # no product passes more than d


def test_what_verification_reports_is_the_bound() -> None:
    a, b = normal(12, "float32", 6, 30), normal(13, "float32", 30, 20)
    result = verify_product(a, b, a @ b, columns=17)
    bound = float_bound(a, b, columns=17)
    assert result.bound is not None
    np.testing.assert_array_equal(result.bound.caught, bound.caught)
    assert result.bound.smallest == bound.caught.max() > 0
    assert (result.columns, result.soundness_bits) == (17, 17.0)
    assert result.dtypes == ("float32",) * 3
    assert float_bound(a[:0], b).smallest == 0.0


# -- what is refused -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(dtype: str, bad: float) -> None:
    a, b = normal(14, dtype, 3, 4), normal(15, dtype, 4, 5)
    c = a @ b
    for which, what in ((a, "A"), (b, "B")):
        kept = which[1, 2]
        which[1, 2] = bad
        with pytest.raises(InputError, match=f"{what} holds a number that is not finite"):
            verify_product(a, b, c)
        with pytest.raises(InputError, match="not finite"):
            float_bound(a, b)
        which[1, 2] = kept
    c[2, 4] = bad
    with pytest.raises(VerificationError, match="not finite") as caught:
        verify_product(a, b, c)
    assert caught.value.step == 8


def test_a_check_that_would_overflow_is_refused() -> None:
    a, b = np.full((1, 4), 1e200), np.full((4, 3), 1e200)
    with pytest.raises(LimitError, match="overflow"):
        verify_product(a, b, np.zeros((1, 3)))
    a[:] = 1e100
    huge = np.full((1, 3), np.finfo(np.float64).max)  # its projections overflow; that must not pass
    with pytest.raises(VerificationError):
        verify_product(a, b * 1e-100, huge)


def test_arguments_are_checked() -> None:
    x = np.ones((2, 2), np.float32)
    for columns in (0, -3, 257):
        with pytest.raises(InputError, match="columns"):
            verify_product(x, x, x @ x, columns=columns)
    for roundings in (0, -1):
        with pytest.raises(InputError, match="rounded"):
            verify_product(x, x, x @ x, roundings=roundings)
    with pytest.raises(LimitError, match="longer than"):
        float_bound(np.ones((1, 1), np.float32), np.zeros((1, (1 << 22) + 1), np.float32))
    with pytest.raises(InputError, match="A has elements"):
        float_bound(x.astype(np.int8), x)
