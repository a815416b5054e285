"""Verifies one product in one call (:func:`verify_product`), and computes the bound of a float check."""

from __future__ import annotations

from proofcompute.errors import InputError
from proofcompute.jobs.arrays import FACTORS, FLOATS, flat, matrix, result_dtype, shapes
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.floating import FloatBound, FloatCheck
from proofcompute.jobs.key import checker, every_member, evidence
from proofcompute.jobs.result import ProductVerified

__all__ = ["float_bound", "verify_product"]


def verify_product(
    a: AnyArray,
    b: AnyArray,
    c: AnyArray,
    *,
    columns: int | None = None,
    roundings: int | None = None,
    seed: bytes | None = None,
    device: str = "auto",
) -> ProductVerified:
    """Verify that C = A B at a cost of (n d + d m + n m) k, far less than that of computing it.

    The random columns are drawn here, after C is given, from the operating system's randomness, and are
    discarded, so nobody who made C could know them.

    Args:
        a: A [n, d] or a stack [.., n, d]: int8, int16, int32 (exact) or float32, float64 (with a rounding
            bound).
        b: B [d, m] or a stack [.., d, m]; integers in any combination with A, floats of A's type. Leading
            axes broadcast as those of ``numpy.matmul``.
        c: C [.., n, m], the claim: int32 or int64 for integers, otherwise of the factors' type.
        columns: k. Integers: 1 to 8, by default 2 in GF(2^31 - 1) and 1 in GF(2^61 - 1); a false C passes
            with probability p^-k (:mod:`proofcompute.jobs.exact`). Floats: 1 to 256, by default 40; a C
            that is off by more than :func:`float_bound` passes with probability 2^-k
            (:mod:`proofcompute.jobs.floating`).
        roundings: floats only: the most roundings that one product passes on its way into the sum on an
            honest machine; by default d, which holds for sums in any order.
        seed: 32 bytes instead of the randomness, for tests only.
        device: the backend.

    Returns:
        The evidence: what was checked, with what soundness error.

    Raises:
        VerificationError: C is not the product (step 8; no other detail is given).
        InputError: shapes or types do not fit, or A or B holds a NaN or an infinity.
        LimitError: d max|A| max|B| reaches 2^60, or an axis is too long.
    """
    left, right = matrix(a, "A", FACTORS), matrix(b, "B", FACTORS)
    stacks, n, d, m = shapes(left, right)
    types = left.dtype.name, right.dtype.name
    natural = result_dtype(*types, d)
    claim = matrix(c, "C", (natural,) if natural in FLOATS else ("int32", "int64"))
    if claim.shape != (*stacks.lead, n, m):
        shape = [*stacks.lead, n, m]
        raise InputError(f"C {list(claim.shape)} does not have the product's shape {shape}")
    used = checker(
        right, types[0], claim.dtype.name, columns=columns, roundings=roundings, seed=seed, device=device
    )
    used.log.attempt()
    bounds = every_member(used, stacks, left, claim)
    rows = stacks.members * n
    return evidence(used, rows, rows, bounds, received=True)


def float_bound(
    a: AnyArray, b: AnyArray, *, columns: int | None = None, roundings: int | None = None
) -> FloatBound:
    """Return the errors that :func:`verify_product` accepts and catches for float factors A [.., n, d], B.

    A claim with an element in row i that is off by more than ``caught[i]`` is rejected with probability at
    least ``1 - 2**-columns``. An honest product is rejected with probability at most 2^-40. Arguments and
    errors as for :func:`verify_product`; derivation: :mod:`proofcompute.jobs.floating`.
    """
    left, right = matrix(a, "A", FLOATS), matrix(b, "B", FLOATS)
    stacks, n, d, _ = shapes(left, right)
    result_dtype(left.dtype.name, right.dtype.name, d)
    check, rows = FloatCheck(right, columns, roundings), flat(left)
    pairs = map(stacks.pair, range(stacks.members))
    return FloatBound.joined([check.bound(rows[i * n : (i + 1) * n], j) for i, j in pairs])
