"""BLS12-381 by py-arkworks-bls12381, Python's binding of arkworks: fast, and optional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from proofcompute.bls.curve import G1, G1_BYTES, G2, Curve
from proofcompute.errors.extras import lacking

__all__ = ["Arkworks"]


@final
class Arkworks(Curve):
    """BLS12-381 by arkworks. Points are objects of G1Point and G2Point."""

    name = "arkworks"

    def __init__(self) -> None:
        try:
            import py_arkworks_bls12381
        except ModuleNotFoundError as e:
            raise lacking(e, "checking BLS signatures fast") from e
        self._lib: Any = py_arkworks_bls12381

    def _decode(self, data: bytes) -> Any:
        kind = self._lib.G1Point if len(data) == G1_BYTES else self._lib.G2Point
        try:
            point = kind.from_compressed_bytes_unchecked(data)
        except ValueError:
            return None
        # the library takes encodings of the identity that it does not write
        return None if point == kind.identity() or self.encode(point) != data else point

    def _in_group(self, point: Any) -> bool:
        return bool(point.is_in_subgroup())

    def encode(self, point: Any) -> bytes:
        return bytes(point.to_compressed_bytes())

    def generators(self) -> tuple[G1, G2]:
        return self._lib.G1Point(), self._lib.G2Point()

    def hash_to_g1(self, message: bytes, tag: bytes) -> G1:
        return self._lib.G1Point.hash_to_curve(message, tag)

    def hash_to_g2(self, message: bytes, tag: bytes) -> G2:
        return self._lib.G2Point.hash_to_curve(message, tag)

    def total(self, points: Sequence[Any]) -> Any:
        found, *rest = points
        for point in rest:
            found = found + point
        return found

    def times(self, point: Any, scalar: int) -> Any:
        return point * self._lib.Scalar.from_be_bytes(scalar.to_bytes(32, "big"))

    def negated(self, point: Any) -> Any:
        return -point

    def is_identity(self, point: Any) -> bool:
        return bool(point == type(point).identity())

    def affine(self, point: Any) -> tuple[int, ...]:
        data = bytes(point.to_xy_bytes_be())
        numbers = [int.from_bytes(data[i : i + G1_BYTES], "big") for i in range(0, len(data), G1_BYTES)]
        return tuple(numbers)

    def pairs_to_one(self, pairs: Sequence[tuple[G1, G2]]) -> bool:
        g1s, g2s = zip(*pairs, strict=True)
        return bool(self._lib.GT.pairing_check(list(g1s), list(g2s)))
