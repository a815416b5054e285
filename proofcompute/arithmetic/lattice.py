"""Define the functions of a backend by which weights are rounded with each other's errors in mind.

:mod:`proofcompute.importers.compiling.rounding` says what they are for. Arrays are in the host's memory.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from proofcompute.arrays import F32, I8

__all__ = ["F64", "Lattice"]

F64 = npt.NDArray[np.float64]


class Lattice(Protocol):
    """Factors of symmetric matrices, and nearest planes."""

    def factor(self, h: F64, least: float) -> tuple[F32, F64]:
        """Factor a symmetric matrix [d, d] as M^T P M; only its lower triangle is read.

        M is unit lower triangular, and P the diagonal matrix of the pivots. A pivot that is not greater than
        ``least`` is ``least``. Returns mix [d, d], where mix[i, j] = m_ji for j > i and 0 elsewhere, and the
        pivots [d].
        """
        ...

    def nearest_plane(self, steps: F32, mix: F32) -> I8:
        """Round columns of numbers [d, n] to int8 in -127..127, one row after another.

        Row j is rounded after mix[i, j] times the error of row i was added for each i < j, where an error is
        what was given less what it was rounded to. What is not a number becomes -127.
        """
        ...
