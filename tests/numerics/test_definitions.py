"""Rules 1, 3, 4 and 5 in NumPy: the platform, conversions, trees, the maximum, the quantiser, products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arithmetic.definition import (
    NumpyKernels,
    canonical_max,
    check_platform,
    elementwise,
    to_int32,
    tree_sum,
)
from proofcompute.arithmetic.definition.products import LARGEST, linear, product, quantise, rescale
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32
from proofcompute.errors import DeviceError, InputError, LimitError, NonFiniteError
from proofcompute.freivalds.product import product_sets

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def _f(*values: float) -> F32:
    return np.array(values, dtype=np.float32)


def _bits(x: F32) -> Any:
    return np.asarray(x).view(np.uint32).tolist()


# -- rule 1 ----------------------------------------------------------------------------------------------
def test_this_platform_is_canonical() -> None:
    check_platform()


@pytest.mark.parametrize(
    ("check", "named"),
    [
        ("_subnormals", "subnormals survive"),
        ("_nearest_even", "rounding to nearest even"),
        ("_not_fused", "products are rounded before sums"),
        ("_integers", "integers are converted with one rounding"),
    ],
)
def test_another_platform_is_refused(monkeypatch: pytest.MonkeyPatch, check: str, named: str) -> None:
    monkeypatch.setattr(elementwise, check, lambda: False)
    with pytest.raises(DeviceError, match=named):
        NumpyKernels()


def test_platform_checks_notice_flushed_subnormals(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = elementwise._f

    def flushing(*patterns: int) -> F32:
        return honest(*(p if p & 0x7F800000 else p & 0x80000000 for p in patterns))

    monkeypatch.setattr(elementwise, "_f", flushing)
    with pytest.raises(DeviceError, match="subnormals"):
        check_platform()


def test_to_int32_rounds_half_to_even_and_saturates() -> None:
    x = _f(
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        2147483520,
        2147483648,
        -2147483648,
        -2147483904,
        1e30,
        -1e30,
        np.inf,
        -np.inf,
    )
    high, low = 2**31 - 1, -(2**31)
    assert to_int32(x).tolist() == [0, 2, 2, 0, -2, 2147483520, high, low, low, high, low, high, low]
    assert to_int32(x).dtype == np.int32
    with pytest.raises(NonFiniteError):
        to_int32(_f(1, np.nan))


# -- rules 3 and 4 ---------------------------------------------------------------------------------------
def test_tree_by_hand() -> None:
    # extended to 8: (1 + 5, 2 + 0, 3 + 0, 4 + 0), then (6 + 3, 2 + 4), then 15
    assert tree_sum(_f(1, 2, 3, 4, 5)) == 15
    # the order matters: (1e8 - 1e8) + (1 + 1) is 2, (1e8 + 1) + (-1e8 + 1) is 0
    assert tree_sum(_f(1e8, 1, -1e8, 1)) == 2
    assert tree_sum(_f(1e8, -1e8, 1, 1)) == 0


def test_tree_of_nothing_and_of_negative_zeros_is_positive_zero() -> None:
    for d in (0, 1, 2, 3, 8):
        assert _bits(tree_sum(np.full((2, d), -0.0, dtype=np.float32))) == [0, 0]


@given(st.lists(finite, max_size=40), st.integers(0, 100))
def test_extending_a_tree_changes_nothing(values: list[float], more: int) -> None:
    x = _f(*values)
    longer = np.concatenate([x, np.zeros(more, dtype=np.float32)])
    np.testing.assert_array_equal(tree_sum(x), tree_sum(longer))
    assert np.isnan(tree_sum(x)) or _bits(tree_sum(x)) == _bits(tree_sum(longer))


def test_maximum_puts_minus_zero_below_zero() -> None:
    assert _bits(canonical_max(_f(-0.0, 0.0))) == 0
    assert _bits(canonical_max(_f(0.0, -0.0, -1))) == 0
    assert _bits(canonical_max(_f(-0.0, -0.0, -1))) == 0x80000000
    assert canonical_max(_f(-np.inf, -3, 2)) == 2
    rows = np.array([[-0.0, 0.0, -5], [-0.0, -1, -0.0], [7, 0.0, -0.0]], dtype=np.float32)
    assert _bits(canonical_max(rows)) == _bits(_f(0.0, -0.0, 7))


# -- rule 5 ----------------------------------------------------------------------------------------------
@given(st.lists(finite, min_size=1, max_size=20), st.sampled_from([1, 2]))
def test_quantised_rows_are_in_range_and_reach_the_largest(values: list[float], limbs: int) -> None:
    x = _f(*values)[np.newaxis]
    q, s = quantise(x, limbs)
    whole = q[0].astype(int) if limbs == 1 else 256 * q[0].astype(int) + q[1]
    largest = int(LARGEST[limbs])
    a = float(np.max(np.abs(x)))
    with np.errstate(all="ignore"):
        usable = bool(np.isfinite(LARGEST[limbs] / np.float32(a)))
    assert np.max(np.abs(whole)) == (largest if usable else 0)
    assert (float(s[0]) > 0) == usable
    assert not np.signbit(s[0])
    if usable and s[0] > 1e-30:
        assert np.max(np.abs(whole * float(s[0]) - x)) <= 0.5001 * float(s[0])


def test_two_limbs_are_balanced() -> None:
    x = np.arange(-32639, 32640, dtype=np.float32)[np.newaxis]
    q, s = quantise(x, 2)
    assert s.tolist() == [1.0]
    assert (256 * q[0].astype(int) + q[1]).tolist() == x.astype(int).tolist()
    assert (q[0].min(), q[0].max(), q[1].min(), q[1].max()) == (-127, 127, -128, 127)


def test_quantiser_refuses() -> None:
    for limbs in (0, 3):
        with pytest.raises(InputError):
            quantise(_f(1)[np.newaxis], limbs)


def test_one_accumulator_holds_the_longest_contraction_and_no_more() -> None:
    q = np.full((1, 32768), -128, dtype=np.int8)
    assert product(q, q).tolist() == [[2**29]]
    longer = np.zeros((1, 32769), dtype=np.int8)
    with pytest.raises(LimitError):
        product(longer, longer)


def test_rescale_wants_a_shift_for_each_set() -> None:
    acc = np.zeros((2, 1, 1), dtype=np.int32)
    with pytest.raises(InputError, match="1 shifts for 2 sets"):
        rescale(acc, [8], _f(1), _f(1), None)


@pytest.mark.parametrize(("d", "x_limbs", "w_limbs"), [(5, 1, 1), (40, 2, 1), (40, 1, 2), (40000, 2, 2)])
def test_linear_is_quantise_product_rescale(d: int, x_limbs: int, w_limbs: int) -> None:
    rng = np.random.default_rng(d)
    x = rng.standard_normal((3, d)).astype(np.float32)
    w = Matrix(rng.integers(-128, 128, (w_limbs, 4, d)).astype(np.int8), _f(1, 2, 3, 4), _f(1, 0, -0.0, 5))
    q, s = quantise(x, x_limbs)
    sets = product_sets(d, x_limbs, w_limbs)
    acc = np.stack([product(q[i, :, a:b], w.q[j, :, a:b]) for a, b, i, j, _ in sets])
    y = rescale(acc, [shift for *_, shift in sets], s, w.scale, w.bias)
    assert _bits(linear(x, w, x_limbs)) == _bits(y)
    whole_x = sum(256 ** (x_limbs - 1 - i) * q[i].astype(object) for i in range(x_limbs))
    whole_w = sum(256 ** (w_limbs - 1 - j) * w.q[j].astype(object) for j in range(w_limbs))
    exact = (whole_x @ whole_w.T).astype(np.int64)
    assert w.bias is not None
    expected = exact.astype(np.float32) * (s[:, np.newaxis] * w.scale) + w.bias
    assert _bits(y) == _bits(expected)
