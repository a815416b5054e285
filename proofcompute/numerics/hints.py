"""A product's hint: packed sets of integers, read, projected and turned into floats (design, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from proofcompute.errors import InputError
from proofcompute.kernels import F32, I32, U32, Kernels, ReadHint

__all__ = ["Packed", "check_sets", "read_hint"]

Packed: TypeAlias = bytes | memoryview


def check_sets(
    sets: Sequence[tuple[int, Packed]], s: U32, shifts: Sequence[int], sx: F32, sw: F32, bias: F32 | None
) -> tuple[int, int]:
    """Rows n and columns m of the sets; InputError unless all shapes fit and nothing is empty."""
    n, m = sx.size, sw.size
    alike = sx.ndim == sw.ndim == 1 and (bias is None or bias.shape == (m,))
    if not (sets and n and m and len(sets) == len(shifts) and alike and s.ndim == 2 and s.shape[1] == m):
        raise InputError(
            f"{len(sets)} sets with {len(shifts)} shifts, scales {list(sx.shape)} and {list(sw.shape)}, "
            f"columns {list(s.shape)}"
        )
    return n, m


def read_hint(
    k: Kernels,
    unpack: Callable[[Packed, int, int], I32],
    sets: Sequence[tuple[int, Packed]],
    s: U32,
    shifts: Sequence[int],
    sx: F32,
    sw: F32,
    bias: F32 | None,
) -> ReadHint:
    """See :meth:`proofcompute.kernels.Kernels.read_hint`; one step after the other, by functions of ``k``."""
    n, m = check_sets(sets, s, shifts, sx, sw, bias)
    values = np.stack([unpack(data, bits, n * m).reshape(n, m) for bits, data in sets])
    limits = [(int(v.min()), int(v.max())) for v in values]
    projections = np.stack([k.project(v, s) for v in values])
    return ReadHint(limits, projections, k.rescale(values, shifts, sx, sw, bias))
