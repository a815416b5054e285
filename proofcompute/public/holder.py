"""Hold a public key while the openings of a proof are audited."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.codes.extension import DEGREE
from proofcompute.errors import Cell
from proofcompute.freivalds.primes import P31
from proofcompute.freivalds.soundness import HASH_QUERIES
from proofcompute.models.card import ModelCard
from proofcompute.protocol.messages import Part, Request
from proofcompute.protocol.needs import Needs
from proofcompute.public.key import PublicKey
from proofcompute.public.layout import Layout
from proofcompute.public.sums import SummedProducts, Sums
from proofcompute.verifier.sources import OpenedTables, open_tables

__all__ = ["GRANTED", "SECURITY", "CodedHolder", "error_bits", "positions_for"]

GRANTED: Final = math.log2(HASH_QUERIES)
"""Bits that are lost to attempts: hash queries of whoever makes a proof."""
SECURITY: Final = 181.0
"""-log2 of the error of one attempt, unless another is asked for: with 2^80 hash queries it is 2^-101, and
the hashes limit it to 2^-97."""


class CodedHolder:
    """A public key, which sums the hints up for the codes to check."""

    hints = True
    tables = True

    def __init__(self, sums: Sums[PublicKey], seeds: Mapping[Cell, bytes], positions: int) -> None:
        """Hold the key of ``sums``; ``seeds`` has that of a cell's random rows once all of it was read."""
        self.key, self.sums = sums.key, sums
        self._seeds, self._positions = seeds, positions

    @property
    def card(self) -> ModelCard:
        """See Holder."""
        return self.key.card

    def begin(self, request: Request) -> float:
        """See Holder; the attempts are the hash queries that a prover may have spent on grinding."""
        return error_bits(self.key.layout, self._positions) - GRANTED

    def prepare(self, kernels: Kernels) -> None:
        """See Holder; a public key holds no weights."""

    def sources(
        self, need: Needs, part: Part, cell: Cell, kernels: Kernels
    ) -> tuple[OpenedTables, SummedProducts]:
        """See Holder."""
        key = self.key
        tables = OpenedTables(key.constants, open_tables(key.card, need.tables, part, cell, kernels))
        scales = {name: key.scales(name) for name in {s.weight for s in need.sites}}
        products = SummedProducts(
            key.program, cell, need.sites, part.hints, scales, self.sums, self._seeds[cell]
        )
        return tables, products


def error_bits(layout: Layout, positions: int) -> float:
    """Return -log2 of the largest error of one challenge of a proof, which is the error of one attempt.

    It is the larger of 2^-rho to the power of the positions, exactly mu^t, and (I + 3) p^-6 for rows of I
    bits (docs/spec/public-proofs.md#soundness).
    """
    rows = max([p.m for p in layout.planes] + [1 << c.side for c in layout.codes], default=1)
    field = DEGREE * math.log2(P31) - math.log2((rows - 1).bit_length() + 3)
    return min([field, *(_code_bits(code.circle.agreement, positions) for code in layout.codes)])


def _code_bits(agreement: float, positions: int) -> float:
    return math.inf if agreement == 0 else -positions * math.log2(agreement)


def positions_for(layout: Layout, bits: float) -> int:
    """Return the fewest positions whose error is at most 2^-bits."""
    each = min((_code_bits(code.circle.agreement, 1) for code in layout.codes), default=math.inf)
    return max(1, math.ceil(bits / each))
