r"""Freivalds' check of matrix products over GF(2^31 - 1) (design, section 6).

Claim Y = X W^T with X int8 [n, d], W int8 [m, d], Y int32 [n, m]. Draw S uniform in GF(p)^(m x k), keep
V = W^T S. Accept if Y S = X V over GF(p). If row t of Y is wrong, its difference D from the true row is a
non-zero vector mod p: both accumulators are smaller than 2^30 in absolute value, so they differ by less than
2^31 - 1 = p and D cannot vanish mod p. D S = 0 then holds with probability p^-1 for each independent column,
p^-k for all (Freivalds 1977). With k = 2 this is 2^-62 (1 - 2^-31)^-2, that is less than 2^-61.99.

Where X or W has two limbs, or the contraction is cut into parts, each set of accumulators is one such claim
(:func:`proofcompute.kernels.product_sets`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from proofcompute.field import P31, sample31
from proofcompute.hashing import Xof
from proofcompute.kernels import I8, I32, U32, Kernels, Matrix
from proofcompute.limits import MAX_CONTRACTION
from proofcompute.program import WeightSpec

__all__ = [
    "Columns",
    "DerivedColumns",
    "SecretColumns",
    "check_product",
    "derive",
    "project_weight",
    "soundness_bits",
]


class Columns(Protocol):
    """Random columns S and projections V of the weights."""

    def s(self, spec: WeightSpec) -> U32:
        """S of a weight matrix, transposed: [k, m]."""
        ...

    def v(self, spec: WeightSpec) -> U32:
        """V of each limb of a weight matrix, transposed: [limbs, k, d]."""
        ...


def derive(seed: bytes, spec: WeightSpec, k: int) -> U32:
    """S of one weight matrix from a seed, [k, m]: SHAKE-256 with the weight's name, rejection sampling."""
    return sample31(Xof("freivalds", seed, spec.name.encode()), (k, spec.rows))


def project_weight(w: Matrix, s: U32, k: Kernels) -> U32:
    """V = W^T S for each limb, [limbs, k, d]."""
    return np.stack([k.fold(limb, s) for limb in w.q])


@dataclass(frozen=True, eq=False)
class SecretColumns:
    """Columns of a private key: S from the secret seed, V from the key file."""

    # Left out of repr, so that no log and no traceback shows a secret.
    seed: bytes = field(repr=False)
    k: int
    projections: Mapping[str, U32] = field(repr=False)
    _derived: dict[str, U32] = field(default_factory=dict, repr=False)

    def s(self, spec: WeightSpec) -> U32:
        """See Columns."""
        if spec.name not in self._derived:
            self._derived[spec.name] = derive(self.seed, spec, self.k)
        return self._derived[spec.name]

    def v(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return self.projections[spec.name]


@dataclass(frozen=True, eq=False)
class DerivedColumns:
    """Columns of a public proof: S hashed from a transcript that holds every hint, V from the weights."""

    seed: bytes
    """Output of the transcript; whoever chose a hint could not know it."""
    k: int
    matrix: Callable[[str], Matrix]
    kernels: Kernels

    def s(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return derive(self.seed, spec, self.k)

    def v(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return project_weight(self.matrix(spec.name), self.s(spec), self.kernels)


def check_product(q: I8, acc: I32, w_limbs: int, s: U32, v: U32, kernels: Kernels) -> bool:
    """Whether every accumulator set is the product it claims to be, up to the error in the module's text.

    Args:
        q: int8 limbs of the rows, [limbs, n, d].
        acc: claimed accumulators, [sets, n, m], each smaller than 2^30 in absolute value.
        w_limbs: limbs of the weight matrix.
        s: columns, [k, m].
        v: projections, [w_limbs, k, d].
        kernels: backend that projects.

    All sets, rows and columns are evaluated whatever fails, so that time says nothing about which one did.
    All sets go through S together, and all limbs of the rows through V, so that the columns are read once.
    """
    ok = True
    x_limbs, n, d = q.shape
    starts = range(0, d, MAX_CONTRACTION)
    left = kernels.host(kernels.project(acc.reshape(-1, acc.shape[2]), s))
    left = left.reshape(len(starts), x_limbs, w_limbs, n, -1)  # the order of product_sets
    for claimed, a in zip(left, starts, strict=True):
        whole = d <= MAX_CONTRACTION
        rows = q if whole else np.ascontiguousarray(q[:, :, a : a + MAX_CONTRACTION])
        rows = rows.reshape(x_limbs * n, -1)
        for j in range(w_limbs):
            w = v[j] if whole else np.ascontiguousarray(v[j][:, a : a + MAX_CONTRACTION])
            right = kernels.host(kernels.project(rows, w)).reshape(x_limbs, n, -1)
            equal = not np.count_nonzero(claimed[:, j] != right)
            ok &= equal
    return ok


def soundness_bits(k: int, attempts: int) -> float:
    """-log2 of the probability that one false product is accepted in ``attempts`` adaptive tries."""
    return k * math.log2(P31) - math.log2(attempts)
