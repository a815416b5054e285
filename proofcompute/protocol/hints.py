"""Pack the accumulators of a product into a hint on the prover's side, and check it on the verifier's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofcompute.arrays import F32, I8, I32, U32
from proofcompute.errors import FormatError
from proofcompute.freivalds.checks import ArraysAndChecks, Checks
from proofcompute.freivalds.hint import CheckedHint, Hint, HintSet, Packed
from proofcompute.freivalds.product import Site, product_sets
from proofcompute.limits import MAX_ACCUMULATOR
from proofcompute.program.source import Recorded

__all__ = ["check_hint", "encode_hint", "pack_set", "widest"]


def encode_hint(
    made: Recorded, site: Site, wanted: Sequence[HintSet], kernels: ArraysAndChecks
) -> tuple[bytes, ...]:
    """Return the packed sets of one product: for each set a byte with the width in bits, then its values.

    The width is the least that holds every value of the set, so the encoding is canonical.
    """
    acc = kernels.host(made.acc)
    index = {
        (a, i, j): n for n, (a, _, i, j, _) in enumerate(product_sets(site.d, site.x_limbs, site.w_limbs))
    }
    return tuple(
        pack_set(_combined([acc[index[c.start, i, c.w_limb]] for i in c.limbs]), kernels) for c in wanted
    )


def _combined(limbs: Sequence[I32]) -> I32:
    """Combine the accumulators of limbs, high before low; a set holds both limbs only if the sum fits."""
    value = limbs[0]
    for low in limbs[1:]:
        value = (value << np.int32(8)) + low  # modulo 2^32, where only the high part could overflow
    return value


def pack_set(values: I32, kernels: Checks) -> bytes:
    """Pack one set of a hint."""
    bits = _width(int(values.min()), int(values.max()))
    return bytes([bits]) + kernels.pack(np.ascontiguousarray(values).reshape(-1), bits)


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
    if len(packed) != len(wanted):
        raise FormatError(f"hint of {weight}: {len(packed)} sets of integers, not {len(wanted)}")
    sets: list[tuple[int, Packed]] = []
    for data, claim in zip(packed, wanted, strict=True):
        if not data or not 1 <= data[0] <= widest(claim.bound):
            raise FormatError(f"hint of {weight}: width outside 1..{widest(claim.bound)} bits")
        sets.append((data[0], memoryview(data)[1:]))
    found = kernels.check_hint(Hint(q, wanted, sets, *columns, sx, *scales, residual))
    for (bits, _), (low, high), claim in zip(sets, found.extremes, wanted, strict=True):
        if _width(low, high) != bits:
            raise FormatError(f"hint of {weight}: more bits than its values need")
        if max(high, -low) > claim.bound:
            raise FormatError(f"hint of {weight}: a value is beyond its bound")
    return found


def widest(bound: int) -> int:
    """Return the most bits that a value within a bound may take."""
    return min(bound, MAX_ACCUMULATOR - 1).bit_length() + 1


def _width(low: int, high: int) -> int:
    """Return the least width of a two's complement that holds ``low`` to ``high``, at least 1 bit."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
