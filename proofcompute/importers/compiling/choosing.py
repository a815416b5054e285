"""Chooses how many limbs each matrix has, so that a model stays near the float model at the least cost.

Two limbs everywhere are nearer to float32 than can be noticed, so a model with two limbs everywhere is the
measure. What one limb changes is taken as

    D = mean over rows of (sum_i p_i e_i^2 - (sum_i p_i e_i)^2) / 2

where e are the differences of the logits and p is the distribution of the measure: KL(measure || other) to
second order in e. D of the errors of several matrices is about the sum of their D. So the choice is:

1. All matrices are rounded to one limb (:mod:`.rounded`), by other tokens than those of the next steps.
2. D of each group of matrices, which are those of one kind in neighbouring blocks: the measure runs
   :data:`HELD` tokens of the calibration text with these matrices in one limb.
3. All begin with one limb; activations, queries, keys and values have two. The embedding has one, in the
   measure too, and the head is a matrix of its own.
4. Groups get two limbs in the order of D per element until the sum of the others' D is below the target.
5. The model is run; while its D is above the target, the next group gets two limbs.

All of it is canonical arithmetic: the runs, exp of the definition, sums by halving in binary64. The choice
is part of the model's manifest as a recipe, and who has the recipe need not choose again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Final

import numpy as np

from proofcompute.arithmetic.definition import exp
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.lattice import F64
from proofcompute.arrays import F32
from proofcompute.engine import all_logits
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.precision import AUTO, COMPENSATED, Precision
from proofcompute.importers.compiling.program import plan_decoder
from proofcompute.importers.compiling.rounded import (
    HELD,
    Quantise,
    Rounding,
    judged_tokens,
    run_model,
    sizes,
)
from proofcompute.importers.compiling.smoothing import total
from proofcompute.importers.compiling.steps import Steps
from proofcompute.program.source import ComputeProducts

__all__ = ["HELD", "Choice", "Divergence", "choose"]

TARGET: Final = 5.3e-4
"""The largest D. The target of 0.001 for the divergence holds for other texts, on which it is larger."""
BANDS: Final = 5
"""The most groups into which the matrices of one kind are divided."""

_AT_ONCE: Final = 8
"""Rows of logits that are compared at a time, so that they stay in the cache."""

_BEGIN: Final = Precision(AUTO, 1, 2, kv_limbs=2, rounding=COMPENSATED)


@dataclass(frozen=True)
class Choice:
    """A precision that was chosen, and what it gives."""

    precision: Precision
    divergence: float
    """D of the chosen model."""
    cost: float
    """Bytes of weights that a decoded token reads, over those with one limb everywhere."""
    rounding: Rounding = field(default_factory=Rounding)
    """Scales, and the matrices of one limb."""

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
    checkpoint: Checkpoint, kernels: Kernels, quantise: Quantise, steps: Steps | None = None
) -> Choice:
    """Choose the limbs of each matrix; all get two if the vocabulary reads nothing of the text.

    ``quantise`` makes a weight of a program. Raises the errors of compiling and of running.
    """
    steps = steps or Steps()
    size = sizes(plan_decoder(checkpoint.arch, _BEGIN))
    everything = frozenset(size)
    exact = plan_decoder(checkpoint.arch, replace(_BEGIN, exact=everything))
    tokens = judged_tokens(checkpoint.vocabulary)[: exact.program.context]
    if not tokens:
        return Choice(replace(_BEGIN, exact=everything), 0.0, 2.0)
    groups = _groups(size)
    steps.expect(len(size) + len(groups) + 3)
    rounding = Rounding.of_checkpoint(checkpoint, _BEGIN, kernels, quantise, steps)
    measure = run_model(checkpoint, exact, rounding, kernels, quantise)
    steps.advance()
    one: dict[str, Matrix] = {}
    for name in size:
        spec = replace(exact.program.weight[name], limbs=1)
        made = quantise(checkpoint, spec, exact.recipes[name], rounding, kernels)
        if not isinstance(made, Matrix):
            raise AssertionError(f"{name} is no matrix")
        one[name] = made
        steps.advance()
    rounding.made.update(one)
    swapped = _Swapped(measure.matrix, {})
    # texts are run one after the other, as their logits are asked for, with the matrices of that moment
    pieces = all_logits(measure, kernels, repeat(tokens), products=ComputeProducts(swapped))
    divergence = Divergence(_rows(pieces, len(tokens)))
    steps.advance()

    def measured(groups: Iterable[tuple[str, ...]]) -> float:
        swapped.by = {name: one[name] for names in groups for name in names}
        found = divergence(_rows(pieces, len(tokens)))
        steps.advance()
        return found

    found = {names: measured([names]) for names in groups}
    weight = {names: sum(size[name] for name in names) for names in groups}
    order = sorted(groups, key=lambda names: found[names] / weight[names])  # the last gain most
    while order and total([found[names] for names in order]) > TARGET:
        order.pop()
    while (least := measured(order)) > TARGET and order:
        order.pop()
    both = everything.difference(name for names in order for name in names)
    read = sum(elements * (2 if name in both else 1) for name, elements in size.items())
    return Choice(replace(_BEGIN, exact=both), least, read / sum(size.values()), rounding)


def _groups(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Group matrices of the same kind in neighbouring blocks, at most BANDS groups of each kind."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        block, _, rest = name.removeprefix("block.").partition(".")
        kinds.setdefault(rest if block.isdigit() else name, []).append(name)
    return [
        tuple(same[a : a + width])
        for same in kinds.values()
        for width in [-(-len(same) // BANDS)]
        for a in range(0, len(same), width)
    ]


class Divergence:
    """D of rows of logits [n, v] from those of the measure; see the module."""

    def __init__(self, measure: F32) -> None:
        self._parts: list[tuple[F32, F64]] = []
        for a in range(0, len(measure), _AT_ONCE):
            part = np.ascontiguousarray(measure[a : a + _AT_ONCE].T)
            p = exp(part - part.max(axis=0)).astype(np.float64)
            self._parts.append((part, p / total(p)))

    def __call__(self, logits: F32) -> float:
        """Return D."""
        each: list[F64] = []
        for i, (measure, p) in enumerate(self._parts):
            e = np.ascontiguousarray(logits[i * _AT_ONCE : (i + 1) * _AT_ONCE].T).astype(np.float64) - measure
            mean = total(p * e)
            each.append((total(p * (e * e)) - mean * mean) / 2)
        rows = np.concatenate(each)
        return float(total(rows) / len(rows))


def _rows(pieces: Iterator[F32], count: int) -> F32:
    """Return the logits of one text of ``count`` tokens."""
    rows: list[F32] = []
    while sum(map(len, rows)) < count:
        rows.append(next(pieces))
    return np.concatenate(rows)
