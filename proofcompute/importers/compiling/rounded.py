"""Prepares one-limb weights whose rounding compensates errors: statistics of activations, scales, factors.

The checkpoint is compiled with two limbs everywhere, unscaled, and reads :func:`observed_tokens`, while H of
every product's inputs is summed up (:mod:`.rounding`). What column scales s must weigh is no longer the mean
square of a column but its pivot, which is what the columns after it do not tell about it; the scaled inputs
have H / (s s^T), so the model need not run again. Matrices of experts see some rows only and are rounded to
the nearest, as are embeddings and rows that are stored as int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from proofcompute.arithmetic.devices import host_kernels
from proofcompute.arithmetic.kernels import Kernels, Matrix, prepared
from proofcompute.arithmetic.lattice import F64, Lattice
from proofcompute.arrays import F32, Array
from proofcompute.engine import all_logits
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.calibration import Scales, Seen, calibration_tokens, folded, text_tokens
from proofcompute.importers.compiling.draft import Recipe
from proofcompute.importers.compiling.precision import Precision
from proofcompute.importers.compiling.program import DecoderPlan, plan_decoder
from proofcompute.importers.compiling.rounding import Factor, blocks, factor, gram
from proofcompute.importers.compiling.steps import Steps
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.source import ComputeProducts, LinearCall, Products, RowProducts
from proofcompute.program.types import WeightSpec

__all__ = ["HELD", "Quantise", "Rounding", "judged_tokens", "observed_tokens", "run_model", "sizes"]

OBSERVED: Final = 4096
"""The most tokens by which weights are rounded."""
HELD: Final = 192
"""Tokens of the calibration text that are not observed, since choices are judged by them."""
PIECE: Final = 256
"""Tokens of one piece of a text; each piece begins at position 0."""

_HEAD: Final = "head"

Quantise = Callable[[Checkpoint, WeightSpec, Recipe, "Rounding", Kernels], Weight]


def judged_tokens(vocabulary: Vocabulary) -> list[int]:
    """Return the beginning of the calibration text."""
    return calibration_tokens(vocabulary)[:HELD]


def observed_tokens(vocabulary: Vocabulary) -> list[int]:
    """Return the rest of the calibration text, and ``rounding.txt``.

    That file holds passages of books and documents: A Tale of Two Cities (Dickens, 1859), Pride and Prejudice
    (Austen, 1813), Moby-Dick (Melville, 1851), A Scandal in Bohemia (Conan Doyle, 1891), On the Origin of
    Species (Darwin, 1859), Walden (Thoreau, 1854), Frankenstein (Shelley, 1818), the tenth Federalist
    (Madison, 1787), the Constitution of the United States (1787) and its amendments, The Tale of Peter Rabbit
    (Potter, 1902), The Time Machine and The War of the Worlds (Wells, 1895 and 1898), Romeo and Juliet, and
    Hamlet (Shakespeare), after common printings.
    """
    text = text_tokens(vocabulary, "rounding.txt", OBSERVED)
    return (calibration_tokens(vocabulary)[HELD:] + text)[:OBSERVED]


@dataclass
class Rounding:
    """How the weights of one checkpoint are scaled and rounded."""

    scales: Scales = field(default_factory=Scales)
    of: dict[str, list[F64]] = field(default_factory=dict)
    """Weight of the program -> H of its inputs as they are scaled, one for each block of columns."""
    made: dict[str, Matrix] = field(default_factory=dict)
    """One-limb matrices that are known already."""

    def take_factors(self, weight: str, cpu: Lattice) -> Sequence[Factor] | None:
        """Return the factors for a weight, or None if it is rounded to the nearest.

        They are made only once: H takes eight bytes an element, and is forgotten.
        """
        found = self.of.pop(weight, None)
        return None if found is None else [factor(h, cpu) for h in found]

    @staticmethod
    def of_checkpoint(
        checkpoint: Checkpoint,
        precision: Precision,
        kernels: Kernels,
        quantise: Quantise,
        steps: Steps | None = None,
    ) -> Rounding:
        """Observe a checkpoint. Which matrices ``precision`` gives two limbs does not matter.

        ``steps`` counts the pieces of the text. Raises the errors of compiling and of running.
        """
        steps = steps or Steps()
        begin = plan_decoder(checkpoint.arch, replace(precision, exact=frozenset()))
        names = frozenset(sizes(begin))
        exact = plan_decoder(checkpoint.arch, replace(precision, exact=names))
        tokens = observed_tokens(checkpoint.vocabulary)
        if not tokens:
            return Rounding()
        piece = min(PIECE, exact.program.context)
        texts = [tokens[a : a + piece] for a in range(0, len(tokens), piece)]
        steps.expect(len(texts) + 1)
        model = run_model(checkpoint, exact, Rounding(), kernels, quantise)
        steps.advance()
        looked_at = {fold.products[0] for fold in exact.folds}
        seen = _Observed(ComputeProducts(model.matrix), names | looked_at, len(model.matrix(_HEAD).scale))

        def counted() -> Iterator[list[int]]:
            for text in texts:
                yield text
                steps.advance()

        for _ in all_logits(model, kernels, counted(), products=seen):
            pass
        cpu = host_kernels(kernels)
        pivots = cpu.map(lambda hs: np.concatenate([factor(h, cpu).pivots for h in hs]), seen.sums.values())
        energy = {name: Seen(found) for name, found in zip(seen.sums, pivots, strict=True)}
        scales = folded(checkpoint, exact.folds, energy)
        return Rounding(
            scales,
            {
                name: _scaled(hs, _columns(scales, exact.recipes[name]))
                for name, hs in seen.sums.items()
                if name in names
            },
        )


@dataclass
class _Observed(RowProducts):
    """Products that are computed and whose inputs' H is summed up."""

    products: Products
    names: frozenset[str]
    logits: int
    """The number of tokens that the head tells apart."""
    sums: dict[str, list[F64]] = field(default_factory=dict)

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """Compute a product, as Products does, and add up H of its inputs."""
        if call.weight not in self.names:
            return self.products.linear(call, k)
        given = prepared(call.prologue, call.x, k)
        rows = k.host(given)
        new = [gram(rows[:, block]) for block in blocks(rows.shape[1])]
        for old, more in zip(self.sums.setdefault(call.weight, new), new, strict=True):
            if old is not more:
                old += more
        if call.weight == _HEAD:  # nobody asks for the logits, and they would take a fifth of the time
            return k.zeros((len(rows), self.logits), np.float32)
        return self.products.linear(call._replace(x=given, prologue=None), k)

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """Compute products whose inputs are not seen, because every matrix has seen some rows only."""
        return self.products.experts(call, numbers, k)


def _columns(scales: Scales, recipe: Recipe) -> F32 | None:
    """Return the factors of a matrix' columns; its tensors share them."""
    found = scales.of.get(recipe.own or recipe.tensors[0])
    return None if found is None else found.columns


def _scaled(hs: Sequence[F64], s: F32 | None) -> list[F64]:
    """Return H of inputs that are divided by s."""
    if s is None:
        return list(hs)
    wide = s.astype(np.float64)
    parts = zip(blocks(len(wide)), hs, strict=True)
    return [h / wide[b, np.newaxis] / wide[b] for b, h in parts]


def sizes(plan: DecoderPlan) -> dict[str, int]:
    """Return the elements of every matrix of products with one limb. Routers have two whatever is chosen."""
    one = [s for s in plan.program.weights if s.kind == "matrix" and s.limbs == 1 and s.name != "embedding"]
    return {s.name: s.rows * s.width for s in one}


def run_model(
    checkpoint: Checkpoint, plan: DecoderPlan, rounding: Rounding, kernels: Kernels, quantise: Quantise
) -> Model:
    """Return a model that is run but never proved: its roots are not computed."""
    program = plan.program
    card = ModelCard(program, checkpoint.vocabulary.encode(), "", (bytes(32),) * len(program.weights))
    weights = {
        s.name: quantise(checkpoint, s, plan.recipes[s.name], rounding, kernels) for s in program.weights
    }
    return Model(card, weights)
