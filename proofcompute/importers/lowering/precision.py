"""Chooses the limbs of each product by what its rounding costs in accuracy and in work.

A graph is evaluated once for each product and each smaller number of limbs, with this product alone rounded.
Such an evaluation ends at the first value that is further off than is asked for: no choice has this rounding,
nor a coarser one of the same product.
Squares of the errors add up, nearly. Products get more limbs, those that save the most error for the work
first, until their sum is small enough; how small is sought by evaluating with all products rounded as chosen.
Inputs are given, or the same random ones everywhere; but the choice depends on sums of floats that machines
may order differently, so a model file says what was chosen, as its recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Limbs, Study

__all__ = ["TARGET", "centred", "choose", "limbs_of"]

TARGET: Final = 0.003
"""Relative error of outputs that is asked for: 0.3 %, as other inputs may give more."""
_ROUNDS: Final = 6
"""Evaluations at most with all products rounded."""
_MARGIN: Final = 0.7
"""Part of the target at which the sum of errors aims."""
_STEPS: Final = ((1, 1), (2, 1), (2, 2))
"""Limbs of activations and of weights, from the least work on."""

Evaluate = Callable[[Study], Iterable[Array]]
"""Evaluates a graph and gives the values that must be near, one after the other, as far as they are taken."""


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
    evaluate: Evaluate, products: Sequence[tuple[str, int]], target: float = TARGET
) -> dict[str, tuple[int, int]]:
    """Return the limbs of each product, given its name and how many multiplications it makes."""
    names: list[str] = []
    exact = list(evaluate(Study(limbs_of({}), names)))
    work = {name: count for name, count in products if name in names}
    errors: dict[str, dict[tuple[int, int], float]] = {name: {} for name in work}
    least = dict.fromkeys(work, 0)
    for name in work:
        for i in reversed(range(len(_STEPS) - 1)):
            found = _distance(evaluate(Study(limbs_of({name: _STEPS[i]}), [])), exact, target)
            if found > target:
                least[name] = i + 1
                break
            errors[name][_STEPS[i]] = found * found
    best = dict.fromkeys(work, (2, 2))
    most = _total(errors, least)
    good, bad, wanted = 0.0, most, most
    for _ in range(_ROUNDS):
        at = _raised(errors, work, least, wanted)
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
    errors: Mapping[str, Mapping[tuple[int, int], float]],
    work: Mapping[str, int],
    least: Mapping[str, int],
    wanted: float,
) -> dict[str, int]:
    """Return the steps of products, from the least on, whose squared errors add up to what is wanted."""
    at = dict(least)
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
