r"""Say which sets of integers a hint holds, and why checking them suffices (docs/spec/freivalds.md).

Statement: Y = X W^T with X int8 [n, d], W int8 [m, d], Y int32 [n, m]. Draw S uniform in GF(p)^(m x k), keep
V = W^T S. Accept if Y S = X V over GF(p). If row t of Y is wrong, its difference D from the true row is a
non-zero vector mod p: both accumulators are smaller than 2^30 in absolute value, so they differ by less than
2^31 - 1 = p and D cannot vanish mod p. D S = 0 then holds with probability p^-1 for each independent column,
p^-k for all (Freivalds 1977). With k = 2 this is 2^-62 (1 - 2^-31)^-2, that is less than 2^-61.99.

A hint holds one set Y of a product for each part of a long contraction and each limb of W
(:func:`hint_sets`). Where X has two limbs, X = 256 X1 + X0, one set is that of both together, because
Y = X W^T is linear in X. By Cauchy and Schwarz |y_tj| <= |x_t| |w_j|, so it is below 2^30 if
max_t |x_t|^2 max_j |w_j|^2 < 2^60. Prover and verifier both know the two maxima: the first from the rows in
front of the product, the second from the weights or the key. Where they are too large, each limb of X has a
set of its own, below 2^30 by the bound on int8 products. So D above is smaller than p in either case,
whatever the prover sends.

:meth:`proofcompute.arithmetic.kernels.Kernels.check_hint` does the check, on the hint as it is sent. It
evaluates all sets, rows and columns, and says only whether they all hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from proofcompute.arrays import I8, I32
from proofcompute.freivalds.checks import ArraysAndChecks, Checks
from proofcompute.freivalds.hint import HintSet
from proofcompute.freivalds.product import Site, product_sets
from proofcompute.limits import MAX_ACCUMULATOR, MAX_CONTRACTION

__all__ = ["bound_together", "hint_sets", "largest_squares", "pack_set", "width"]


def hint_sets(site: Site, q: I8, squares: Sequence[int], kernels: ArraysAndChecks) -> tuple[HintSet, ...]:
    """Return the sets that a hint of one product holds, in order of parts, then limbs of W, then limbs of X.

    Args:
        site: the product.
        q: int8 limbs of all rows of the cell, [limbs, n, d], n >= 1.
        squares: the largest sum of squares of a row, for each limb of W (:func:`largest_squares`).
        kernels: backend.
    """
    if site.x_limbs == 1:
        return _one_limb_sets(site)
    out = []
    for start in range(0, site.d, MAX_CONTRACTION):
        stop = min(start + MAX_CONTRACTION, site.d)
        part = q if stop - start == site.d else np.ascontiguousarray(kernels.host(q)[:, :, start:stop])
        largest = kernels.largest_square(part)
        for j in range(site.w_limbs):
            shift = 8 * (site.w_limbs - 1 - j)
            bound = bound_together(largest, squares[j])
            if bound is not None:
                out.append(HintSet(start, stop, (0, 1), j, shift, bound))
            else:
                out.append(HintSet(start, stop, (0,), j, shift + 8, site.bound))
                out.append(HintSet(start, stop, (1,), j, shift, site.bound))
    return tuple(out)


def bound_together(largest: int, square: int) -> int | None:
    """Return the bound of the set of both limbs of X, or None if each limb has a set of its own.

    ``largest`` is the largest sum of squares of a row of X, and ``square`` that of a row of the limb of W.
    """
    bound = math.isqrt(largest * square)
    return bound if bound < MAX_ACCUMULATOR else None


@lru_cache(maxsize=4096)
def _one_limb_sets(site: Site) -> tuple[HintSet, ...]:
    sets = product_sets(site.d, 1, site.w_limbs)
    return tuple(HintSet(start, stop, (0,), j, shift, site.bound) for start, stop, _, j, shift in sets)


def largest_squares(limbs: I8, kernels: Checks) -> tuple[int, ...]:
    """Return the largest sum of squares of a row [d] of each limb [m, d] of a weight matrix [limbs, m, d].

    Of [groups, limbs, m, d] it is the largest of all groups.
    """
    if limbs.ndim == 4:
        return tuple(map(max, zip(*(largest_squares(group, kernels) for group in limbs), strict=True)))
    return tuple(kernels.largest_square(limb[np.newaxis]) for limb in limbs)


def width(low: int, high: int) -> int:
    """Return the least width of a two's complement that holds ``low`` to ``high``, at least 1 bit."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1


def pack_set(values: I32, kernels: Checks) -> bytes:
    """Return one set of a hint as an opening holds it: a byte with the width in bits, then the values.

    The width is the least that holds every value, so the encoding is canonical.
    """
    bits = width(int(values.min()), int(values.max()))
    return bytes([bits]) + kernels.pack(np.ascontiguousarray(values).reshape(-1), bits)
