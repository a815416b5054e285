"""Trust: an estimate from audits, and an interval that holds what it estimates."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.binomial import beta_quantile
from proofcompute.errors import InputError
from proofcompute.ledger import Counts, TrustPolicy, trust_of


@pytest.mark.parametrize("p", [0.0005, 0.025, 0.5, 0.975, 0.9995])
def test_quantiles_are_those_of_a_library(p: float) -> None:
    rng = np.random.default_rng(int(10_000 * p))
    for a, b in 10 ** rng.uniform(-1.3, 3.7, (12, 2)):
        x = beta_quantile(p, a, b)
        with mpmath.workprec(200):  # versions before 1.4 do not converge for large a and b with fewer bits
            below = mpmath.betainc(a, b, 0, max(0.0, x - 1e-11), regularized=True)
            above = mpmath.betainc(a, b, 0, min(1.0, x + 1e-11), regularized=True)
        assert below - 1e-11 <= p <= above + 1e-11


@given(
    st.integers(0, 3000).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n), st.floats(1e-6, 1.0), st.floats(0.5, 0.999))
    )
)
def test_the_estimate_lies_in_its_interval(drawn: tuple[int, int, float, float]) -> None:
    n, failed, chance, confidence = drawn
    trust = trust_of(Counts(n, n * chance, failed), confidence)
    assert 0 <= trust.low <= trust.estimate <= trust.high <= 1
    if failed < n:
        worse = trust_of(Counts(n, n * chance, failed + 1), confidence)
        assert worse.estimate <= trust.estimate
        assert worse.low <= trust.low + 1e-9
        assert worse.high <= trust.high + 1e-9


def test_who_was_never_audited_may_be_anything() -> None:
    for counts in (Counts(), Counts(5.0, 0.0, 0.0)):
        trust = trust_of(counts)
        assert (trust.estimate, trust.low, trust.high) == (0.5, 0.0, 1.0)


def test_known_values() -> None:
    # Clopper and Pearson's intervals, as tables give them: 0 of 10 and 3 of 10 at 95 %
    none, three = trust_of(Counts(10, 10, 0)), trust_of(Counts(10, 10, 3))
    assert none.low == pytest.approx(1 - 0.30850, abs=5e-6)
    assert none.high == 1.0
    assert none.estimate == pytest.approx(11 / 12)
    assert (three.low, three.high) == pytest.approx((1 - 0.65245, 1 - 0.06674), abs=5e-6)
    all_wrong = trust_of(Counts(10, 10, 10))
    assert (all_wrong.low, all_wrong.high) == pytest.approx((0.0, 0.30850), abs=5e-6)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["whole", "sampled", "mixed", "rare"])
def test_intervals_hold_the_truth_as_often_as_they_say(share: float, kind: str) -> None:
    rng = np.random.default_rng([int(1000 * share), len(kind)])
    held, rounds = 0, 300
    for _ in range(rounds):
        n = int(rng.integers(1, 400))
        chances = {
            "whole": np.ones(n),
            "sampled": np.full(n, 0.8),
            "mixed": np.where(rng.random(n) < 0.1, 1.0, rng.random(n)),
            "rare": np.full(n, 0.02),
        }[kind]
        failed = int((rng.random(n) < share * chances).sum())
        trust = trust_of(Counts(n, float(chances.sum()), failed))
        held += trust.low - 1e-12 <= 1 - share <= trust.high + 1e-12
    # at 95 %, fewer than this happen by chance in less than one of 10^5 tests
    assert held >= rounds * 0.95 - 4.3 * math.sqrt(rounds * 0.95 * 0.05)


def test_estimates_approach_the_truth() -> None:
    rng = np.random.default_rng(7)
    for share, chance in ((0.3, 0.1), (0.01, 1.0), (0.0, 0.5), (1.0, 0.05)):
        n = 200_000
        failed = int((rng.random(n) < share * chance).sum())
        trust = trust_of(Counts(n, n * chance, failed))
        assert trust.estimate == pytest.approx(1 - share, abs=0.03)
        assert trust.high - trust.low < 0.07


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": {"contradicted": 1.0}},
        {"weights": {"contradicted": -1.0, "silent": 1.0, "refused": 1.0}},
        {"weights": {"contradicted": math.nan, "silent": 1.0, "refused": 1.0}},
        {"confidence": 1.0},
        {"extent": 0.0},
        {"extent": "all"},
        {"quarantined": frozenset({"late"})},
    ],
)
def test_policies_that_mean_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        TrustPolicy(**fields)  # type: ignore[arg-type]
