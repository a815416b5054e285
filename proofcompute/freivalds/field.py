"""Compute Freivalds' check over GF(2^31 - 1) and GF(2^61 - 1) (docs/spec/freivalds.md#the-check).

**The check.** Let X be an integer matrix [n, d] and W [d, m], known to the verifier, and Y [n, m] a claim
for X W. Draw S uniformly from GF(p)^(m x k) and accept if Y S = X (W S) over GF(p).

*Completeness:* if Y = X W over the integers, both sides are equal.

*Soundness:* suppose row t of E = Y - X W is not zero modulo p, say its element j. For any choice of the other
elements of a column s of S, e . s = 0 holds for exactly one of the p values of s_j, since e_j has an inverse.
So each independent column accepts with probability 1/p, and all k accept with probability p^-k (R. Freivalds,
"Probabilistic machines can use less running time", IFIP Congress 1977, over a prime field in place of {0,
1}). A matrix with several wrong rows passes at most as often as one of its wrong rows.

*The lift is unique:* the check compares residues, so the claim must be the only integer in range with its
residue. If |y| <= B and |(X W)_tj| <= B with 2 B < p, then |y - (X W)_tj| <= 2 B < p, and the
only multiple of p in that range is 0: congruent means equal. B = 2^30 - 1 gives 2 B = p - 1 for p = 2^31 - 1
(:data:`proofcompute.limits.MAX_ACCUMULATOR`: accumulators are *less* than 2^30); B = 2^60 - 1 gives 2 B = p -
1 for p = 2^61 - 1 (:data:`LIFT61`). Any int32 claim is within LIFT61; int64 claims must be checked.

**Layout.** The k columns of S lie in rows: s [k, m], so that both products below read memory in order.
These functions define what every backend computes. They are written for clarity in NumPy integers, each with
a proof that none of them overflows. Results are canonical residues, 0..p - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError
from proofcompute.freivalds.primes import P31, P61

__all__ = [
    "LIFT61",
    "P31",
    "P61",
    "add61",
    "check_columns",
    "check_part",
    "fold31",
    "fold61",
    "fold_parts31",
    "mul61",
    "not_canonical",
    "other_rows",
    "project31",
    "project61",
    "residues31",
    "residues61",
    "sample31",
    "sample61",
    "sum61",
]

Ints = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

LIFT61: Final = (1 << 60) - 1
"""Greatest absolute value of a product for which the lift from GF(P61) is unique."""
_BLOCK: Final = 1 << 15
"""Terms summed between two reductions; this also bounds the size of temporary arrays."""
_INTEGERS: Final = tuple(np.dtype(name) for name in ("int8", "int16", "int32", "int64"))
_TYPES: Final = {P31: (_INTEGERS[:3], np.dtype(np.uint32)), P61: (_INTEGERS, np.dtype(np.uint64))}
"""The types of the integers that each field projects, and the type of its residues."""


def check_columns(y: Any, s: Any, axis: int, p: int) -> None:
    """Check the arguments of a projection or a fold, for every backend.

    Raises InputError unless y is a matrix of signed integers (of at most 32 bits over GF(P31)), and columns s
    [k, terms] have the type of residues of GF(p), one for each element along ``axis`` of y: 1 to project, 0
    to fold. It does not check that they are canonical.
    """
    integers, residue = _TYPES[p]
    if y.ndim != 2 or y.dtype not in integers:
        names = ", ".join(map(str, integers))
        raise InputError(f"expected a matrix of {names}, not {y.dtype} {list(y.shape)}")
    if s.ndim != 2 or s.dtype != residue or s.shape[1] != y.shape[axis]:
        raise InputError(f"expected columns {residue} [k, {y.shape[axis]}], not {s.dtype} {list(s.shape)}")


def not_canonical() -> InputError:
    """Return the error for columns that hold anything but residues 0..p - 1."""
    return InputError("a column holds a value that is not a canonical residue")


def check_part(part: Any, s: Any, done: int, width: int | None) -> None:
    """Check one of the matrices that are folded together, the rows before it being ``done``.

    Raises InputError unless it is int8 [rows, width], and columns s [k, rows of all] are uint32 and long
    enough. ``width`` is that of the matrices before it, if there are any.
    """
    if part.ndim != 2 or part.dtype != np.int8 or width not in (None, part.shape[1]):
        raise InputError(f"expected int8 [rows, {width or 'd'}], not {part.dtype} {list(part.shape)}")
    if s.ndim != 2 or s.dtype != np.uint32 or done + len(part) > s.shape[1]:
        raise other_rows(done + len(part), s)


def other_rows(rows: int, s: Any) -> InputError:
    """Return the error for columns that are not those of so many rows."""
    return InputError(f"columns {s.dtype} {list(s.shape)} for {rows} rows")


def _check(y: Ints, s: Ints, axis: int, p: int) -> None:
    check_columns(y, s, axis, p)
    if s.size and int(s.max()) >= p:
        raise not_canonical()


# -- uniform residues ------------------------------------------------------------------------------------
def sample31(xof: Xof, shape: Sequence[int]) -> U32:
    """Draw uniform elements of GF(P31), row-major, uint32 of the given shape.

    Each is the next little-endian u32 of the stream with its top bit cleared; those equal to P31 are skipped.
    """
    return cast(U32, _sample(xof, shape, np.dtype("<u4"), P31).astype(np.uint32))


def sample61(xof: Xof, shape: Sequence[int]) -> U64:
    """Draw uniform elements of GF(P61), row-major, uint64 of the given shape.

    Each is the next little-endian u64 of the stream with its top 3 bits cleared; those equal to P61 are
    skipped.
    """
    return cast(U64, _sample(xof, shape, np.dtype("<u8"), P61).astype(np.uint64))


def _sample(xof: Xof, shape: Sequence[int], word: np.dtype[Any], p: int) -> Ints:
    out = np.empty(tuple(shape), dtype=word)
    flat = out.reshape(-1)
    have = 0
    while have < flat.size:  # it reads what is missing and no more, so the stream's position stays defined
        words = np.frombuffer(xof.read((flat.size - have) * word.itemsize), dtype=word) & word.type(p)
        words = words[words != p]
        flat[have : have + words.size] = words
        have += words.size
    return out


# -- GF(2^31 - 1) ----------------------------------------------------------------------------------------
def residues31(x: Ints) -> U32:
    """Return signed integers as canonical residues of the same shape, uint32."""
    return np.mod(x.astype(np.int64), P31).astype(np.uint32)


def project31(y: Ints, s: U32) -> U32:
    """Return y int8, int16 or int32 [n, m] times k columns s [k, m] of residues: residues [n, k], uint32.

    It also gives X V, as ``project31(x, fold31(w, s))``. Raises InputError for other dtypes or shapes, or
    s >= P31.

    *Exact:* y = 2^16 h + l with 0 <= l < 2^16 and |h| <= 2^15. A term of h . s or l . s is below 2^16 2^31 in
    absolute value, and 2^15 of them below 2^62, inside int64. The combination is below 2^31 2^16 + 2 2^31.
    """
    _check(y, s, 1, P31)
    out = np.zeros((len(y), len(s)), dtype=np.int64)
    for a in range(0, y.shape[1], _BLOCK):
        block = y[:, a : a + _BLOCK].astype(np.int64)
        columns = s[:, a : a + _BLOCK].T.astype(np.int64)
        high = np.mod((block >> 16) @ columns, P31)
        low = np.mod((block & 0xFFFF) @ columns, P31)
        out = (out + (high << 16) + low) % P31
    return out.astype(np.uint32)


def fold31(w: Ints, s: U32) -> U32:
    """Return the rows of w int8, int16 or int32 [m, d] combined by residues s [k, m]: uint32 [k, d].

    w holds output channels in rows, so this is V = W S in the layout of s. The results are residues. Raises
    InputError as ``project31``.
    """
    _check(w, s, 0, P31)
    out = np.zeros((len(s), w.shape[1]), dtype=np.int64)
    for a in range(0, len(w), _BLOCK):
        part = project31(w[a : a + _BLOCK].T, s[:, a : a + _BLOCK])
        out = (out + part.T.astype(np.int64)) % P31
    return out.astype(np.uint32)


def fold_parts31(parts: Iterable[Ints], s: U32, fold: Callable[[Ints, U32], Any] = fold31) -> U32:
    """Return ``fold`` of matrices int8 [m_i, d], one below another, with columns s [k, sum of m_i].

    Raises InputError as :func:`check_part`, unless there is a matrix, or as ``fold``.
    """
    out, done = None, 0
    for part in parts:
        check_part(part, s, done, None if out is None else out.shape[1])
        end = done + len(part)
        found = np.asarray(fold(part, np.ascontiguousarray(s[:, done:end]))).astype(np.int64)
        out, done = found if out is None else (out + found) % P31, end
    if out is None or done != s.shape[1]:
        raise other_rows(done, s)
    return out.astype(np.uint32)


# -- GF(2^61 - 1) ----------------------------------------------------------------------------------------
def residues61(x: Ints) -> U64:
    """Return signed integers as canonical residues of the same shape, uint64."""
    return np.mod(x.astype(np.int64), P61).astype(np.uint64)


def _reduce61(x: U64) -> U64:
    """Return the canonical residue of any uint64: 2^61 = 1, so the top 3 bits are added to the others."""
    folded = (x & np.uint64(P61)) + (x >> np.uint64(61))  # at most P61 + 7: one subtraction is enough
    return folded - np.where(folded >= P61, np.uint64(P61), np.uint64(0))


def add61(x: U64, y: U64) -> U64:
    """Return x + y elementwise; canonical residues in and out, so the sum is below 2^62."""
    return _reduce61(x + y)


def mul61(x: U64, y: U64) -> U64:
    """Return x y elementwise; canonical residues in and out.

    *Exact:* with x = 2^32 a + b and y = 2^32 c + d, where a, c < 2^29 and b, d < 2^32,

        x y = 2^64 a c + 2^32 (a d + b c) + b d.

    Modulo p, 2^64 = 8, and 8 a c < 2^61. The middle t = a d + b c < 2^62 is 2^29 u + v with u < 2^33 and v
    < 2^29, so 2^32 t = 2^61 u + 2^32 v = u + 2^32 v, below 2^33 + 2^61. And b d < 2^64 reduces to below p.
    The sum of the three is below 2^63.
    """
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a, b, c, d = x >> half, x & mask, y >> half, y & mask
    t = a * d + b * c
    middle = (t >> np.uint64(29)) + ((t & np.uint64((1 << 29) - 1)) << half)
    return _reduce61((a * c << np.uint64(3)) + middle + _reduce61(b * d))


def sum61(x: U64) -> U64:
    """Return the sum over the last axis of canonical residues; at most 2^32 terms (no array here has more).

    *Exact:* the low 32 bits and the high 29 bits are summed separately, each sum below 2^32 2^32.
    """
    low = np.asarray(np.sum(x & np.uint64(0xFFFFFFFF), axis=-1, dtype=np.uint64))
    high = np.asarray(np.sum(x >> np.uint64(32), axis=-1, dtype=np.uint64))
    return add61(mul61(_reduce61(high), np.asarray(1 << 32, dtype=np.uint64)), _reduce61(low))


def project61(y: Ints, s: U64) -> U64:
    """Return y int8 to int64 [n, m] times k columns s [k, m] of residues: residues [n, k], uint64.

    The check of Y = X W, all of them signed integers with W [d, m] and |Y| <= LIFT61, is
    ``project61(y, s) == project61(x, project61(w, s).T)``. Raises InputError for other dtypes or shapes, or
    s >= P61.
    """
    _check(y, s, 1, P61)
    out = np.zeros((len(y), len(s)), dtype=np.uint64)
    for a in range(0, y.shape[1], _BLOCK):
        for t in range(len(y)):  # row by row, so that temporary arrays stay below a megabyte
            row = residues61(y[t, a : a + _BLOCK])
            for j in range(len(s)):
                out[t, j] = add61(out[t, j], sum61(mul61(row, s[j, a : a + _BLOCK])))
    return out


def fold61(w: Ints, s: U64) -> U64:
    """Return the rows of w int8 to int64 [m, d] combined by residues s [k, m]: residues [k, d], uint64.

    Raises InputError as ``project61``.
    """
    _check(w, s, 0, P61)
    out = np.zeros((len(s), w.shape[1]), dtype=np.uint64)
    for i in range(len(w)):
        out = add61(out, mul61(residues61(w[i])[None, :], s[:, i, None]))
    return out
