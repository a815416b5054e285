"""Derive the random columns S of Freivalds' check, and the projections V = W^T S of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from proofcompute.arrays import I8, U32
from proofcompute.commitments.hashing import Xof
from proofcompute.freivalds.checks import Checks
from proofcompute.freivalds.field import sample31
from proofcompute.freivalds.sets import largest_squares
from proofcompute.limits import MIB

__all__ = ["Columns", "DerivedColumns", "SecretColumns", "derive", "project_weight"]

MOST_KEPT: Final = 256 * MIB
"""The most bytes of projections that a public proof's columns keep; a large mixture has gigabytes of them."""


class Columns(Protocol):
    """Random columns S and projections V of the weights."""

    def s(self, weight: str, m: int) -> U32:
        """Return S of a weight matrix [m, d], transposed: [k, m]."""
        ...

    def v(self, weight: str, m: int, group: int | None = None) -> U32:
        """Return V of each limb of a weight matrix [m, d], transposed: [limbs, k, d].

        ``group`` says which of several matrices.
        """
        ...

    def squares(self, weight: str) -> Sequence[int]:
        """Return the largest sum of squares of a row, for each limb of a weight matrix."""
        ...


def derive(seed: bytes, model_id: bytes, weight: str, m: int, k: int) -> U32:
    """Derive S of one weight matrix of a model from a seed, [k, m]: SHAKE-256, rejection sampling.

    Weights of other models, and of other names, have unrelated columns under the same seed.
    """
    return sample31(Xof("freivalds", seed, model_id, weight.encode()), (k, m))


def project_weight(limbs: I8, s: U32, kernels: Checks) -> U32:
    """Return V = W^T S for each limb [m, d] of a weight matrix [limbs, m, d]: [limbs, k, d].

    Of [groups, limbs, m, d] it is [groups, limbs, k, d], with the same S for all groups. That is as sound as
    one S for all rows of a product: each false row passes with the probability that one false row does.
    """
    if limbs.ndim == 4:
        return np.stack([project_weight(group, s, kernels) for group in limbs])
    return np.stack([kernels.fold(limb, s) for limb in limbs])


@dataclass(frozen=True, eq=False)
class SecretColumns:
    """Columns of a private key: S from the secret seed, V from the key file."""

    # The secrets are left out of repr, so that no log and no traceback shows them.
    seed: bytes = field(repr=False)
    model_id: bytes
    k: int
    projections: Mapping[str, U32] = field(repr=False)
    largest: Mapping[str, tuple[int, ...]]
    """The results of ``squares``, which follow from the weights and are not secret."""
    _derived: dict[str, U32] = field(default_factory=dict, repr=False)

    def s(self, weight: str, m: int) -> U32:
        """See Columns."""
        if weight not in self._derived:
            self._derived[weight] = derive(self.seed, self.model_id, weight, m, self.k)
        return self._derived[weight]

    def v(self, weight: str, m: int, group: int | None = None) -> U32:
        """See Columns."""
        v = self.projections[weight]
        return v if group is None else v[group]

    def squares(self, weight: str) -> Sequence[int]:
        """See Columns."""
        return self.largest[weight]


@dataclass(eq=False)
class DerivedColumns:
    """Columns of a public proof: S hashed from a transcript that holds every hint, V from the weights."""

    seed: bytes
    """Output of the transcript, which nobody could know while choosing a hint."""
    model_id: bytes
    k: int
    limbs: Callable[[str], I8]
    """The limbs [limbs, m, d] of a weight matrix by name; with groups, [groups, limbs, m, d]."""
    kernels: Checks
    _derived: dict[str, U32] = field(default_factory=dict, repr=False)
    _projected: dict[tuple[str, int | None], U32] = field(default_factory=dict, repr=False)
    _kept: int = 0
    """Bytes of the projections that are kept."""
    _squares: dict[str, Sequence[int]] = field(default_factory=dict, repr=False)

    def s(self, weight: str, m: int) -> U32:
        """See Columns."""
        if weight not in self._derived:
            self._derived[weight] = derive(self.seed, self.model_id, weight, m, self.k)
        return self._derived[weight]

    def v(self, weight: str, m: int, group: int | None = None) -> U32:
        """See Columns."""
        if (weight, group) in self._projected:
            return self._projected[weight, group]
        limbs = self.limbs(weight)
        v = project_weight(limbs if group is None else limbs[group], self.s(weight, m), self.kernels)
        # what is kept stays: cells ask in turns, so making room would throw away what comes next
        if self._kept + v.nbytes <= MOST_KEPT:
            self._projected[weight, group] = v
            self._kept += v.nbytes
        return v

    def squares(self, weight: str) -> Sequence[int]:
        """See Columns."""
        if weight not in self._squares:
            self._squares[weight] = largest_squares(self.limbs(weight), self.kernels)
        return self._squares[weight]
