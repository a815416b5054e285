"""The choice of limbs of products, on graphs whose errors are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Study
from proofcompute.importers.lowering.precision import _distance, centred, choose

WRONG = {
    "coarse": {(1, 1): 0.5, (2, 1): 0.1},
    "middle": {(1, 1): 0.01, (2, 1): 1e-4},
    "fine": {(1, 1): 1e-4, (2, 1): 1e-5},
}
"""Relative errors of a product's rounding."""


class Errors:
    """Values of several samples to which the rounding of each product adds an error in a place of its own."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.made: list[tuple[dict[str, tuple[int, int]], int]] = []
        """What was rounded in each evaluation, and how many samples were taken of it."""

    def __call__(self, study: Study) -> Iterator[Array]:
        study.names.extend(WRONG)
        limbs = {name: study.limbs(name) for name in WRONG if study.limbs(name) != (2, 2)}
        self.made.append((limbs, 0))
        place = len(self.made) - 1
        for i in range(self.samples):
            self.made[place] = limbs, i + 1
            value = np.zeros(len(WRONG) + 1)
            value[0] = 1
            for k, name in enumerate(WRONG):
                value[k + 1] = WRONG[name].get(study.limbs(name), 0.0)
            yield value


def test_each_product_gets_the_fewest_limbs_that_are_near_enough() -> None:
    errors = Errors(4)
    found = choose(errors, [("coarse", 10), ("middle", 10), ("fine", 10), ("unused", 10)])
    assert found == {"coarse": (2, 2), "middle": (2, 1), "fine": (1, 1)}


def test_an_evaluation_ends_where_a_rounding_is_excluded() -> None:
    """Of a rounding that alone is too much one sample is evaluated, and nothing of coarser ones."""
    errors = Errors(4)
    choose(errors, [("coarse", 10), ("middle", 10), ("fine", 10)])
    alone = [(*limbs.items(), taken) for limbs, taken in errors.made[1:6]]
    assert alone == [
        (("coarse", (2, 1)), 1),
        (("middle", (2, 1)), 4),
        (("middle", (1, 1)), 1),
        (("fine", (2, 1)), 4),
        (("fine", (1, 1)), 4),
    ]
    assert all("coarse" not in limbs for limbs, _ in errors.made[2:])


def test_nothing_is_rounded_where_every_rounding_is_too_much() -> None:
    names = [(name, 10) for name in WRONG]
    assert choose(Errors(2), names, 1e-6) == dict.fromkeys(WRONG, (2, 2))


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
