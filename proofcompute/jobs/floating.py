r"""Checks products of floats with a derived bound, outside the canonical arithmetic.

The claim is that C is A B as some machine rounds it, A [n, d], B [d, m], all binary32 or all binary64, with
unit roundoff u = 2^-24 or 2^-53 and smallest normal number w. A C is *honest* if each of the d products
passes at most h roundings on its way into its element, its own included, and underflow is gradual or flushed
to zero. Sums in any order, with or without fused operations, have h <= d, which is the default; a machine
that sums in a tree or in lanes has a smaller h, which gives a bound that is tighter by h / d.

Write E = C - A B, v = 2^-53, gamma(n) = n u / (1 - n u), gamma'(n) = n v / (1 - n v); norms are over the m
columns, g_i = sum_k |A_ik| |B_k|_1 and q_i = sum_k |A_ik| |B_k|_2, B_k being row k of B.

*Honest error.* |E| <= gamma(h) |A| |B| + 3 d w componentwise: N. J. Higham, "Accuracy and Stability of
Numerical Algorithms", 2nd ed. (SIAM 2002), section 3.5; each of at most 2 d - 1 operations may lose another w
to underflow (section 2.1), carried on by factors of at most 1 + gamma(h) <= 4/3. Hence |E_i|_1 <= gamma(h)
g_i + 3 d m w and, by the triangle inequality over k, |E_i|_2 <= gamma(h) q_i + 3 d m w.

*The check* (R. Freivalds, IFIP Congress 1977, here over {-1, 1}). Once C is known, draw k independent uniform
columns s in {-1, 1}^m. In binary64, with gradual underflow, compute x = B s, y = A x, z = C s and r = z - y,
with sums of n terms in pieces of 128, so that a term passes at most r(n) = min(n, 128) + n // 128 roundings.
By Higham, Lemma 3.3, with p = gamma'(r(m)) and p' = gamma'(r(m) + r(d)),

    |z - C s|_i <= p |C_i|_1,     |y - A B s|_i <= p' g_i + 2 d w.

The check accepts if |r_i| <= t_i for all rows and columns, where L = sqrt(2 ln(2^65 k)) < 16 and

    t_i = (1 + 2^-20) (gamma(h) min(g_i, L q_i) + (p (1 + gamma(h)) + p') g_i) + 64 d m w.

*Completeness:* an honest C does not depend on s. So |E s|_i <= L |E_i|_2 except with probability at most 2
exp(-L^2 / 2) = 2^-64 / k (W. Hoeffding, JASA 58 (1963), theorem 2), and |E s|_i <= |E_i|_1 always. With
|C_i|_1 <= g_i + |E_i|_1 the three errors add up to t_i; the factor 1 + 2^-20 covers the last subtraction, the
rounding of t_i, and that the computed g_i and q_i may be too small by a factor of 1 - 2^-29. An honest
product of up to 2^24 rows is rejected with probability at most 2^-40 over the signs.

*Soundness:* let M = max_j |E_ij|, reached at j = c. If a column s is accepted, then, as |C_i|_1 <= g_i + m M,

    |E s|_i <= (1 + 2 v) t_i + (p + p') g_i + 2 d w + m p M =: R + m p M.

Fix all signs but s_c. The two values of (E s)_i differ by 2 M, so if both are accepted then M <= R + m p M.
With m <= 2^22 we have m p < 2^-15, and then M <= R / (1 - m p) <= T_i,

    T_i = (1 + 2^-12) (t_i + (p + p') g_i + 4 d m w).

So a claim with an element that is off by more than T_i in row i passes one column with probability at most
1/2, and all k with probability at most 2^-k. Smaller errors may pass. T_i is close to t_i for binary32, and
larger (1.5 times at d = m = 1024) for binary64, where the check rounds as much as the honest machine. It
grows with h and with the square root of m: for standard normal factors and n = d = m = 1024 in binary32,
where elements of C have a standard deviation of 32, T_i is about 16 with h = d and about 1 with h = 64. A
tolerance for every machine is a wide one; products that have to be exact should be integers.

Signs are fresh for every check. Whether errors near the threshold pass depends on the signs, so signs that
were used for several checks would become known bit by bit. There is no reusable key for floats.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast, final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import DeviceError, InputError, LimitError, VerificationError
from proofcompute.jobs.arrays import flat, rounded_to_half

__all__ = ["COLUMNS", "MAX_FLOAT_AXIS", "MAX_SIGNS", "FloatBound", "FloatCheck"]

F64 = npt.NDArray[np.float64]

COLUMNS: Final = 40
"""Default number of columns of signs; an error above the bound is missed with probability 2^-40."""
MAX_SIGNS: Final = 256
"""The most columns of signs."""
MAX_FLOAT_AXIS: Final = 1 << 22
"""Longest axis of B for which the constants in the module's docstring hold."""
_BLOCK: Final = 1 << 16
"""Elements that are converted to binary64 at a time: half a mebibyte, which stays in the cache."""
_PIECE: Final = 128
"""Terms of a sum that BLAS adds, in any order."""
_V: Final = 2.0**-53


@dataclass(frozen=True, eq=False)
class FloatBound:
    """The errors that a check of a float product accepts and catches, per row of C (see the module)."""

    tolerance: F64
    """t_i [n]: the greatest |(C s - A B s)_i| that is accepted."""
    caught: F64
    """T_i [n]: one column catches an element of row i that is off by more, with probability 1/2."""

    @property
    def smallest(self) -> float:
        """The largest of :attr:`caught`: an error above this is caught in any row; 0 without rows."""
        return float(self.caught.max()) if self.caught.size else 0.0

    @staticmethod
    def joined(parts: Sequence[FloatBound]) -> FloatBound:
        """Return the bound of the rows of all parts, one after the other."""
        return FloatBound(
            np.concatenate([b.tolerance for b in parts]), np.concatenate([b.caught for b in parts])
        )

    @staticmethod
    def probability(columns: int) -> float:
        """Return the least probability with which ``columns`` columns catch such an error: 1 - 2^-columns."""
        return 1.0 - 2.0**-columns


def _gamma(n: int, u: float) -> float:
    return n * u / (1.0 - n * u)


def _roundings(n: int) -> int:
    """Return the most roundings of one term of a sum of n that :func:`_times` computes."""
    return min(n, _PIECE) + n // _PIECE


def _times(x: F64, s: F64) -> F64:
    """Return x s, summed in pieces."""
    out = np.zeros((len(x), s.shape[1]))
    for j in range(0, x.shape[1], _PIECE):
        out += x[:, j : j + _PIECE] @ s[j : j + _PIECE]
    return out


def _norms(x: F64) -> F64:
    """Return |row|_1 and |row|_2 of each row, [n, 2].

    Rows are scaled so that no square under- or overflows; one ulp covers the rounding of a subnormal norm.
    """
    if x.shape[1] == 0:
        return np.zeros((len(x), 2))
    size = np.abs(x)
    top = size.max(axis=1, keepdims=True)
    scaled = size / np.where(top > 0, top, 1.0)
    square = top[:, 0] * np.sqrt((scaled * scaled).sum(axis=1))
    return np.stack([size.sum(axis=1), np.nextafter(square, np.inf)], axis=1)


@final
class FloatCheck:
    """The signs and projections of one check of products with one right factor B [d, m], or each of a stack.

    Args:
        b: B, or a stack [.., d, m]; float32 or float64.
        columns: k, 1 to MAX_SIGNS; COLUMNS if None.
        roundings: h in the module's docstring; d if None or larger.
        seed: 32 bytes for tests; the operating system's randomness if None.

    Raises InputError if B holds a number that is not finite or an argument is out of range, LimitError for an
    axis longer than MAX_FLOAT_AXIS.
    """

    def __init__(
        self,
        b: Array,
        columns: int | None = None,
        roundings: int | None = None,
        seed: bytes | None = None,
    ) -> None:
        self.columns = COLUMNS if columns is None else columns
        if not 1 <= self.columns <= MAX_SIGNS:
            raise InputError(f"columns {self.columns} is outside 1..{MAX_SIGNS}")
        if roundings is not None and roundings < 1:
            raise InputError("an honest product is rounded at least once")
        self.dtype: str = b.dtype.name
        self.d, self.m = b.shape[-2:]
        if max(self.d, self.m) > MAX_FLOAT_AXIS:
            raise LimitError(f"B {list(b.shape)} has an axis longer than {MAX_FLOAT_AXIS}; split the product")
        self.roundings = self.d if roundings is None else min(roundings, self.d)
        self._signs = _signs(secrets.token_bytes(32) if seed is None else seed, self.m, self.columns)
        k = self.columns
        both = _by_rows(flat(b), "B", k + 2, lambda x: np.hstack([_times(x, self._signs), _norms(x)]))
        self._x, self._sizes = np.ascontiguousarray(both[:, :k]), np.ascontiguousarray(both[:, k:])

    def __repr__(self) -> str:
        return f"FloatCheck({self.dtype} [{self.d}, {self.m}], columns={self.columns})"

    @property
    def soundness_bits(self) -> float:
        """-log2 of the probability that an error above the bound is missed."""
        return float(self.columns)

    def _rows(self, member: int) -> slice:
        """Return which rows of all B are those of one member of the stack."""
        return slice(member * self.d, (member + 1) * self.d)

    def bound(self, a: Array, member: int = 0) -> FloatBound:
        """Return the errors that are accepted and caught, for each row of A [n, d] times a member of B.

        Raises InputError if A holds a number that is not finite; LimitError if |A| |B| overflows binary64.
        """
        sizes = self._sizes[self._rows(member)]
        return self._bound(_by_rows(a, "A", 2, lambda x: np.abs(x) @ sizes))

    def _bound(self, sizes: F64) -> FloatBound:
        if not np.isfinite(sizes).all():
            raise LimitError("a product of these magnitudes overflows binary64; scale the factors down")
        g, q = sizes[:, 0], sizes[:, 1]
        info = np.finfo(self.dtype)
        honest = _gamma(self.roundings, float(info.eps) / 2)
        p = _gamma(_roundings(self.m), _V)
        both = _gamma(_roundings(self.m) + _roundings(self.d), _V)
        lost = self.d * self.m * float(info.tiny)
        spread = math.sqrt(2.0 * (65.0 * math.log(2.0) + math.log(self.columns)))
        with np.errstate(over="ignore"):
            own = honest * np.minimum(g, spread * q)
            tolerance = (1.0 + 2.0**-20) * (own + (p * (1.0 + honest) + both) * g) + 64.0 * lost
            caught = (1.0 + 2.0**-12) * (tolerance + (p + both) * g + 4.0 * lost)
        return FloatBound(tolerance, caught)

    def test(self, a: Array, c: Array, member: int = 0) -> FloatBound:
        """Check C [n, m] for rows A [n, d] and a member of B, and return the errors that the check catches.

        Raises VerificationError (step 8) if an element of C is not finite or a row is off by too much,
        without telling which. Raises as :meth:`bound` for A.
        """
        k, rows = self.columns, self._rows(member)
        v, sizes = self._x[rows], self._sizes[rows]
        both = _by_rows(a, "A", k + 2, lambda x: np.hstack([_times(x, v), np.abs(x) @ sizes]))
        bound = self._bound(both[:, k:])
        z = _by_rows(c, None, k, lambda x: _times(x, self._signs))
        with np.errstate(over="ignore", invalid="ignore"):
            accepted = np.abs(z - both[:, :k]) <= bound.tolerance[:, np.newaxis]  # False for NaN
        if not bool(accepted.all()):
            half = rounded_to_half(c)
            hint = f"; all of C are {half} numbers: if it was rounded to {half}, claim the sums before that"
            raise VerificationError(
                8,
                f"C is not the product of A and B within rounding{hint if half else ''}",
                operation="product",
            )
        return bound


def _by_rows(x: Array, what: str | None, width: int, f: Callable[[F64], F64]) -> F64:
    """Apply ``f`` to blocks of rows in binary64, [n, width]; ``what`` names x in errors, None for a claim."""
    require_ieee()
    _require_blas(os.getpid())
    out = np.empty((len(x), width))
    step = max(1, _BLOCK // max(1, x.shape[1]))
    for t in range(0, len(x), step):
        rows = x[t : t + step]
        if not np.isfinite(rows).all():
            if what is None:
                raise VerificationError(8, "C holds a number that is not finite", operation="product")
            raise InputError(f"{what} holds a number that is not finite")
        with np.errstate(over="ignore", invalid="ignore"):
            out[t : t + step] = f(rows.astype(np.float64, copy=False))
    return out


@lru_cache(maxsize=1)
def _require_blas(process: int) -> None:
    """Raise DeviceError unless the threads of NumPy's BLAS in this process compute as IEEE 754 says.

    They have the mode of the thread that started them, and no other code runs in them, so one test is enough:
    the sums of :mod:`proofcompute.arithmetic.ieee`, in a product that is distributed over all threads.
    """
    x, y = np.zeros((512, 128)), np.zeros((128, 510))
    x[:, :2] = 1.0, 0.5
    y[0], y[1] = np.tile([[2.0**-1074, 1.0, 1.0 + 2.0**-52], [2.0**-1022, 2.0**-52, 2.0**-52]], 170)
    if not bool((x @ y == np.tile([2.0**-1023 + 2.0**-1074, 1.0, 1.0 + 2.0**-51], 170)).all()):
        raise DeviceError(
            "threads of NumPy's BLAS take subnormal numbers for zero or do not round to nearest: a library "
            "had changed the processor's floating-point mode when NumPy was imported; import NumPy first"
        )


def _signs(seed: bytes, m: int, columns: int) -> F64:
    """Draw uniform signs [m, columns] as binary64 from the bits of SHAKE-256, least significant first."""
    count = m * columns
    data = np.frombuffer(Xof("product signs", seed).read(-(-count // 8)), np.uint8)
    bits: Any = np.unpackbits(data, count=count, bitorder="little")
    return cast(F64, 1.0 - 2.0 * bits.astype(np.float64).reshape(m, columns))
