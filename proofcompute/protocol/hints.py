"""Check the hint of a product on the verifier's side, or sum it up."""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.arrays import F32, I8, U32
from proofcompute.errors import FormatError
from proofcompute.freivalds.checks import Checks
from proofcompute.freivalds.hint import CheckedHint, Hint, HintSet, Packed, SummedHint, WeighedHint
from proofcompute.freivalds.sets import width
from proofcompute.limits import MAX_ACCUMULATOR

__all__ = ["check_hint", "sum_hint", "widest"]


def check_hint(
    packed: Sequence[Packed],
    weight: str,
    q: I8,
    wanted: Sequence[HintSet],
    columns: tuple[U32, U32],
    sx: F32,
    scales: tuple[F32, F32 | None],
    kernels: Checks,
    residual: F32 | None = None,
) -> CheckedHint:
    """Unpack a product's hint and check it with Freivalds' columns.

    ``q`` [limbs, n, d] are the rows and ``sx`` [n] their scales, ``columns`` S and V of the weight (see
    :class:`proofcompute.freivalds.columns.Columns`), and ``scales`` the channels' scales and biases [m]. The
    product is added to ``residual`` [n, m]. The caller must look at the result's ``holds``. Raises
    FormatError unless the hint has exactly the ``wanted`` sets, canonical and within their bounds.
    """
    sets = _sets(packed, weight, wanted)
    found = kernels.check_hint(Hint(q, wanted, sets, *columns, sx, *scales, residual))
    _require_bounds(weight, sets, found.extremes, wanted)
    return found


def sum_hint(
    packed: Sequence[Packed],
    weight: str,
    wanted: Sequence[HintSet],
    r: U32,
    sx: F32,
    scales: tuple[F32, F32 | None],
    kernels: Checks,
    residual: F32 | None = None,
) -> SummedHint:
    """Unpack a product's hint and combine the rows of its sets by random rows ``r`` [sets, k, n].

    The other arguments and the errors are those of :func:`check_hint`. Nothing says yet whether the sets are
    right; the combinations do, together with those of the rows of X.
    """
    sets = _sets(packed, weight, wanted)
    found = kernels.sum_hint(WeighedHint(sets, [c.shift for c in wanted], r, sx, *scales, residual))
    _require_bounds(weight, sets, found.extremes, wanted)
    return found


def _sets(packed: Sequence[Packed], weight: str, wanted: Sequence[HintSet]) -> list[tuple[int, Packed]]:
    """Return width and integers of each set. Raises FormatError unless there are exactly the wanted sets."""
    if len(packed) != len(wanted):
        raise FormatError(f"hint of {weight}: {len(packed)} sets of integers, not {len(wanted)}")
    sets: list[tuple[int, Packed]] = []
    for data, claim in zip(packed, wanted, strict=True):
        if not data or not 1 <= data[0] <= widest(claim.bound):
            raise FormatError(f"hint of {weight}: width outside 1..{widest(claim.bound)} bits")
        sets.append((data[0], memoryview(data)[1:]))
    return sets


def _require_bounds(
    weight: str,
    sets: Sequence[tuple[int, Packed]],
    extremes: Sequence[tuple[int, int]],
    wanted: Sequence[HintSet],
) -> None:
    """Raise FormatError unless widths are the least, and all values within their bounds."""
    for (bits, _), (low, high), claim in zip(sets, extremes, wanted, strict=True):
        if width(low, high) != bits:
            raise FormatError(f"hint of {weight}: more bits than its values need")
        if max(high, -low) > claim.bound:
            raise FormatError(f"hint of {weight}: a value is beyond its bound")


def widest(bound: int) -> int:
    """Return the most bits that a value within a bound may take."""
    return min(bound, MAX_ACCUMULATOR - 1).bit_length() + 1
