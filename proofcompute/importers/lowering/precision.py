"""Chooses the limbs of each product by what its rounding costs in accuracy and in work.

A graph is evaluated once for each product and each smaller number of limbs, with this product alone rounded.
Such an evaluation ends at the first value that is further off than is asked for: no choice has this rounding,
nor a coarser one of the same product.
Squares of the errors add up, nearly. Products get more limbs, those that save the most error for the work
first, until their sum is small enough; how small is sought by evaluating with all products rounded as chosen.
Inputs are given, or the same random ones everywhere; but the choice depends on sums of floats that machines
may order differently, so a model file says what was chosen, as its recipe.

The sample on which rounding all products is worst comes first, as it excludes the most. Where the evaluations
of all samples would take more than :data:`MOST` multiplications, products alone are rounded for the first
samples only; where those of one would, neighbouring products are rounded together and get the same limbs.
What was chosen is near enough on every sample all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Limbs, Study

__all__ = ["MOST", "TARGET", "centred", "choose", "limbs_of"]

TARGET: Final = 0.003
"""Relative error of outputs that is asked for: 0.3 %, as other inputs may give more."""
MOST: Final = 1 << 42
"""Multiplications that evaluations with one product rounded may take, were nothing kept between them."""
_ROUNDS: Final = 6
"""Evaluations at most with all products rounded."""
_MARGIN: Final = 0.7
"""Part of the target at which the sum of errors aims."""
_STEPS: Final = ((1, 1), (2, 1), (2, 2))
"""Limbs of activations and of weights, from the least work on."""

Evaluate = Callable[[Study], Iterable[Array]]
"""Evaluates a graph for a sample and gives what must be near, one value after the other as they are taken."""

Unit = tuple[str, ...]
"""Names of products that have the same limbs."""
Errors = dict[Unit, dict[tuple[int, int], float]]
"""The squared error of each rounding of a unit that is not excluded."""


def centred(x: Array, axes: tuple[int, ...]) -> Array:
    """Return values less their mean over the axes of a softmax, which takes no notice of it.

    With a mean far from zero an error would look small beside numbers that say nothing. What has numbers that
    are not finite, as masks have them, is returned as it is.
    """
    return x - x.mean(axis=axes, keepdims=True) if np.isfinite(x).all() else x


def limbs_of(chosen: Mapping[str, tuple[int, int]]) -> Limbs:
    """Return limbs by name of product; others have two limbs each."""
    return lambda name: chosen.get(name, (2, 2))


def choose(
    samples: Sequence[Evaluate], products: Sequence[tuple[str, int]], target: float = TARGET
) -> dict[str, tuple[int, int]]:
    """Return the limbs of each product, given its name and how many multiplications it makes for a sample."""
    names: list[str] = []
    exact = [list(evaluate(Study(limbs_of({}), names))) for evaluate in samples]
    work = {name: count for name, count in products if name in names}
    coarse = limbs_of(dict.fromkeys(work, _STEPS[0]))
    off = [_distance(f(Study(coarse, [])), right) for f, right in zip(samples, exact, strict=True)]
    if max(off, default=0.0) <= target:
        return dict.fromkeys(work, _STEPS[0])
    once = 2 * sum(work.values())  # each product is rounded in two ways
    count = max(1, min(len(samples), MOST // max(1, once * len(work))))
    units = _units(work, max(1, MOST // max(1, once)))
    worst = sorted(range(len(samples)), key=lambda i: -off[i])[:count]
    errors, least = _alone([(samples[i], exact[i]) for i in worst], units, target)
    weight = {unit: sum(work[name] for name in unit) for unit in units}

    def together(at: Mapping[Unit, int]) -> tuple[dict[str, tuple[int, int]], float]:
        """Return the limbs of products, and the error if all are rounded to them."""
        chosen = {name: _STEPS[i] for unit, i in at.items() for name in unit}
        study = limbs_of(chosen)
        each = zip(samples, exact, strict=True)
        return chosen, max(_distance(f(Study(study, [])), right) for f, right in each)

    best = dict.fromkeys(work, _STEPS[-1])
    most = _total(errors, least)
    good, bad, wanted = 0.0, most, most
    for _ in range(_ROUNDS):
        chosen, found = together(_raised(errors, weight, least, wanted))
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


def _units(work: Mapping[str, int], most: int) -> list[Unit]:
    """Return products in their order, each alone or, if there are too many, in parts of about equal work."""
    if len(work) <= most:
        return [(name,) for name in work]
    total, done = sum(work.values()), 0
    parts: dict[int, list[str]] = {}
    for name, count in work.items():
        parts.setdefault(done * most // total, []).append(name)
        done += count
    return [tuple(part) for part in parts.values()]


def _alone(
    samples: Iterable[tuple[Evaluate, Sequence[Array]]], units: Sequence[Unit], target: float
) -> tuple[Errors, dict[Unit, int]]:
    """Return the squared errors of units rounded alone, and the first step of each that is no exclusion."""
    errors: Errors = {unit: {} for unit in units}
    least = dict.fromkeys(units, 0)
    for evaluate, exact in samples:
        # what is kept is of one sample at a time
        for _ in evaluate(Study(limbs_of({}), [], keep=True)):
            pass
        for unit in units:
            for i in reversed(range(least[unit], len(_STEPS) - 1)):
                limbs = limbs_of(dict.fromkeys(unit, _STEPS[i]))
                found = _distance(evaluate(Study(limbs, [])), exact, target)
                if found > target:
                    least[unit] = i + 1
                    break
                errors[unit][_STEPS[i]] = max(found * found, errors[unit].get(_STEPS[i], 0.0))
    return errors, least


def _error(errors: Errors, unit: Unit, i: int) -> float:
    return errors[unit].get(_STEPS[i], 0.0)


def _total(errors: Errors, at: Mapping[Unit, int]) -> float:
    return sum(_error(errors, unit, i) for unit, i in at.items())


def _raised(
    errors: Errors, work: Mapping[Unit, int], least: Mapping[Unit, int], wanted: float
) -> dict[Unit, int]:
    """Return the steps of units, from the least on, whose squared errors add up to what is wanted."""
    at = dict(least)
    while _total(errors, at) > wanted:
        best: tuple[float, Unit, int] = -1.0, (), 0
        for unit, i in at.items():
            for j in range(i + 1, len(_STEPS)):
                saved = _error(errors, unit, i) - _error(errors, unit, j)
                more = math.prod(_STEPS[j]) - math.prod(_STEPS[i])
                gain = saved / (more * work[unit])
                if gain > best[0]:
                    best = gain, unit, j
        gain, unit, j = best
        if gain < 0:
            break
        at[unit] = j
    return at


def _distance(made: Iterable[Array], exact: Sequence[Array], most: float = math.inf) -> float:
    """Return the greatest relative difference (L2) of the values, or the first that is above ``most``."""
    worst = 0.0
    for a, b in zip(made, exact, strict=True):
        worst = max(worst, _apart(a.astype(np.float64), b.astype(np.float64)))
        if worst > most:
            break
    return worst


def _apart(a: Array, b: Array) -> float:
    """Return the relative difference (L2) of a value; infinite if it is no number where it should be one.

    Infinities that should be there, as masks have them, count as equal where they are.
    """
    wrong = np.zeros_like(b)
    np.subtract(a, b, out=wrong, where=a != b)
    if not np.isfinite(wrong).all():
        return math.inf
    size, off = float(np.linalg.norm(b[np.isfinite(b)])), float(np.linalg.norm(wrong))
    return off / size if size else off
