"""A key for one right factor: equal to fresh checks, secret, and counted."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.errors import InputError, LimitError, VerificationError
from proofcompute.freivalds.field import P31, P61
from proofcompute.jobs import ProductKey
from proofcompute.jobs.exact import multiply


def integers(seed: int, dtype: str, *shape: int) -> Array:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    return rng.integers(info.min >> 2, info.max >> 2, shape, dtype=dtype)


def product(a: Array, b: Array) -> Array:
    return multiply(a, b, kernels_for("cpu"))


@pytest.mark.parametrize("left", ["int8", "int16"])
@pytest.mark.parametrize("right", ["int8", "int16"])
@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_one_key_checks_many_products(left: str, right: str, device: str) -> None:
    b = integers(1, right, 30, 20)
    key = ProductKey(b, left=left, device=device)
    for n in (1, 2, 17):
        a = integers(n, left, n, 30)
        c = product(a, b)
        result = key.check(a, c)
        assert (result.rows, result.total, result.dtypes) == (n, n, key.dtypes)
        c[n // 2, 7] += 1
        with pytest.raises(VerificationError) as caught:
            key.check(a, c)
        assert (caught.value.step, caught.value.found) == (8, None)
    assert len(key.log.attempts) == 6


def test_every_attempt_costs_soundness() -> None:
    b = integers(2, "int8", 4, 4)
    key = ProductKey(b)
    a = integers(3, "int8", 2, 4)
    c = product(a, b)
    assert key.check(a, c).soundness_bits == pytest.approx(2 * math.log2(P31))
    with pytest.raises(VerificationError):
        key.check(a, c + 1)
    with pytest.raises(InputError):  # what cannot be checked is no attempt
        key.check(a, c[:1])
    key.check(a, c)
    assert key.check(a, c).soundness_bits == pytest.approx(2 * math.log2(P31) - 2)


def test_a_key_is_for_certain_types() -> None:
    b = integers(4, "int8", 4, 4)
    a, wide = integers(5, "int8", 2, 4), integers(5, "int16", 2, 4)
    key = ProductKey(b)
    assert key.arithmetic == "GF(2^31 - 1)"
    with pytest.raises(InputError, match="A has elements"):
        key.check(wide, product(wide, b))
    with pytest.raises(InputError, match="C has elements"):
        key.check(a, product(a, b).astype(np.int64))
    for_wide = ProductKey(b, left="int16")
    assert for_wide.arithmetic == "GF(2^61 - 1)"
    found = for_wide.check(wide, product(wide, b)).soundness_bits
    assert found == pytest.approx(math.log2(P61))
    assert found < 61
    with_int64 = ProductKey(b, claim="int64")
    assert with_int64.check(a, product(a, b).astype(np.int64)).arithmetic == "GF(2^61 - 1)"


@pytest.mark.parametrize(
    "options",
    [
        {"left": "float32"},
        {"left": "int64"},
        {"claim": "int16"},
        {"claim": "float64"},
        {"columns": 0},
        {"columns": 9},
        {"seed": bytes(31)},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ProductKey(np.zeros((2, 2), np.int8), **options)  # type: ignore[arg-type]


def test_floats_have_no_key() -> None:
    with pytest.raises(InputError, match="B has elements"):
        ProductKey(np.zeros((2, 2), np.float32))


def test_a_key_does_not_leave_the_process() -> None:
    key = ProductKey(integers(6, "int8", 3, 3), seed=bytes(32))
    assert repr(key) == "ProductKey(int8 [3, 3], columns=2)"
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(key)


def test_the_bound_is_proved_for_each_left_factor() -> None:
    b = np.full((4, 1), 1 << 30, np.int32)
    key = ProductKey(b)
    a = np.full((1, 4), (1 << 28) - 1, np.int32)
    assert key.check(a, product(a, b)).complete
    with pytest.raises(LimitError, match="below 2\\^60"):
        key.check(a + 1, np.zeros((1, 1), np.int64))


def test_two_keys_share_nothing() -> None:
    b = integers(7, "int8", 5, 5)
    one, two = ProductKey(b), ProductKey(b)
    assert not np.array_equal(one._used._s, two._used._s)
    assert np.array_equal(ProductKey(b, seed=bytes(32))._used._v, ProductKey(b, seed=bytes(32))._used._v)
