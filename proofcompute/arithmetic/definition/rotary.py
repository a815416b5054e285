"""Compute the tables of rotary position embedding by rule 2 (Su et al. 2021, arXiv:2104.09864)."""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic.definition.elementwise import ONE
from proofcompute.arithmetic.definition.transcendental import cos, sin
from proofcompute.arrays import F32, I64

__all__ = ["rope_table"]


def rope_table(positions: I64, freqs: F32, scale: np.float32 = ONE) -> tuple[F32, F32]:
    """Return cosines and sines of f32(position) * frequency, times ``scale``: [n, r] each.

    The angle is rounded once, and so is each product with the scale. Raises ExecutionError where an angle is
    beyond 2^20, the domain of sin and cos.
    """
    angles = positions.astype(np.float32)[:, None] * freqs[None, :]
    return cos(angles) * scale, sin(angles) * scale
