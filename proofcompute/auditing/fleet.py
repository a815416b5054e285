"""Define what auditors know of a fleet: its nodes and models."""

from __future__ import annotations

from dataclasses import dataclass, field

from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.public.openings import ByPublicProof
from proofcompute.verifier import Key

__all__ = ["FleetModel", "FleetNode"]


@dataclass(frozen=True)
class FleetNode:
    """A node, and the models that it must serve."""

    name: str
    url: str
    """Address of its interface, such as ``http://host:8000/v1``."""
    key: bytes
    """Its public key, 32 bytes: it must have signed every receipt."""
    models: tuple[str, ...]
    """Names of models, as the node calls them."""
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class FleetModel:
    """A model, and what its answers are checked with."""

    name: str
    holds: Key | Model | ByPublicProof

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.holds.card
