"""Lists the precisions of compiled models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PRECISIONS", "Precision"]


@dataclass(frozen=True)
class Precision:
    """Numbers of limbs of weights and activations.

    The head's activations always have two limbs: the head runs once per generated token, and one limb loses
    more accuracy there than in a whole block.
    """

    name: str
    """The name, such as w8a16."""
    w_limbs: int
    """Limbs of the weights."""
    x_limbs: int
    """Limbs of the activations in the blocks."""
    head_limbs: int = 2
    """Limbs of the head's activations."""
    kv_limbs: int = 1
    """Limbs of queries, keys and values in attention."""


PRECISIONS: Mapping[str, Precision] = {
    p.name: p
    for p in (Precision("w8a8", 1, 1), Precision("w8a16", 1, 2), Precision("w16a16", 2, 2, kv_limbs=2))
}
"""Precisions by name; w8a16 is the default."""
