r"""Rounds a matrix to one limb so that the errors of its columns cancel in its product.

With activations x whose sum of x x^T is H, rounding a row w to s q changes its product by s e x, where
e = w / s - q, and the sum of the squares of e x is e H e^T. With H = M^T P M, M unit lower triangular and P
the diagonal matrix of the pivots p,

    e H e^T = sum_j p_j (e_j + sum_{i < j} m_ji e_i)^2.

So q_j = rint(w_j / s + sum_{i < j} m_ji e_i), column after column, leaves at most a half in every bracket:
each column is rounded with the errors of those before it in mind. This is the rounding of GPTQ (Frantar et
al. 2022, arXiv:2210.17323), written as Babai's nearest plane (Chen et al. 2025, arXiv:2507.18553), which
needs no inverse. Columns come in the order of their squares, the largest first. Before that, :data:`DAMPING`
times the mean of H's diagonal is added to it, so that what a short text happens not to contain is not relied
on. Rows wider than :data:`WIDEST` are cut into equal blocks, each with its own H.

Two people must get the same model id. H of up to :data:`ROWS` rows is exact: activations are rounded to
integers of 20 bits, so all partial sums are below 2^53, and BLAS may add them in any order. Factors and
roundings are those of :mod:`proofcompute.arithmetic.definition.lattice`, in binary64 for the factors and
binary32 for the rows, which every backend computes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.definition.products import LARGEST
from proofcompute.arithmetic.lattice import F64, Lattice
from proofcompute.arrays import F32, I8
from proofcompute.errors import NonFiniteError

__all__ = ["Factor", "blocks", "compensated", "factor", "gram"]

BITS: Final = 20
"""Bits of activations, without the sign, in :func:`gram`."""
ROWS: Final = 4096
"""The most rows of one exact product: 2^(2 BITS) * ROWS is at most 2^53."""
WIDEST: Final = 1024
"""The most columns whose errors are compensated by each other."""
DAMPING: Final = 0.03
"""What is added to the diagonal of H, over its mean."""


@dataclass(frozen=True)
class Factor:
    """H of one block of columns, factored."""

    order: npt.NDArray[np.intp]
    """The columns in the order in which they are rounded, [d]."""
    mix: F32
    """mix[i, j] = m_ji, [d, d]; only j > i counts."""
    pivots: F64
    """p_j of each column, in the columns' own order, [d]."""


def blocks(d: int) -> list[slice]:
    """Cut ``d`` columns into equal blocks (the last may be narrower)."""
    count = max(1, -(-d // WIDEST))
    width = max(1, -(-d // count))
    return [slice(a, min(a + width, d)) for a in range(0, d, width)]


def gram(x: F32) -> F64:
    """Return x^T x, [d, d], for rows x [n, d] rounded to BITS bits below the power of two above the largest.

    Raises NonFiniteError if an element is NaN or infinite.
    """
    top = np.max(np.abs(x), initial=np.float32(0))
    if not np.isfinite(top):
        raise NonFiniteError("an activation on the calibration text is not finite")
    shift = BITS - int(np.frexp(top)[1])
    whole = np.rint(x.astype(np.float64) * 2.0**shift)  # exact, as all that follows but rint
    out = whole[:ROWS].T @ whole[:ROWS]
    for a in range(ROWS, len(whole), ROWS):
        out += whole[a : a + ROWS].T @ whole[a : a + ROWS]
    out *= 2.0 ** (-2 * shift)
    return out


def factor(h: F64, cpu: Lattice) -> Factor:
    """Factor H [d, d], which is symmetric and has no negative eigenvalue."""
    d = len(h)
    energy = np.diagonal(h)
    order = np.argsort(-energy, kind="stable")
    mean = 0.0
    for value in energy.tolist():  # one after the other: NumPy's own sums depend on the machine
        mean += value / d
    least = DAMPING * mean
    if least == 0:
        return Factor(order, np.zeros((d, d), np.float32), np.zeros(d))
    a = h[np.ix_(order, order)]
    a[np.diag_indices(d)] += least
    pivots = np.empty(d)
    mix, pivots[order] = cpu.factor(a, least)  # below ``least`` only by errors of rounding
    return Factor(order, mix, pivots)


def compensated(x: F32, scales: F32, factors: Sequence[Factor], cpu: Lattice) -> I8:
    """Round rows [m, d] to one limb [1, m, d].

    Args:
        x: the rows, finite.
        scales: their scales [m] as the quantiser makes them, 0 where a row rounds to zeros.
        factors: those of the blocks of columns.
        cpu: a backend of the host.
    """
    m, d = x.shape
    q = np.empty((1, m, d), np.int8)
    inverse = np.zeros(m, np.float32)
    used = scales != 0
    inverse[used] = LARGEST[1] / np.max(np.abs(x[used]), axis=1)
    for columns, f in zip(blocks(d), factors, strict=True):
        steps = np.ascontiguousarray((x[:, columns] * inverse[:, np.newaxis]).T[f.order])
        q[0, :, columns.start + f.order] = cpu.nearest_plane(steps, f.mix)
    return q
