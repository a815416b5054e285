"""Define what a library of BLS12-381 has to offer, and choose one.

The curve, its groups G1 and G2 of prime order and the compressed encodings are those of
draft-irtf-cfrg-pairing-friendly-curves-11, appendix C; hashing to the groups is RFC 9380 with the suites
BLS12381G1_XMD:SHA-256_SSWU_RO_ and BLS12381G2_XMD:SHA-256_SSWU_RO_. py_ecc is the definition. Where
py-arkworks-bls12381 is installed it is used instead, because it is some hundred times faster; both come to
the same result for all bytes (tests/bls).

A point that somebody sent is accepted only if its encoding is the canonical one, it lies in the group of
order :data:`ORDER`, and it is not the identity. With the identity as a key anybody signs anything, and points
outside of the group let libraries disagree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

from proofcompute.errors import FormatError

__all__ = ["G1", "G1_BYTES", "G2", "G2_BYTES", "LIBRARIES", "ORDER", "Curve", "curve"]

ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""The order of both groups, a prime."""
G1_BYTES: Final = 48
"""Bytes of a compressed point of G1."""
G2_BYTES: Final = 96
"""Bytes of a compressed point of G2."""

G1: TypeAlias = Any
"""A point of G1, of the library's own type."""
G2: TypeAlias = Any
"""A point of G2, of the library's own type."""


class Curve(ABC):
    """BLS12-381 by one library. Points are opaque to others, and scalars are integers."""

    name: str

    def g1(self, data: bytes) -> G1:
        """Decode a point of G1.

        Raises FormatError unless ``data`` are the canonical 48 bytes of a point of the group other than the
        identity.
        """
        return self._checked(data, G1_BYTES, "G1")

    def g2(self, data: bytes) -> G2:
        """Decode a point of G2, 96 bytes. Raises as :meth:`g1`."""
        return self._checked(data, G2_BYTES, "G2")

    def _checked(self, data: bytes, size: int, group: str) -> Any:
        if len(data) != size:
            raise FormatError(f"a point of {group} has {size} bytes, not {len(data)}")
        point = self._decode(data)
        if point is None:
            raise FormatError(f"no canonical encoding of a point of {group} other than the identity")
        if not self._in_group(point):
            raise FormatError(f"a point that is not in the group {group}")
        return point

    @abstractmethod
    def _decode(self, data: bytes) -> Any:
        """Return the point of the curve with this canonical encoding; None for the identity or no point."""

    @abstractmethod
    def _in_group(self, point: Any) -> bool:
        """Return whether a point of the curve lies in its group of prime order."""

    @abstractmethod
    def encode(self, point: Any) -> bytes:
        """Return the compressed encoding of a point of either group, the identity included."""

    @abstractmethod
    def generators(self) -> tuple[G1, G2]:
        """Return the generators of both groups."""

    @abstractmethod
    def hash_to_g1(self, message: bytes, tag: bytes) -> G1:
        """Hash a message to G1 under a domain separation tag (RFC 9380)."""

    @abstractmethod
    def hash_to_g2(self, message: bytes, tag: bytes) -> G2:
        """Hash a message to G2 under a domain separation tag (RFC 9380)."""

    @abstractmethod
    def total(self, points: Sequence[Any]) -> Any:
        """Return the sum of at least one point, all of one group."""

    @abstractmethod
    def times(self, point: Any, scalar: int) -> Any:
        """Return a multiple of a point of either group, 0 <= scalar < ORDER."""

    @abstractmethod
    def negated(self, point: Any) -> Any:
        """Return the inverse of a point of either group."""

    @abstractmethod
    def is_identity(self, point: Any) -> bool:
        """Return whether a point of either group is the identity."""

    @abstractmethod
    def affine(self, point: Any) -> tuple[int, ...]:
        """Return the coordinates of a point other than the identity.

        Two numbers x, y for G1; four for G2, x and y with the constant coefficient before that of u.
        """

    @abstractmethod
    def pairs_to_one(self, pairs: Sequence[tuple[G1, G2]]) -> bool:
        """Return whether the product of the pairings of all pairs is one."""


LIBRARIES: Final = {"arkworks": "py_arkworks_bls12381", "py_ecc": "py_ecc"}
"""Python packages by the names of :func:`curve`, the fastest first."""


@lru_cache(maxsize=2)
def curve(name: str | None = None) -> Curve:
    """Return BLS12-381 by a library of :data:`LIBRARIES`; None: the fastest that is installed.

    Raises UnsupportedError if it is not installed.
    """
    if name is None:
        name = "arkworks" if find_spec(LIBRARIES["arkworks"]) is not None else "py_ecc"
    if name == "arkworks":
        from proofcompute.bls.arkworks import Arkworks

        return Arkworks()
    from proofcompute.bls.reference import Reference

    return Reference()
