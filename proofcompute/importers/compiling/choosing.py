"""Chooses how many limbs each matrix has, so that a model stays near the float model at the least cost.

Two limbs everywhere are nearer to float32 than can be noticed, so a model with two limbs everywhere is the
measure. What one limb changes is taken as

    D = mean over rows of (sum_i p_i e_i^2 - (sum_i p_i e_i)^2) / 2

where e are the differences of the logits and p is the distribution of the measure: KL(measure || other) to
second order in e. D of the errors of several matrices is about the sum of their D. So the choice is:

1. D of each matrix: the measure runs :data:`TOKENS` tokens of the calibration text with this matrix in one
   limb, its columns scaled as :mod:`.calibration` scales them.
2. All matrices begin with one limb; activations, queries, keys and values have two. The embedding has one, in
   the measure too; a head of two limbs that shares its weights becomes a matrix of its own.
3. Matrices get two limbs in the order of D per element until the sum of the others' D is below the target.
4. The model is run; while its D is above the target, the next :data:`AGAIN` of the matrices get two limbs.

All of it is canonical arithmetic: the runs, exp of the definition, sums by halving in binary64. The choice
is part of the model's manifest as a recipe, and who has the recipe need not choose again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Final

import numpy as np

from proofcompute.arithmetic.definition import exp
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32
from proofcompute.engine import all_logits
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.calibration import Scales, calibration_tokens, smoothed
from proofcompute.importers.compiling.draft import Recipe
from proofcompute.importers.compiling.precision import AUTO, Precision
from proofcompute.importers.compiling.program import DecoderPlan, plan_decoder
from proofcompute.importers.compiling.smoothing import total
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.program.source import ComputeProducts
from proofcompute.program.types import WeightSpec

__all__ = ["Choice", "choose", "divergence"]

TARGET: Final = 6e-4
"""The largest D. The target of 0.001 for the divergence holds for other texts, on which it is larger."""
TOKENS: Final = 192
"""Tokens of the text that every run reads, at most the model's context."""
AGAIN: Final = 4
"""Matrices that get two limbs at once when the measured D is above the target."""

_BEGIN: Final = Precision(AUTO, 1, 2, kv_limbs=2)

Progress = Callable[[int, int], None]
Quantise = Callable[[Checkpoint, WeightSpec, Recipe, Scales, Kernels], Weight]


@dataclass(frozen=True)
class Choice:
    """A precision that was chosen, and what it gives."""

    precision: Precision
    divergence: float
    """D of the chosen model."""
    cost: float
    """Bytes of weights that a decoded token reads, over those with one limb everywhere."""

    def facts(self) -> dict[str, str]:
        """Return what the manifest says about the choice."""
        return {"expected_kl": f"{self.divergence:.6f}", "weights_read": f"{self.cost:.3f} of w8a16"}


@dataclass
class _Swapped:
    """Matrices of products, of which some are replaced."""

    matrix: Callable[[str], Matrix]
    by: dict[str, Matrix]

    def __call__(self, name: str) -> Matrix:
        return self.by[name] if name in self.by else self.matrix(name)


def choose(
    checkpoint: Checkpoint, kernels: Kernels, quantise: Quantise, progress: Progress | None = None
) -> Choice:
    """Choose the limbs of each matrix; all get two if the vocabulary reads nothing of the text.

    ``quantise`` makes a weight of a program, with scales folded in; ``progress`` is called with (steps done,
    all steps). Raises the errors of compiling and of running.
    """
    begin = plan_decoder(checkpoint.arch, _BEGIN)
    size = _sizes(begin)
    everything = frozenset(size)
    exact = plan_decoder(checkpoint.arch, replace(_BEGIN, exact=everything))
    tokens = calibration_tokens(checkpoint.vocabulary)[: min(TOKENS, exact.program.context)]
    if not tokens:
        return Choice(replace(_BEGIN, exact=everything), 0.0, 2.0)
    steps, done = len(size) + 3, 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, max(steps, done))

    plain = _model(checkpoint, exact, Scales(), kernels, quantise)
    scales = smoothed(checkpoint, exact.folds, plain, kernels, one_limb=False)
    advance()
    measure = _model(checkpoint, exact, scales, kernels, quantise)
    swapped = _Swapped(measure.matrix, {})
    # texts are run one after the other, as their logits are asked for, with the matrices of that moment
    pieces = all_logits(measure, kernels, repeat(tokens), products=ComputeProducts(swapped))
    reference = _rows(pieces, len(tokens))
    advance()
    one: dict[str, Matrix] = {}
    found: dict[str, float] = {}
    for name in size:
        spec = replace(exact.program.weight[name], limbs=1)
        made = quantise(checkpoint, spec, exact.recipes[name], scales, kernels)
        if not isinstance(made, Matrix):
            raise AssertionError(f"{name} is no matrix")
        one[name] = made
        swapped.by = {name: made}
        found[name] = divergence(reference, _rows(pieces, len(tokens)))
        advance()
    order = sorted(size, key=lambda name: found[name] / size[name])  # the last gain most
    while order and total([found[name] for name in order]) > TARGET:
        order.pop()
    while True:
        swapped.by = {name: one[name] for name in order}
        least = divergence(reference, _rows(pieces, len(tokens)))
        advance()
        if least <= TARGET or not order:
            break
        del order[-AGAIN:]
    both = everything.difference(order)
    read = sum(elements * (2 if name in both else 1) for name, elements in size.items())
    return Choice(replace(_BEGIN, exact=both), least, read / sum(size.values()))


def _sizes(plan: DecoderPlan) -> dict[str, int]:
    """Return the elements of every matrix of products with one limb, the head's too if it is the embedding.

    Routers have two whatever is chosen.
    """
    one = [s for s in plan.program.weights if s.kind == "matrix" and s.limbs == 1]
    sizes = {s.name: s.rows * s.width for s in one}
    table = sizes.pop("embedding")
    return {**sizes, "head": sizes.get("head", table)}


def divergence(measure: F32, logits: F32) -> float:
    """Return D of rows of logits [n, v]; see the module."""
    top = measure.max(axis=1, keepdims=True)
    p = exp(measure - top).astype(np.float64).T
    p = p / total(p)
    e = (logits.astype(np.float64) - measure).T
    mean = total(p * e)
    each = (total(p * (e * e)) - mean * mean) / 2
    return float(total(each) / len(each))


def _rows(pieces: Iterator[F32], count: int) -> F32:
    """Return the logits of one text of ``count`` tokens."""
    rows: list[F32] = []
    while sum(map(len, rows)) < count:
        rows.append(next(pieces))
    return np.concatenate(rows)


def _model(
    checkpoint: Checkpoint, plan: DecoderPlan, scales: Scales, kernels: Kernels, quantise: Quantise
) -> Model:
    """Return a model that is run but never proved: its roots are not computed."""
    program = plan.program
    card = ModelCard(program, checkpoint.vocabulary.encode(), "", (bytes(32),) * len(program.weights))
    weights = {
        s.name: quantise(checkpoint, s, plan.recipes[s.name], scales, kernels) for s in program.weights
    }
    return Model(card, weights)
