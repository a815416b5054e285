"""Define what a verifier may hold: a key, the weights, or the weights and public columns.

Each holder provides its own sources of weights and products (docs/spec/verification.md#who-can-verify-what).
"""

from __future__ import annotations

import math
from typing import Protocol

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import Cell
from proofcompute.freivalds.columns import DerivedColumns
from proofcompute.freivalds.soundness import HASH_QUERIES, soundness_bits
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.program.source import ComputeProducts, WeightRows
from proofcompute.protocol.messages import Part, Request
from proofcompute.protocol.needs import Needs
from proofcompute.verifier.key import Key
from proofcompute.verifier.sources import (
    HeldProducts,
    HintedProducts,
    HintProducts,
    OpenedTables,
    open_tables,
)

__all__ = ["Holder", "KeyHolder", "PublicHolder", "WeightsHolder"]


class Holder(Protocol):
    """One of the three ways to check a product."""

    hints: bool
    """Whether it needs product hints."""
    tables: bool
    """Whether it needs opened table rows."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        ...

    def begin(self, request: Request) -> float:
        """Count an attempt to check a request, before any product is checked.

        Returns -log2 of the probability that a false product passes in this attempt or passed in an earlier
        one. Raises the errors of :meth:`proofcompute.freivalds.attempts.Log.attempt`.
        """
        ...

    def prepare(self, kernels: Kernels) -> None:
        """Check the verifier's own weights; called once, before any cell.

        Raises MismatchError if they are not those of the model id.
        """
        ...

    def sources(
        self, need: Needs, part: Part, cell: Cell, kernels: Kernels
    ) -> tuple[WeightRows, HeldProducts | HintedProducts]:
        """Return weights and products of one cell.

        Raises VerificationError (step 7) if a table row is not the model's.
        """
        ...


class KeyHolder:
    """A private key, which checks hints with secret columns."""

    hints = True
    tables = True

    def __init__(self, key: Key, *, foreign: bool = False) -> None:
        """Hold ``key``. With ``foreign``, requests are others' and nonces are not the key's to remember."""
        self.key, self.foreign = key, foreign

    @property
    def card(self) -> ModelCard:
        """See Holder."""
        return self.key.card

    def begin(self, request: Request) -> float:
        """See Holder."""
        log = self.key.log
        attempts = log.attempt() if self.foreign else log.attempt(request.nonce, request.question)
        return soundness_bits(self.key.columns.k, attempts)

    def prepare(self, kernels: Kernels) -> None:
        """See Holder; a key holds no weights."""

    def sources(
        self, need: Needs, part: Part, cell: Cell, kernels: Kernels
    ) -> tuple[WeightRows, HintProducts]:
        """See Holder."""
        key = self.key
        tables = OpenedTables(key.constants, open_tables(key.card, need.tables, part, cell, kernels))
        products = HintProducts(key.program, cell, need.sites, part.hints, key.scales, key.columns)
        return tables, products


class WeightsHolder:
    """The weights themselves, from which products are computed without hints."""

    hints = False
    tables = False

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def card(self) -> ModelCard:
        """See Holder."""
        return self.model.card

    def begin(self, request: Request) -> float:
        """See Holder; only the hashes are left to chance."""
        return math.inf

    def prepare(self, kernels: Kernels) -> None:
        """See Holder."""
        self.model.require_roots(kernels.hash_rows)

    def sources(
        self, need: Needs, part: Part, cell: Cell, kernels: Kernels
    ) -> tuple[WeightRows, HeldProducts]:
        """See Holder."""
        return self.model, HeldProducts(ComputeProducts(self.model.matrix))


class PublicHolder:
    """The weights, and columns derived from a transcript that holds every hint, so none of it is secret."""

    hints = True
    tables = False

    def __init__(self, model: Model, columns: DerivedColumns) -> None:
        self.model = model
        self.columns = columns

    @property
    def card(self) -> ModelCard:
        """See Holder."""
        return self.model.card

    def begin(self, request: Request) -> float:
        """See Holder; the attempts are the hash queries that a prover may have spent on grinding."""
        return soundness_bits(self.columns.k, HASH_QUERIES)

    def prepare(self, kernels: Kernels) -> None:
        """See Holder."""
        self.model.require_roots(kernels.hash_rows)

    def sources(
        self, need: Needs, part: Part, cell: Cell, kernels: Kernels
    ) -> tuple[WeightRows, HintProducts]:
        """See Holder."""
        program = self.model.program
        scales = {s.weight: self.model.matrix(s.weight) for s in need.sites}
        pairs = {name: (w.scale, w.bias) for name, w in scales.items()}
        return self.model, HintProducts(program, cell, need.sites, part.hints, pairs, self.columns)
