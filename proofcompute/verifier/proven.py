"""Define what checks an opening that ends with a public proof (docs/spec/public-proofs.md#in-an-opening).

What the proof is, and how it is checked, is known in :mod:`proofcompute.public`, above this package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import Cell
from proofcompute.models.card import ModelCard
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, ProofAsked
from proofcompute.verifier.holders import Holder

__all__ = ["Checks", "Ending", "Hearer", "ProofHolds"]


class Hearer(Protocol):
    """Hears what an opening holds while it is read, cell by cell, before any of a cell is checked."""

    def roots(self, roots: Sequence[bytes]) -> None:
        """Hear the roots of the groups, which hash to the receipt's trace root."""
        ...

    def cell(self, cell: Cell, digests: Sequence[bytes]) -> None:
        """Hear the digests of the frames that open a cell, all cells in order."""
        ...


class Ending(Protocol):
    """Checks the frame that follows the cells."""

    limit: int
    """Most bytes of the frame."""

    def check(self, frame: bytes) -> None:
        """Check the frame, once all cells were heard and checked. Raises VerificationError if it is false."""
        ...


class Checks(NamedTuple):
    """What checks one opening, once."""

    holder: Holder
    hearer: Hearer | None = None
    ending: Ending | None = None
    """None: nothing follows the cells."""


class ProofHolds(ABC):
    """What is held of a model to check openings by public proofs alone: neither weights nor a secret."""

    @property
    @abstractmethod
    def card(self) -> ModelCard:
        """The model's card."""

    @property
    @abstractmethod
    def asked(self) -> ProofAsked:
        """The proof that challenges ask for."""

    @property
    @abstractmethod
    def most(self) -> int:
        """Most bytes of a proof."""

    @abstractmethod
    def checks(self, claim: Claim, challenge: Challenge, kernels: Kernels) -> Checks:
        """Return what checks one opening, which must ask for a proof by the codes that are held.

        Raises InputError if the challenge asks for another one, or for one that proves nothing.
        """
