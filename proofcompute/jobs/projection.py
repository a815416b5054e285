"""Tests products of integers with secret columns (docs/spec/freivalds.md#jobs-of-integers).

S has k columns of m residues and V = B S, for one B [d, m] or for each member of a stack. Then C = A B
implies C S = A V, and a C that is another integer matrix within its bound passes with probability at most
p^-k (:mod:`.exact` says in which field). All members share S: whether a row passes depends on that row only,
and a wrong one passes with that probability whatever the others are.
"""

from __future__ import annotations

import math
import secrets
from typing import Final, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import FormatError, InputError, VerificationError
from proofcompute.errors.sealed import Secret, sealed
from proofcompute.jobs.arrays import INTEGERS, flat, result_dtype
from proofcompute.jobs.exact import Field, check_bound, field_for, magnitude
from proofcompute.limits import MAX_COLUMNS

__all__ = ["CLAIMS", "Projection", "Types"]

CLAIMS: Final = ("int32", "int64")
"""Element types of a claim about a product of integers."""


@final
class Types:
    """The element types of A, B and C, and the field that follows from them.

    Args:
        b: element type of B.
        d: products in one sum.
        left: element type of A; None: that of B.
        claim: element type of C; None: that of :func:`proofcompute.matmul`.
        columns: k; None: as many as the field needs.

    Raises InputError for types that are not those of integers, or columns outside 1..MAX_COLUMNS.
    """

    def __init__(
        self, b: str, d: int, left: str | None = None, claim: str | None = None, columns: int | None = None
    ) -> None:
        if left is not None and left not in INTEGERS:
            raise InputError(f"the left factors are {left}; a key is for {' or '.join(INTEGERS)}")
        left = left or b
        claim = claim or result_dtype(left, b, d)
        if claim not in CLAIMS:
            raise InputError(f"the products are {claim}; a claim is {' or '.join(CLAIMS)}")
        self.names: Final = (left, b, claim)
        self.field: Final[Field] = field_for(left, b, claim, d)
        self.columns: Final = self.field.columns if columns is None else columns
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise InputError(f"columns {self.columns} is outside 1..{MAX_COLUMNS}")


@final
class Projection:
    """Secret columns S and the projections V of every member of B.

    Args:
        types: the types of the products.
        shape: d and m of a member of B.
        seed: 32 secret bytes from which S is drawn.
        v: V, canonical residues [members, k, d]; secret.
        largest: a bound of the absolute values in B.
        kernels: the backend of the rows that are tested.
    """

    def __init__(
        self, types: Types, shape: tuple[int, int], seed: Secret, v: Array, largest: int, kernels: Kernels
    ) -> None:
        self.types, self.largest = types, largest
        self.d, self.m = shape
        self._seed, self._kernels, self._v = seed, kernels, v
        self._s = _columns(types, self.m, seed)

    @staticmethod
    @sealed
    def of(b: Array, types: Types, kernels: Kernels, seed: bytes | None = None) -> Projection:
        """Draw S from a seed, or from a new one, and project B [.., d, m], of the backend or of NumPy.

        Raises InputError unless a seed has 32 bytes.
        """
        if seed is not None and len(seed) != 32:
            raise InputError("a key's seed has 32 bytes")
        secret = Secret(secrets.token_bytes(32) if seed is None else seed)
        d, m = b.shape[-2:]
        v = kernels.host(types.field.project(kernels, flat(b), _columns(types, m, secret)))
        members = v.reshape(math.prod(b.shape[:-2]), d, types.columns)
        v = np.ascontiguousarray(members.transpose(0, 2, 1))
        return Projection(types, (d, m), secret, v, magnitude(b, kernels), kernels)

    def __repr__(self) -> str:
        return f"Projection({self.types.names[1]} [{self.d}, {self.m}], columns={self.types.columns})"

    def stored(self) -> tuple[bytes, bytes]:
        """Return the seed and V, little-endian; both are secret."""
        word = self._v.dtype.newbyteorder("<")
        return self._seed.value, np.ascontiguousarray(self._v, word).tobytes()

    @staticmethod
    @sealed
    def restored(
        types: Types,
        shape: tuple[int, int],
        members: int,
        stored: tuple[bytes, bytes],
        largest: int,
        kernels: Kernels,
    ) -> Projection:
        """Invert :meth:`stored`. Raises FormatError if V has another length or no canonical residues."""
        seed, data = stored
        word = np.dtype(types.field.word)
        if len(data) != members * types.columns * shape[0] * word.itemsize:
            raise FormatError("key: the projections have another length than B and its columns need")
        v = np.frombuffer(data, word.newbyteorder("<")).astype(word, copy=False)
        if int(v.max()) >= types.field.p:
            raise FormatError("key: the projections hold a residue that is not canonical")
        v = v.reshape(members, types.columns, shape[0])
        return Projection(types, shape, Secret(seed), v, largest, kernels)

    def test(self, a: Array, c: Array, member: int = 0) -> None:
        """Check rows A [n, d] and C [n, m] against a member of B; their types and shapes are right.

        Raises VerificationError (step 8, without telling which row) if they are no product, LimitError if d
        max|A| max|B| reaches 2^60.
        """
        check_bound(self.d, magnitude(a, self._kernels), self.largest)
        if magnitude(c, self._kernels) > self.types.field.largest:
            raise VerificationError(8, "C holds a number that no such product has", operation="product")
        if not self._holds(a, c, member):
            raise VerificationError(8, "C is not the product of A and B", operation="product")

    @sealed
    def _holds(self, a: Array, c: Array, member: int) -> bool:
        """Return whether C S = A V. The projections of the claim exist nowhere else."""
        kernels, project = self._kernels, self.types.field.project
        left = kernels.host(project(kernels, c, self._s))
        right = kernels.host(project(kernels, a, self._v[member]))
        return bool(np.array_equal(left, right))


@sealed
def _columns(types: Types, m: int, seed: Secret) -> Array:
    return types.field.sample(Xof("product", seed.value), (types.columns, m))
