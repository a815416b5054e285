r"""Freivalds' check of matrix products over GF(2^31 - 1) (design, section 6).

Claim Y = X W^T with X int8 [n, d], W int8 [m, d], Y int32 [n, m]. Draw S uniform in GF(p)^(m x k), keep
V = W^T S. Accept if Y S = X V over GF(p). If row t of Y is wrong, its difference D from the true row is a
non-zero vector mod p: both accumulators are smaller than 2^30 in absolute value, so they differ by less than
2^31 - 1 = p and D cannot vanish mod p. D S = 0 then holds with probability p^-1 for each independent column,
p^-k for all (Freivalds 1977). With k = 2 this is 2^-62 (1 - 2^-31)^-2, that is less than 2^-61.99.

What is claimed about a product (:func:`claims`): for each part of a long contraction and each limb of W, one
set Y. Where X has two limbs, X = 256 X1 + X0, the set is that of both together: Y = X W^T is linear in X. By
Cauchy and Schwarz |y_tj| <= |x_t| |w_j|, so it is below 2^30 if max_t |x_t|^2 max_j |w_j|^2 < 2^60. Prover
and verifier both know the two maxima: the first from the rows in front of the product, the second from the
weights or the key. Where they are too large, each limb of X has a set of its own, below 2^30 by the bound on
int8 products. So D above is smaller than p in either case, whatever the prover sends.

The check itself is :meth:`proofcompute.kernels.Kernels.check_hint`, on the hint as it is sent. It evaluates
all sets, rows and columns, and tells of them only whether they all hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from proofcompute.field import P31, sample31
from proofcompute.hashing import Xof
from proofcompute.hint import Claim
from proofcompute.kernels import I8, U32, Kernels, Matrix, product_sets
from proofcompute.limits import MAX_ACCUMULATOR, MAX_CONTRACTION
from proofcompute.program import Site, WeightSpec

__all__ = [
    "Columns",
    "DerivedColumns",
    "SecretColumns",
    "claims",
    "derive",
    "largest_squares",
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

    def squares(self, spec: WeightSpec) -> Sequence[int]:
        """The largest sum of squares of a row, for each limb of a weight matrix."""
        ...


def derive(seed: bytes, model_id: bytes, spec: WeightSpec, k: int) -> U32:
    """S of one weight matrix of a model from a seed, [k, m]: SHAKE-256, rejection sampling.

    Weights of other models, and of other names, have unrelated columns under the same seed.
    """
    return sample31(Xof("freivalds", seed, model_id, spec.name.encode()), (k, spec.rows))


def project_weight(w: Matrix, s: U32, k: Kernels) -> U32:
    """V = W^T S for each limb, [limbs, k, d]."""
    return np.stack([k.fold(limb, s) for limb in w.q])


@dataclass(frozen=True, eq=False)
class SecretColumns:
    """Columns of a private key: S from the secret seed, V from the key file."""

    # Left out of repr, so that no log and no traceback shows a secret.
    seed: bytes = field(repr=False)
    model_id: bytes
    k: int
    projections: Mapping[str, U32] = field(repr=False)
    largest: Mapping[str, tuple[int, ...]]
    """See ``squares``; from the weights, and no secret."""
    _derived: dict[str, U32] = field(default_factory=dict, repr=False)

    def s(self, spec: WeightSpec) -> U32:
        """See Columns."""
        if spec.name not in self._derived:
            self._derived[spec.name] = derive(self.seed, self.model_id, spec, self.k)
        return self._derived[spec.name]

    def v(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return self.projections[spec.name]

    def squares(self, spec: WeightSpec) -> Sequence[int]:
        """See Columns."""
        return self.largest[spec.name]


@dataclass(frozen=True, eq=False)
class DerivedColumns:
    """Columns of a public proof: S hashed from a transcript that holds every hint, V from the weights."""

    seed: bytes
    """Output of the transcript; whoever chose a hint could not know it."""
    model_id: bytes
    k: int
    matrix: Callable[[str], Matrix]
    kernels: Kernels

    def s(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return derive(self.seed, self.model_id, spec, self.k)

    def v(self, spec: WeightSpec) -> U32:
        """See Columns."""
        return project_weight(self.matrix(spec.name), self.s(spec), self.kernels)

    def squares(self, spec: WeightSpec) -> Sequence[int]:
        """See Columns."""
        return largest_squares(self.matrix(spec.name), self.kernels)


def claims(site: Site, q: I8, squares: Sequence[int], kernels: Kernels) -> tuple[Claim, ...]:
    """What a hint of one product holds, in canonical order: parts, then limbs of W, then limbs of X.

    Args:
        site: the product.
        q: int8 limbs of all rows of the cell, [limbs, n, d], n >= 1.
        squares: the largest sum of squares of a row, for each limb of W (:func:`largest_squares`).
        kernels: backend.
    """
    if site.x_limbs == 1:
        return _of_one_limb(site)
    out = []
    for start in range(0, site.d, MAX_CONTRACTION):
        stop = min(start + MAX_CONTRACTION, site.d)
        part = q if stop - start == site.d else np.ascontiguousarray(kernels.host(q)[:, :, start:stop])
        largest = kernels.largest_square(part)
        for j in range(site.w_limbs):
            shift = 8 * (site.w_limbs - 1 - j)
            if (bound := math.isqrt(largest * squares[j])) < MAX_ACCUMULATOR:
                out.append(Claim(start, stop, (0, 1), j, shift, bound))
            else:
                out.append(Claim(start, stop, (0,), j, shift + 8, site.bound))
                out.append(Claim(start, stop, (1,), j, shift, site.bound))
    return tuple(out)


@lru_cache(maxsize=4096)
def _of_one_limb(site: Site) -> tuple[Claim, ...]:
    sets = product_sets(site.d, 1, site.w_limbs)
    return tuple(Claim(start, stop, (0,), j, shift, site.bound) for start, stop, _, j, shift in sets)


def largest_squares(w: Matrix, kernels: Kernels) -> tuple[int, ...]:
    """The largest sum of squares of a row [d] of each limb of a weight matrix."""
    return tuple(kernels.largest_square(limb[np.newaxis]) for limb in w.q)


def soundness_bits(k: int, attempts: int) -> float:
    """-log2 of the probability that one false product is accepted in ``attempts`` adaptive tries."""
    return k * math.log2(P31) - math.log2(attempts)
