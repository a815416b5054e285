"""Provides synthetic models of published shapes, whose weights are made on demand."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from benchmarks.cost.shapes import MODELS
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.importers.compiling import PRECISIONS, decoder_program
from proofcompute.models.card import ModelCard, Weight, weight_tree
from proofcompute.models.model import Model
from proofcompute.testing.models import Shape, random_weight

__all__ = ["Synthetic", "blocks_apart", "blocks_of"]


class Synthetic:
    """A decoder with random int8 weights (WeightReader); a tensor is made each time it is asked for."""

    def __init__(self, shape: Shape, precision: str, kernels: Kernels) -> None:
        self.program = decoder_program(shape.arch, PRECISIONS[precision])
        self.kernels = kernels

    @cached_property
    def card(self) -> ModelCard:
        """Make all weights once."""
        trees = (weight_tree(s, self.weight(s.name), self.kernels.hash_rows) for s in self.program.weights)
        return ModelCard(self.program, b"", "", tuple(t.root for t in trees))

    def weight(self, name: str) -> Weight:
        """Make a weight tensor (WeightReader)."""
        seed = int.from_bytes(sha256(name.encode()).digest()[:8], "little")
        return random_weight(self.program.weight[name], np.random.Generator(np.random.SFC64(seed)))


def blocks_of(model: str, precision: str, kernels: Kernels, count: int = 1) -> Model:
    """Return the model with only ``count`` blocks and 512 tokens, so that the blocks dominate."""
    shape = replace(MODELS[model], layers=count, vocabulary=512, tied=True)
    reader = Synthetic(shape, precision, kernels)
    weights = {s.name: reader.weight(s.name) for s in reader.program.weights}
    return Model.build(reader.program, weights, kernels.hash_rows)


def blocks_apart(model: str, precision: str, kernels: Kernels, count: int) -> list[list[Matrix]]:
    """Return the matrices of ``count`` other blocks than that of :func:`blocks_of`, in product order."""
    shape = replace(MODELS[model], layers=1 + count, vocabulary=512, tied=True)
    reader = Synthetic(shape, precision, kernels)
    plans = reader.program.plans[2:-1]
    names = [[site.weight for site in plan.sites] for plan in plans]
    return [[w for name in block if isinstance(w := reader.weight(name), Matrix)] for block in names]
