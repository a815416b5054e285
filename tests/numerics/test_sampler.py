"""The sampler in NumPy against a literal transcription with Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arithmetic.definition.sampler import penalise, sample, weights
from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.arrays import F32
from proofcompute.errors import InputError

NONE = np.zeros(0, dtype=np.int64)
DRAWS = st.integers(0, 2**128 - 1) | st.sampled_from([0, 2**128 - 1])
LOGITS = st.lists(st.floats(-20, 20, width=32) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=30)
POSITIVE = st.floats(2**-10, 4, width=32)


def literally(x: F32, how: Sampling, draw: int) -> int:
    """Steps 3 to 6, one token at a time."""
    mass = [int(w) for w in weights(x, np.float32(how.temperature))]
    order = sorted(range(len(mass)), key=lambda i: (-float(x[i]), i))
    kept = order[: how.top_k] if how.top_k else order
    total = sum(mass[i] for i in kept)
    prefix: list[int] = []
    for i in kept:
        prefix.append(i)
        if Fraction(sum(mass[j] for j in prefix), total) >= Fraction(how.top_p):
            break
    r = draw * sum(mass[j] for j in prefix) // 2**128
    below = 0
    for i in prefix:
        below += mass[i]
        if below > r:
            return i
    raise AssertionError("nothing was chosen")


@given(LOGITS, POSITIVE, st.integers(0, 12), st.floats(2**-20, 1, width=32), DRAWS)
def test_equals_its_transcription(values: list[float], t: float, k: int, p: float, draw: int) -> None:
    x, how = np.array(values, dtype=np.float32), Sampling(t, k, p)
    assert sample(x, NONE, how, draw) == literally(x, how, draw)


def test_temperature_zero_takes_the_first_of_the_largest() -> None:
    for values, expected in (([-0.0, 0.0, -1], 0), ([1, 3, 3, 2], 1), ([-5], 0)):
        assert sample(np.array(values, dtype=np.float32), NONE, Sampling(), 0) == expected


def test_draws_are_spread_by_weight() -> None:
    x = np.log(np.array([1, 2, 5], dtype=np.float64)).astype(np.float32)
    counts = np.zeros(3)
    for i in range(800):
        counts[sample(x, NONE, Sampling(1.0), (i << 128) // 800)] += 1
    assert np.abs(counts - [100, 200, 500]).max() <= 1
    assert sample(x, NONE, Sampling(1.0), 0) == 2
    assert sample(x, NONE, Sampling(1.0), 2**128 - 1) == 0


def test_the_largest_logit_weighs_two_to_the_thirty() -> None:
    x = np.array([3, 3 - 25, 3, -3e38], dtype=np.float32)
    assert weights(x, np.float32(1)).tolist() == [2**30, 0, 2**30, 0]
    assert weights(x, np.float32(1e-45)).tolist() == [2**30, 0, 2**30, 0]
    assert weights(x, np.float32(3e38)).tolist()[:3] == [2**30] * 3


def test_top_p_is_exact() -> None:
    x = np.zeros(4, dtype=np.float32)  # four equal weights
    last = 2**128 - 1
    assert sample(x, NONE, Sampling(1.0, 0, 0.5), last) == 1
    just_over = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert sample(x, NONE, Sampling(1.0, 0, just_over), last) == 2
    assert sample(x, NONE, Sampling(1.0, 2, 0.5), last) == 0  # the share is of what top-k kept
    assert sample(x, NONE, Sampling(1.0, 0, 2.0**-149), last) == 0


def test_penalty_is_applied_once_to_each_token() -> None:
    x = np.array([2, -2, 0, -0.0, 4, 5], dtype=np.float32)
    found = penalise(x, np.array([0, 1, 1, 0, 2, 3, 0]), np.float32(2))
    assert found.tobytes() == np.array([1, -4, 0, -0.0, 4, 5], dtype=np.float32).tobytes()
    assert penalise(x, np.array([0, 1]), np.float32(1)).tobytes() == x.tobytes()
    greedy = Sampling(repetition_penalty=2.0)
    assert sample(x, np.array([5]), greedy, 0) == 4  # also at temperature 0


@pytest.mark.parametrize("field", ["temperature", "top_p", "repetition_penalty"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300, True, "1"])
def test_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        check_sampling(Sampling(**{field: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize("top_k", [-1, 1.0, True, "3"])
def test_top_k_is_refused(top_k: object) -> None:
    with pytest.raises(InputError, match="top_k"):
        check_sampling(Sampling(1.0, top_k))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "how",
    [
        Sampling(),
        Sampling(0.5, 1, 1.0, 1.5),
        Sampling(2.0**-149, 10**9, 2.0**-149, 2.0**-149),
        Sampling(1, 0, 1, 2),  # integers are numbers too
    ],
)
def test_settings_are_accepted(how: Sampling) -> None:
    check_sampling(how)
    assert sample(np.zeros(3, dtype=np.float32), NONE, how, 0) == 0
