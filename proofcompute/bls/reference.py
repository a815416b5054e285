"""BLS12-381 by py_ecc, in Python throughout: the definition."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from proofcompute.bls.curve import G1, G1_BYTES, G2, ORDER, Curve
from proofcompute.errors.extras import lacking

__all__ = ["Reference", "recursion_limit_kept"]


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """Set the limit of recursion back to what it was, when the block ends.

    py_ecc raises it to 100,000 for the whole process when it is imported. Then JSON that nests deeply, which
    others may send, overflows the stack of C and ends the process, where it is an error otherwise.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@final
class Reference(Curve):
    """BLS12-381 by py_ecc. Points are triples of projective coordinates."""

    name = "py_ecc"

    def __init__(self) -> None:
        try:
            with recursion_limit_kept():
                from py_ecc import optimized_bls12_381
                from py_ecc.bls import hash_to_curve, point_compression
        except ModuleNotFoundError as e:
            raise lacking(e, "checking BLS signatures") from e
        self._curve: Any = optimized_bls12_381
        self._hashing: Any = hash_to_curve
        self._compression: Any = point_compression

    def _decode(self, data: bytes) -> Any:
        halves = [int.from_bytes(data[i : i + G1_BYTES], "big") for i in range(0, len(data), G1_BYTES)]
        try:
            if len(halves) == 1:
                point = self._compression.decompress_G1(halves[0])
            else:
                point = self._compression.decompress_G2(tuple(halves))
        except ValueError:
            return None
        return None if self._curve.is_inf(point) or self.encode(point) != data else point

    def _in_group(self, point: Any) -> bool:
        return bool(self._curve.is_inf(self._curve.multiply(point, ORDER)))

    def encode(self, point: Any) -> bytes:
        if self._of_g2(point):
            halves = self._compression.compress_G2(point)
        else:
            halves = (self._compression.compress_G1(point),)
        return b"".join(int(half).to_bytes(G1_BYTES, "big") for half in halves)

    def _of_g2(self, point: Any) -> bool:
        return isinstance(point[0], self._curve.FQ2)

    def generators(self) -> tuple[G1, G2]:
        return self._curve.G1, self._curve.G2

    def hash_to_g1(self, message: bytes, tag: bytes) -> G1:
        return self._hashing.hash_to_G1(message, tag, hashlib.sha256)

    def hash_to_g2(self, message: bytes, tag: bytes) -> G2:
        return self._hashing.hash_to_G2(message, tag, hashlib.sha256)

    def total(self, points: Sequence[Any]) -> Any:
        found, *rest = points
        for point in rest:
            found = self._curve.add(found, point)
        return found

    def times(self, point: Any, scalar: int) -> Any:
        return self._curve.multiply(point, scalar)

    def negated(self, point: Any) -> Any:
        return self._curve.neg(point)

    def is_identity(self, point: Any) -> bool:
        return bool(self._curve.is_inf(point))

    def affine(self, point: Any) -> tuple[int, ...]:
        x, y = self._curve.normalize(point)
        if self._of_g2(point):
            return tuple(int(c) for value in (x, y) for c in value.coeffs)
        return int(x), int(y)

    def pairs_to_one(self, pairs: Sequence[tuple[G1, G2]]) -> bool:
        product = self._curve.FQ12.one()
        for g1, g2 in pairs:
            product *= self._curve.pairing(g2, g1, final_exponentiate=False)
        return bool(self._curve.final_exponentiate(product) == self._curve.FQ12.one())
