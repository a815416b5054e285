"""Define a product's hint, the values it is checked with, and the result of checking it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["CheckedHint", "Hint", "HintSet", "MadeHint", "Packed", "SummedHint", "WeighedHint"]

Packed: TypeAlias = bytes | memoryview
"""Integers packed to the bits they need."""


class HintSet(NamedTuple):
    """One set of integers [n, m] of a hint: columns start..stop of X times those of one limb of W."""

    start: int
    stop: int
    limbs: tuple[int, ...]
    """Limbs of X, high before low: one, or both taken together."""
    w_limb: int
    shift: int
    """The bits by which this set is shifted left in the sum of all sets, which is the product."""
    bound: int
    """The largest absolute value that a value may have; below 2^30."""


class Hint(NamedTuple):
    """One product of n rows with m channels as a prover sent it, with the values it is checked with."""

    q: npt.NDArray[np.int8]
    """The rows, [limbs, n, d]."""
    sets: Sequence[HintSet]
    packed: Sequence[tuple[int, Packed]]
    """For each set, the bits of an integer, and the packed integers [n, m]."""
    s: npt.NDArray[np.uint32]
    """Random columns, [k, m]."""
    v: npt.NDArray[np.uint32]
    """Projections of the weights, [w_limbs, k, d]."""
    sx: npt.NDArray[np.float32]
    """Scales of the rows, [n]."""
    sw: npt.NDArray[np.float32]
    """Scales of the channels, [m]."""
    bias: npt.NDArray[np.float32] | None
    """Bias of the channels, [m]."""
    residual: npt.NDArray[np.float32] | None
    """The rows to which the product is added last, [n, m]."""


class WeighedHint(NamedTuple):
    """One product of n rows with m channels as a prover sent it, with random rows that combine its sets."""

    packed: Sequence[tuple[int, Packed]]
    """For each set, the bits of an integer, and the packed integers [n, m]."""
    shifts: Sequence[int]
    """For each set, the bits by which it is shifted left in the sum of all sets; 0 for a single one."""
    r: npt.NDArray[np.uint32]
    """Random rows for each set, residues [sets, k, n]."""
    sx: npt.NDArray[np.float32]
    """Scales of the rows, [n]."""
    sw: npt.NDArray[np.float32]
    """Scales of the channels, [m]."""
    bias: npt.NDArray[np.float32] | None
    """Bias of the channels, [m]."""
    residual: npt.NDArray[np.float32] | None
    """The rows to which the product is added last, [n, m]."""


class SummedHint(NamedTuple):
    """The result of :meth:`proofcompute.arithmetic.kernels.Kernels.sum_hint`."""

    extremes: Sequence[tuple[int, int]]
    """The least and the greatest value of each set."""
    u: npt.NDArray[np.uint32]
    """The rows of each set combined by its random rows: residues [sets, k, m]."""
    y: npt.NDArray[np.float32]
    """The product as float32 plus the residual: [n, m]."""


class MadeHint(NamedTuple):
    """A product as a prover computes it, with the hint that an opening holds of it."""

    packed: tuple[Packed, ...]
    """The sets of :func:`proofcompute.freivalds.sets.hint_sets`, as ``pack_set`` packs each of them."""
    y: npt.NDArray[np.float32] | None
    """The product as float32 plus the residual, [n, m]; None if it is not wanted."""


class CheckedHint(NamedTuple):
    """The result of :meth:`proofcompute.arithmetic.kernels.Kernels.check_hint`.

    A caller must use all of it: ``y`` is the product only if ``holds``, with all ``extremes`` within bounds.
    """

    extremes: Sequence[tuple[int, int]]
    """The least and the greatest value of each set."""
    holds: bool
    """Whether every set is the product that it should be, if its values are within their bounds."""
    y: npt.NDArray[np.float32]
    """The product as float32 plus the residual: [n, m]."""
