"""Publish the right factor B of GEMM jobs (docs/spec/public-proofs.md#products).

A public factor stands for B [d, m], or a stack of such matrices, of int8: the commitment by which requests
name it, and the root of the code of its columns. Whoever trusts its public id checks products with B without
B. Publishing B again gives the same public id, which is how anybody who has B checks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.jobs.arrays import SHORT_CONTRACTION, flat, matrix
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.stacks import Stacks
from proofcompute.limits import KIB
from proofcompute.protocol.messages.signed import decode_suite
from proofcompute.public.coding import Coder
from proofcompute.public.key import MAX_RHO
from proofcompute.public.layout import Layout, Plane
from proofcompute.public.publishing import RHO

__all__ = ["FACTOR", "PublicFactor", "PublishedFactor", "publish_factor"]

KIND: Final = "proofcompute public factor"
VERSION: Final = 1
FACTOR: Final = "B"
"""The name under which the layout has the factor; its members are groups."""
_LARGEST: Final = 8 * KIB
_MAX_ROOTS: Final = 1
"""All members of B have one width, so they share a code."""


@dataclass(frozen=True)
class PublicFactor:
    """What a verifier needs to check public proofs of products with one B, and no secret."""

    suite: str
    """Hash suite of the requests, in which B is named."""
    b: MatrixId
    """B as requests name it."""
    lead: tuple[int, ...]
    """The leading axes of B, if it is a stack."""
    rho: int
    """Words of the code agree in at most 2^-rho of their positions."""
    roots: tuple[bytes, ...]
    """The root of the code."""

    @property
    def contraction(self) -> int:
        """d, the rows of one member."""
        return self.b.rows // math.prod(self.lead)

    @cached_property
    def layout(self) -> Layout:
        """The code of the columns of B, whose planes are transposed members. Raises LimitError."""
        shape = math.prod(self.lead), 1, self.b.width, self.contraction
        return Layout.laid([(FACTOR, *shape)], self.rho)

    @cached_property
    def public_id(self) -> bytes:
        """The public id, 32 bytes."""
        return hashing.message_digest("sha256", "public factor", self.encode())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.suite, self.b.value(), self.lead, self.rho, self.roots))

    @staticmethod
    def decode(data: bytes) -> PublicFactor:
        """Decode a public factor. Raises FormatError or LimitError if it is damaged."""
        what = "public factor"
        top = wire.as_list(wire.decode(data, limit=_LARGEST, what=what), what, n=7)
        wire.check_head(top, KIND, VERSION)
        roots = wire.as_list(top[6], "code roots", n=_MAX_ROOTS)
        stacks = Stacks.from_value(((), top[4]))
        found = PublicFactor(
            decode_suite(top[2]),
            MatrixId.from_value(top[3], "B"),
            stacks.b,
            wire.as_int(top[5], "rate", 1, MAX_RHO),
            tuple(wire.as_bytes(root, "code root", DIGEST) for root in roots),
        )
        if found.b.dtype != "int8" or found.b.rows % stacks.members:
            raise FormatError(f"public factor: it is int8, in {stacks.members} matrices of the same rows")
        _require_short(found.contraction)
        _ = found.layout
        return found

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> PublicFactor:
        """Read the file of a public factor. Raises InputError, FormatError or LimitError if it is none."""
        path = path_of(path)
        found = kind_of(path)
        if found not in (None, "public factor"):
            raise FormatError(f"{path} is of kind {found}; a public factor is needed")
        return PublicFactor.decode(read_limited(path, _LARGEST, "public factor"))


@dataclass(frozen=True, eq=False)
class PublishedFactor:
    """A public factor, B itself, and the tree over its code, which a prover needs."""

    key: PublicFactor
    b: I8
    """B, int8 [d, m] or [.., d, m]."""
    trees: Sequence[merkle.Tree]

    def plane(self, plane: Plane) -> I8:
        """Return a transposed member of B, int8 [m, d]."""
        return _transposed(self.b, plane.group, self.key.contraction)


def publish_factor(
    b: AnyArray,
    kernels: Kernels,
    *,
    suite: str = "sha256",
    rho: int = RHO,
) -> PublishedFactor:
    """Code B [d, m] or a stack [.., d, m], int8.

    Args:
        b: the factor, an array of NumPy or of another library on the host.
        kernels: the backend.
        suite: the hash suite of the requests.
        rho: words of the code agree in at most 2^-rho of their positions; 1 to 8.

    Raises InputError for another element type or a rate out of range, and LimitError if B is too large, or
    has so many rows that products do not stay below 2^30.
    """
    require_ieee()
    if type(rho) is not int or not 1 <= rho <= MAX_RHO:
        raise InputError(f"the rate is 1 to {MAX_RHO}, not {rho!r}")
    right = matrix(b, "B", ("int8",))
    d = right.shape[-2]
    _require_short(d)
    key = PublicFactor(suite, MatrixId.of(right, suite, kernels), right.shape[:-2], rho, ())
    coder = Coder(key.layout, kernels)
    for plane in key.layout.planes:
        coder.add(plane, _transposed(right, plane.group, d))
    trees = coder.trees()
    made = PublicFactor(suite, key.b, key.lead, rho, tuple(tree.root for tree in trees))
    return PublishedFactor(made, right, trees)


def _transposed(b: I8, member: int, d: int) -> I8:
    return np.ascontiguousarray(flat(b)[member * d : (member + 1) * d].T)


def _require_short(d: int) -> None:
    """Raise LimitError unless all sums of d products of int8 are below 2^30, so that residues show them."""
    if d > SHORT_CONTRACTION:
        raise LimitError(f"public proofs sum up at most {SHORT_CONTRACTION} products of int8, not {d}")
