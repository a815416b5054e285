r"""Define the circle code over GF(p), p = 2^31 - 1 (docs/spec/public-proofs.md#the-code).

Points of the circle x^2 + y^2 = 1 over GF(p) form a cyclic group of order 2^31 (U. Haboeck, D. Levit and S.
Papini, "Circle STARKs", ePrint 2024/278). A message of m values is a function on the circle, the sum of
its values times the basis functions

    b_j = y^j0 x^j1 v_2^j2 v_3^j3 ...,   j = j0 + 2 j1 + 4 j2 + ...,   v_2 = 2 x^2 - 1,
    v_(i+1) = 2 v_i^2 - 1,

and a codeword is the values of that function on the N points of some twin cosets. **y belongs to the least
significant bit of j.** With z = x + i y, each b_j for j < m has exponents of z from -floor(m/2) to
floor(m/2), so z^floor(m/2) times the function is a polynomial of degree at most 2 floor(m/2): that is the
largest number of points at which a nonzero message vanishes, whether m is a power of two or not. In another
order of bits this fails for messages that are padded.

M = 2^n is the least power of two that is at least m, and N = C M positions. Position q = c M + o, with o the
sum of s_i 2^i, is the point whose exponent of the generator is

    a(q) = +-((2 c + 1) 2^(30 - l) + sum over i >= 1 of s_i 2^(31 - i)),   minus if s_0 = 1,

where 2^l >= N is the least power of two. All positions of a codeword are different points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np

from proofcompute.arrays import I8, I32, U32, U64
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError
from proofcompute.freivalds.primes import P31

__all__ = ["GENERATOR", "CircleCode", "check_encode", "draw_positions", "encode31", "power"]

GENERATOR: Final = (2, 1268011823)
"""x and y of a point of order 2^31."""
_P: Final = np.uint64(P31)
_BITS: Final = np.uint64(31)
_ORDER: Final = 1 << 31
_LOW: Final = 9
"""Bits of an index whose basis functions are multiplied with each of those of the other bits."""
_MOST_BITS: Final = 26
"""A code has at most 2^26 positions: more than any width of a weight needs."""


def power(exponent: int) -> tuple[int, int]:
    """Return x and y of the point with this exponent of the generator."""
    g, out = GENERATOR, (1, 0)
    e = exponent % _ORDER
    while e:
        if e & 1:
            out = _sum(out, g)
        g = _sum(g, g)
        e >>= 1
    return out


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] * b[0] - a[1] * b[1]) % P31, (a[0] * b[1] + a[1] * b[0]) % P31


@dataclass(frozen=True)
class CircleCode:
    """The code of messages of ``length`` values on ``cosets`` twin cosets of 2^bits points each."""

    length: int
    cosets: int

    def __post_init__(self) -> None:
        if self.length < 1 or self.cosets < 1 or self.bits + (self.cosets - 1).bit_length() > _MOST_BITS:
            raise InputError(f"no code of {self.length} values on {self.cosets} cosets")

    @staticmethod
    def of_rate(length: int, rho: int) -> CircleCode:
        """Return the code of the fewest cosets in which words agree in at most 2^-rho of their positions."""
        bits = max(0, (length - 1).bit_length())
        return CircleCode(length, max(1, -((-2 * (length // 2) << rho) >> bits)))

    @property
    def bits(self) -> int:
        """n: a coset has 2^n positions."""
        return max(0, (self.length - 1).bit_length())

    @property
    def size(self) -> int:
        """N: the number of positions."""
        return self.cosets << self.bits

    @property
    def agreement(self) -> float:
        """mu: the largest share of positions in which the words of two messages agree."""
        return 2 * (self.length // 2) / self.size

    @cached_property
    def _total(self) -> int:
        return max(0, (self.size - 1).bit_length())

    def exponent(self, position: int) -> int:
        """Return the exponent of the point at a position."""
        coset, offset = position >> self.bits, position & ((1 << self.bits) - 1)
        a = (2 * coset + 1) << (30 - self._total)
        for i in range(1, self.bits):
            a += ((offset >> i) & 1) << (31 - i)
        return (-a if offset & 1 else a) % _ORDER

    def basis(self, positions: Sequence[int]) -> U32:
        """Return the values of all basis functions at positions: residues uint32 [positions, length].

        A word at a position is the sum of the message's values times these.
        """
        lows, highs = self.parts(positions)
        out = np.empty((len(positions), self.length), np.uint32)
        product, carry = np.empty((2, highs.shape[1], lows.shape[1]), np.uint64)
        for row, low, high in zip(out, lows, highs, strict=True):
            np.multiply(high[:, np.newaxis], low, out=product)
            # A product of residues is below 2^62 - 2^33 + 5: folded once it is below 2 p.
            np.right_shift(product, _BITS, out=carry)
            np.bitwise_and(product, _P, out=product)
            np.add(product, carry, out=product)
            np.minimum(product, np.subtract(product, _P, out=carry), out=product)
            row[:] = product.reshape(-1)[: self.length]
        return out

    def parts(self, positions: Sequence[int]) -> tuple[U64, U64]:
        """Return the factors of :meth:`basis`: low [positions, l] and high [positions, h], l a power of two.

        Basis function a l + b is that of a in ``high`` times that of b in ``low``, and h l >= length.
        """
        points = [_factors(self.exponent(q), self.bits) for q in positions]
        factors = np.array(points, np.uint64).reshape(len(positions), self.bits)
        low = _products(factors[:, :_LOW])
        return low, _products(factors[:, _LOW:])[:, : -(-self.length // low.shape[1])]

    def words(self, messages: U32, positions: Sequence[int], project: Callable[[I32, U32], U32]) -> U32:
        """Return the words of messages of residues [n, length] at positions: residues [positions, n].

        ``project`` is :meth:`proofcompute.freivalds.checks.Checks.project`, with its result on the host.
        Pieces of messages are combined by the low factors, and what that gives by the high ones, so that no
        basis has to be made.
        """
        low, high = self.parts(positions)
        (count, size), n = (high.shape[1], low.shape[1]), len(messages)
        whole = np.zeros((n, count * size), np.uint32)
        whole[:, : self.length] = messages
        pieces = whole.reshape(n * count, size).view(np.int32)
        some = project(pieces, low.astype(np.uint32)).astype(np.uint64).reshape(n, count, -1)
        values: U64 = (some * high.T % _P).sum(axis=1, dtype=np.uint64) % _P
        return np.ascontiguousarray(values.T.astype(np.uint32))

    def twiddles(self, coset: int) -> U32:
        """Return the factors of the transform onto one coset: uint32 [2^bits - 1].

        Level i multiplies by b_(2^i); of its 2^(bits - 1 - i) blocks, the factor of block h is at
        2^(bits - 1 - i) - 1 + h.
        """
        return _twiddles(self.bits, self._total, coset)


def _factors(exponent: int, bits: int) -> list[int]:
    """Return y, x, v_2, v_3, ... of one point, a factor for each bit of an index."""
    x, y = power(exponent)
    factors = [y, x]
    while len(factors) < bits:
        factors.append((2 * factors[-1] * factors[-1] - 1) % P31)
    return factors[:bits]


def _products(factors: U64) -> U64:
    """Return the products of all subsets of factors [n, bits] of each point, the first of the lowest bit."""
    found = np.ones((len(factors), 1), np.uint64)
    for factor in factors.T:
        found = np.concatenate([found, found * factor[:, np.newaxis] % _P], axis=1)
    return found


@lru_cache(maxsize=64)
def _twiddles(bits: int, total: int, coset: int) -> U32:
    out = np.zeros((1 << bits) - 1, np.uint32)
    start = power((2 * coset + 1) << (30 - total))
    x, y = (np.array([v], np.uint64) for v in start)
    for i in range(bits - 1, -1, -1):  # x and y of the points of all choices of the bits above i
        value = y if i == 0 else x
        for _ in range(i - 1):
            value = (2 * value * value + _P - np.uint64(1)) % _P
        blocks = 1 << (bits - 1 - i)
        out[blocks - 1 : 2 * blocks - 1] = value
        if i:
            x, y = _interleaved(x, y, power(1 << (31 - i)))
    return out


def _interleaved(x: U64, y: U64, step: tuple[int, int]) -> tuple[U64, U64]:
    """Return points and the points moved by ``step``, each beside its own: the new bit is the lowest."""
    sx, sy = np.uint64(step[0]), np.uint64(step[1])
    mx = (x * sx % _P + _P - y * sy % _P) % _P
    my = (x * sy % _P + y * sx % _P) % _P
    return np.stack([x, mx], 1).ravel(), np.stack([y, my], 1).ravel()


def draw_positions(xof: Xof, size: int, count: int) -> list[int]:
    """Draw ``count`` positions of ``size``, each uniform, and return the distinct ones, ascending."""
    found: list[int] = []
    limit = (1 << 32) - (1 << 32) % size  # words from here on would make the draw biased
    while len(found) < count:
        word = int.from_bytes(xof.read(4), "little")
        if word < limit:
            found.append(word % size)
    return sorted(set(found))


def encode31(rows: I8, code_bits: int, twiddles: U32) -> U32:
    """Return the words of messages on one coset, a position in each row: residues uint32 [2^code_bits, rows].

    ``rows`` is int8 [rows, length] with length at most 2^code_bits, and ``twiddles`` are those of the coset
    (:meth:`CircleCode.twiddles`), canonical residues. Raises InputError if shapes or types are others.
    """
    check_encode(rows, code_bits, twiddles)
    size = 1 << code_bits
    work = np.zeros((size, len(rows)), np.uint64)
    work[: rows.shape[1]] = np.mod(rows.T.astype(np.int64), P31).astype(np.uint64)
    for i in range(code_bits - 1, -1, -1):
        blocks = 1 << (code_bits - 1 - i)
        parts = work.reshape(blocks, 2, 1 << i, len(rows))
        factor = twiddles[blocks - 1 : 2 * blocks - 1].astype(np.uint64).reshape(-1, 1, 1)
        low, high = parts[:, 0].copy(), parts[:, 1] * factor % _P
        parts[:, 0] = (low + high) % _P
        parts[:, 1] = (low + _P - high) % _P
    return work.astype(np.uint32)


def check_encode(rows: I8, code_bits: int, twiddles: U32) -> None:
    """Check the arguments of an encoding, for every backend; see :func:`encode31`."""
    if rows.ndim != 2 or rows.dtype != np.int8 or not 0 <= code_bits <= _MOST_BITS:
        raise InputError(f"expected messages int8 [rows, length], not {rows.dtype} {list(rows.shape)}")
    size = 1 << code_bits
    if not 1 <= rows.shape[1] <= size or twiddles.dtype != np.uint32 or twiddles.shape != (size - 1,):
        raise InputError(f"expected at most {size} values in a message, and {size - 1} factors, uint32")
