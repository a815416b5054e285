"""Chooses the limbs of each product by what its rounding costs in accuracy and in work.

A graph is evaluated once for each product and each smaller number of limbs, with this product alone rounded.
Squares of the errors add up, nearly. Products get more limbs, those that save the most error for the work
first, until their sum is small enough; how small is sought by evaluating with all products rounded as chosen.
Inputs are given, or the same random ones everywhere; but the choice depends on sums of floats that machines
may order differently, so a model file says what was chosen, as its recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Limbs, Study

__all__ = ["TARGET", "choose", "limbs_of"]

TARGET: Final = 0.003
"""Relative error of outputs that is asked for: 0.3 %, as other inputs may give more."""
_ROUNDS: Final = 6
"""Evaluations at most with all products rounded."""
_MARGIN: Final = 0.7
"""Part of the target at which the sum of errors aims."""
_STEPS: Final = ((1, 1), (2, 1), (2, 2))
"""Limbs of activations and of weights, from the least work on."""

Evaluate = Callable[[Study], Sequence[Array]]
"""Evaluates a graph and returns the values that must be near."""


def limbs_of(chosen: Mapping[str, tuple[int, int]]) -> Limbs:
    """Return limbs by name of product; others have two limbs each."""
    return lambda name: chosen.get(name, (2, 2))


def choose(
    evaluate: Evaluate, products: Sequence[tuple[str, int]], target: float = TARGET
) -> dict[str, tuple[int, int]]:
    """Return the limbs of each product, given its name and how many multiplications it makes."""
    names: list[str] = []
    exact = evaluate(Study(limbs_of({}), names))
    work = {name: count for name, count in products if name in names}
    errors: dict[str, dict[tuple[int, int], float]] = {}
    for name in work:
        for limbs in _STEPS[:-1]:
            found = _distance(evaluate(Study(limbs_of({name: limbs}), [])), exact)
            errors.setdefault(name, {})[limbs] = found * found
    best = dict.fromkeys(work, (2, 2))
    least = dict.fromkeys(work, 0)
    most = _total(errors, least)
    good, bad, wanted = 0.0, most, most
    for _ in range(_ROUNDS):
        at = _raised(errors, work, wanted)
        chosen = {name: _STEPS[i] for name, i in at.items()}
        found = _distance(evaluate(Study(limbs_of(chosen), [])), exact)
        if found <= target:
            best, good = chosen, wanted
            if wanted == most:
                break
        else:
            bad = wanted
        # as errors add up, this is where the target is; it is sought between what held and what did not
        guess = wanted * (_MARGIN * target / found) ** 2 if found > 0 else bad
        inside = good < guess < bad
        wanted = guess if inside else math.sqrt(good * bad) if good > 0 else bad / 8
    return best


def _error(errors: Mapping[str, Mapping[tuple[int, int], float]], name: str, i: int) -> float:
    return errors[name].get(_STEPS[i], 0.0)


def _total(errors: Mapping[str, Mapping[tuple[int, int], float]], at: Mapping[str, int]) -> float:
    return sum(_error(errors, name, i) for name, i in at.items())


def _raised(
    errors: Mapping[str, Mapping[tuple[int, int], float]], work: Mapping[str, int], wanted: float
) -> dict[str, int]:
    """Return the steps of products whose squared errors add up to no more than what is wanted."""
    at = dict.fromkeys(work, 0)
    while _total(errors, at) > wanted:
        best, name, to = -1.0, "", 0
        for n, i in at.items():
            for j in range(i + 1, len(_STEPS)):
                saved = _error(errors, n, i) - _error(errors, n, j)
                more = math.prod(_STEPS[j]) - math.prod(_STEPS[i])
                gain = saved / (more * work[n])
                if gain > best:
                    best, name, to = gain, n, j
        if best < 0:
            break
        at[name] = to
    return at


def _distance(made: Sequence[Array], exact: Sequence[Array]) -> float:
    """Return the greatest relative difference (L2) of the values."""
    worst = 0.0
    for a, b in zip(made, exact, strict=True):
        size = float(np.linalg.norm(b.astype(np.float64)))
        wrong = float(np.linalg.norm((a - b).astype(np.float64)))
        worst = max(worst, wrong / size if size else wrong)
    return worst
