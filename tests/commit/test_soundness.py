"""The figures that are stated, from exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from proofcompute.freivalds.field import P31
from proofcompute.freivalds.soundness import (
    COLLISION_BITS,
    HASH_QUERIES,
    shown,
    soundness_bits,
    with_collisions,
)


def bits(probability: Fraction) -> float:
    """-log2, for any fraction."""
    return math.log2(probability.denominator) - math.log2(probability.numerator)


def test_two_columns_are_a_little_less_than_62_bits() -> None:
    error = Fraction(1, P31**2)
    assert error > Fraction(1, 2**62)
    assert 61.99 < soundness_bits(2, 1) < 62
    assert soundness_bits(2, 1) == pytest.approx(bits(error), abs=1e-12)
    assert shown(soundness_bits(2, 1)) == "61.99 bits"
    assert shown(with_collisions(soundness_bits(2, 1))) == "61.99 bits"


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("attempts", [1, 2, 3, 1000, 1 << 20])
def test_attempts_are_subtracted(k: int, attempts: int) -> None:
    assert soundness_bits(k, attempts) == pytest.approx(bits(Fraction(attempts, P31**k)), abs=1e-9)


def test_collisions_are_those_of_the_union_bound() -> None:
    pairs = HASH_QUERIES * (HASH_QUERIES - 1) // 2
    assert Fraction(pairs, 2**256) <= Fraction(1, 2**97)
    assert COLLISION_BITS == 97
    assert bits(Fraction(HASH_QUERIES**2, 2**257)) == 97


def test_a_public_proof_is_limited_by_its_hashes() -> None:
    error = Fraction(HASH_QUERIES, P31**6)
    assert 105.99 < bits(error) < 106
    both = error + Fraction(1, 2**97)
    found = with_collisions(soundness_bits(6, HASH_QUERIES))
    assert found == pytest.approx(bits(both), abs=1e-9)
    assert shown(found) == "96.99 bits"


def test_nothing_that_is_committed_claims_more_than_its_hashes() -> None:
    assert with_collisions(math.inf) == 97
    for k in range(1, 9):
        assert with_collisions(soundness_bits(k, 1)) <= min(97, soundness_bits(k, 1))


@pytest.mark.parametrize(
    ("exact", "text"),
    [(62.0, "62.00 bits"), (61.9999999987, "61.99 bits"), (0.019, "0.01 bits"), (97.0, "97.00 bits")],
)
def test_what_is_shown_is_rounded_down(exact: float, text: str) -> None:
    assert shown(exact) == text
