"""The choice of limbs of products, on graphs whose errors are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from proofcompute.arrays import Array
from proofcompute.importers.lowering import precision
from proofcompute.importers.lowering.graph import Study
from proofcompute.importers.lowering.precision import _distance, centred, choose

WRONG = {
    "coarse": {(1, 1): 0.5, (2, 1): 0.1},
    "middle": {(1, 1): 0.01, (2, 1): 1e-4},
    "fine": {(1, 1): 1e-4, (2, 1): 1e-5},
}
"""Relative errors of a product's rounding."""


class Errors:
    """Values of a sample to which the rounding of each product adds an error in a place of its own."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.made: list[tuple[tuple[str, tuple[int, int]], ...]] = []
        """What was rounded in each evaluation."""

    def __call__(self, study: Study) -> Iterator[Array]:
        study.names.extend(WRONG)
        limbs = {name: study.limbs(name) for name in WRONG}
        self.made.append(tuple((name, ls) for name, ls in limbs.items() if ls != (2, 2)))
        wrong = [self.factor * WRONG[name].get(ls, 0.0) for name, ls in limbs.items()]
        yield np.array([1.0, *wrong])

    @property
    def alone(self) -> list[tuple[str, tuple[int, int]]]:
        """What was rounded alone."""
        return [one[0] for one in self.made if len(one) == 1]


PRODUCTS = [(name, 10) for name in WRONG]


def test_each_product_gets_the_fewest_limbs_that_are_near_enough() -> None:
    found = choose([Errors() for _ in range(4)], [*PRODUCTS, ("unused", 10)])
    assert found == {"coarse": (2, 2), "middle": (2, 1), "fine": (1, 1)}


def test_where_all_products_may_be_rounded_nothing_is_rounded_alone() -> None:
    errors = [Errors(1e-3), Errors(2e-3)]
    assert choose(errors, PRODUCTS) == dict.fromkeys(WRONG, (1, 1))
    assert [len(e.made) for e in errors] == [2, 2]


def test_a_rounding_is_evaluated_no_further_where_it_is_excluded() -> None:
    """The worst sample is first; what alone is too much there is tried on no other, nor what is coarser."""
    errors = [Errors(0.1), Errors(1.0), Errors(0.2)]
    choose(errors, PRODUCTS)
    fine = [("fine", (2, 1)), ("fine", (1, 1))]
    assert errors[1].alone == [("coarse", (2, 1)), ("middle", (2, 1)), ("middle", (1, 1)), *fine]
    assert errors[0].alone == errors[2].alone == [("middle", (2, 1)), *fine]


def test_what_one_sample_excludes_is_excluded_for_all() -> None:
    """Even if it is not the one on which rounding everything is worst."""
    first, second = Errors(1.0), Errors(0.9)
    second_only = {"fine": {(1, 1): 0.01, (2, 1): 0.0}}

    def other(study: Study) -> Iterator[Array]:
        for value in second(study):
            value[3] += second_only["fine"].get(study.limbs("fine"), 0.0)
            yield value

    assert choose([first, other], PRODUCTS)["fine"] == (2, 1)


def test_large_networks_are_evaluated_on_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products alone are rounded for the worst samples only; but what is chosen holds on all of them."""
    errors = [Errors(0.1), Errors(0.9), Errors(0.2), Errors(1.0)]
    expected = choose(errors, PRODUCTS)
    fewer = [Errors(e.factor) for e in errors]
    monkeypatch.setattr(precision, "MOST", 2 * 2 * 30 * 3 + 1)  # for two samples
    assert choose(fewer, PRODUCTS) == expected
    assert [bool(e.alone) for e in fewer] == [False, True, False, True]
    assert all(any(dict(one) == {"middle": (2, 1), "fine": (1, 1)} for one in e.made) for e in fewer)


def test_products_of_networks_larger_still_are_rounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In as many parts as may be evaluated, whose work is about equal."""
    monkeypatch.setattr(precision, "MOST", 2 * 2 * 30 + 1)
    errors = Errors()
    products = [("coarse", 15), ("middle", 5), ("fine", 10)]
    assert choose([errors], products) == {"coarse": (2, 2), "middle": (2, 1), "fine": (2, 1)}
    assert errors.made[3:5] == [
        (("coarse", (2, 1)),),
        (("middle", (2, 1)), ("fine", (2, 1))),
    ]
    monkeypatch.setattr(precision, "MOST", 1)
    assert choose([Errors()], products) == dict.fromkeys(WRONG, (2, 2))
    assert precision._units({"a": 1, "b": 8, "c": 1, "d": 1, "e": 1}, 3) == [("a", "b"), ("c", "d", "e")]


def test_a_sample_is_kept_while_its_products_are_rounded_alone() -> None:
    kept: list[bool] = []

    def one(study: Study) -> Iterator[Array]:
        kept.append(study.keep)
        return Errors()(study)

    choose([one, Errors()], PRODUCTS)
    assert kept[2]
    assert kept.count(True) == 1


def test_nothing_is_rounded_where_every_rounding_is_too_much() -> None:
    assert choose([Errors(), Errors()], PRODUCTS, 1e-6) == dict.fromkeys(WRONG, (2, 2))


def test_what_is_no_number_is_infinitely_wrong() -> None:
    """But for infinities that should be there."""
    exact = np.array([3.0, 4.0, -np.inf])
    assert _distance([exact.copy()], [exact]) == 0
    assert _distance([exact + 0.5], [exact]) == np.sqrt(0.5) / 5
    for wrong in (np.nan, np.inf, -np.inf):
        assert _distance([np.array([3.0, wrong, -np.inf]), exact], [exact, exact]) == np.inf
    assert _distance([np.array([3.0, 4.0, 0.0])], [exact]) == np.inf


def test_values_are_taken_less_their_mean_where_they_are_numbers() -> None:
    x = np.array([[1.0, 3.0], [5.0, 5.0]])
    assert centred(x, (1,)).tolist() == [[-1, 1], [0, 0]]
    assert centred(x, (0, 1)).tolist() == [[-2.5, -0.5], [1.5, 1.5]]
    masked = np.array([1.0, -np.inf])
    assert centred(masked, (0,)) is masked
