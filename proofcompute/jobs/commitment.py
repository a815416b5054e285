"""Commits to matrices: messages name a matrix by its type, its shape and the Merkle root of its rows.

A leaf is one row, little-endian (:mod:`proofcompute.commitments.merkle`), under a tag of the element type.
The commitment does not depend on the matrix's role: the product of one job can be a factor of the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from proofcompute.arrays import U8, Array
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import Hasher, HasherOfArrays
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.jobs.arrays import DTYPES, flat
from proofcompute.limits import MAX_NAME, MAX_WIDTH

__all__ = ["MatrixId", "RowTree", "leaf_rows", "named_tree", "rows_from_leaves", "rows_leaves"]


def leaf_rows(x: Array) -> U8:
    """Return rows of a matrix as little-endian bytes, uint8 [n, row bytes], without a copy if possible.

    Rows that lie on a device stay there; its numbers are little-endian.
    """
    if isinstance(x, np.ndarray):
        x = np.ascontiguousarray(x, DTYPES[x.dtype.name])
    return x.reshape(-1).view(np.uint8).reshape(len(x), -1)


def rows_from_leaves(data: bytes, dtype: str, rows: int, width: int) -> Array:
    """Invert :func:`leaf_rows`, in native byte order; FormatError if the length is wrong."""
    little = DTYPES[dtype]
    if len(data) != rows * width * little.itemsize:
        raise FormatError(f"{rows} rows of {width} {dtype} are not {len(data)} bytes")
    return np.frombuffer(data, little).reshape(rows, width).astype(dtype, copy=False)


def rows_leaves(suite: str, dtype: str, rows: U8, kernels: Hasher) -> U8:
    """Return the Merkle leaves of rows of bytes, uint8 [n, 32]."""
    return merkle.leaves(suite, hashing.tag(suite, "matrix", dtype), rows, kernels.hash_rows)


@final
class RowTree:
    """The Merkle tree over the rows of a matrix, which the backend that hashed them keeps.

    Args:
        leaves: the leaves of the rows [n, 32], an array of the backend or NumPy's; n >= 1.
        dtype: element type of the matrix.
        suite: the hash suite.
        kernels: the backend.
    """

    def __init__(self, leaves: U8, dtype: str, suite: str, kernels: HasherOfArrays) -> None:
        self.size = len(leaves)
        self._suite, self._dtype, self._kernels = suite, dtype, kernels
        self._forest = merkle.Forest(suite, leaves.reshape(1, self.size, DIGEST), self.size, kernels)
        (self.root,) = self._forest.roots()

    @staticmethod
    def of(x: Array, suite: str, kernels: HasherOfArrays) -> RowTree:
        """Hash the rows of a matrix [n, w], an array of the backend or NumPy's; InputError if it is empty."""
        if 0 in x.shape:
            raise InputError(f"a matrix of shape {list(x.shape)} has nothing to commit to")
        dtype = x.dtype.name
        return RowTree(rows_leaves(suite, dtype, leaf_rows(x), kernels), dtype, suite, kernels)

    def of_rows(self, x: Array) -> bool:
        """Return whether these are the rows of which it is the tree."""
        return RowTree.of(x, self._suite, self._kernels).root == self.root

    def leaves(self) -> U8:
        """Return the leaves on the host, uint8 [n, 32]."""
        return self._forest.leaves(0)

    def range_proof(self, a: int, b: int) -> list[bytes]:
        """Return the proof for rows a..b. Raises FormatError unless 0 <= a < b <= size."""
        (proof,) = self._forest.range_proofs([(0, a, b)])
        return proof

    def opened(
        self, x: Array, ranges: Sequence[tuple[int, int]], what: str
    ) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return rows a..b of the matrix, little-endian, and their proof, for each of n >= 1 ranges.

        Raises MismatchError if they are no longer the rows that were hashed: memory that is shared with other
        code may have been written to, and whoever opened such rows would accuse itself.
        """
        data = [leaf_rows(x[a:b]).tobytes() for a, b in ranges]
        proofs = self._forest.range_proofs([(0, a, b) for a, b in ranges])
        ends = np.cumsum([b - a for a, b in ranges])
        leaves = np.split(self._hashed(b"".join(data), int(ends[-1])), ends[:-1])
        roots = merkle.roots_from_ranges(
            self._suite, self.size, ranges, leaves, proofs, self._kernels.hash_ranges
        )
        for (a, b), root in zip(ranges, roots, strict=True):
            if root != self.root:
                raise _changed(a, b, what)
        return list(zip(data, map(tuple, proofs), strict=True))

    def blocks(self, x: Array, step: int, what: str) -> Iterator[bytes]:
        """Yield all rows of the matrix, little-endian, ``step`` rows at a time. Raises as :meth:`opened`."""
        leaves = self.leaves()
        for first in range(0, self.size, step):
            end = min(first + step, self.size)
            data = leaf_rows(x[first:end]).tobytes()
            if not np.array_equal(self._hashed(data, end - first), leaves[first:end]):
                raise _changed(first, end, what)
            yield data

    def _hashed(self, data: bytes, count: int) -> U8:
        """Return the leaves of rows on the host."""
        rows = np.frombuffer(data, np.uint8).reshape(count, -1)
        return rows_leaves(self._suite, self._dtype, rows, self._kernels)


def _changed(a: int, b: int, what: str) -> MismatchError:
    return MismatchError(
        f"rows {a}..{b} of {what} are not those that were signed: the array was changed since; give a job "
        "memory that nobody writes to, let it copy, or save the proof before the memory is used again"
    )


def named_tree(x: Array, what: str, wanted: MatrixId, suite: str, kernels: HasherOfArrays) -> RowTree:
    """Return the tree of a matrix; MismatchError if it is not the matrix that a message names."""
    tree = RowTree.of(x, suite, kernels)
    if MatrixId.under(x, tree) != wanted:
        raise MismatchError(f"{what} is not the matrix that was named")
    return tree


@dataclass(frozen=True)
class MatrixId:
    """The commitment to a matrix, which requests and receipts contain."""

    dtype: str
    """Element type."""
    rows: int
    """Number of rows."""
    width: int
    """Number of elements of one row."""
    root: bytes
    """Merkle root of the rows, 32 bytes; with the number of rows it binds all of them."""

    @staticmethod
    def of(x: Array, suite: str, kernels: HasherOfArrays) -> MatrixId:
        """Commit to a matrix, or to all rows of a stack; InputError if it is empty."""
        x = flat(x)
        return MatrixId.under(x, RowTree.of(x, suite, kernels))

    @staticmethod
    def under(x: Array, tree: RowTree) -> MatrixId:
        """Return the commitment to a matrix, given its tree."""
        rows, width = x.shape
        return MatrixId(x.dtype.name, rows, width, tree.root)

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row."""
        return self.width * DTYPES[self.dtype].itemsize

    def value(self) -> tuple[wire.Value, ...]:
        """Return the value to encode."""
        return (self.dtype, self.rows, self.width, self.root)

    @staticmethod
    def from_value(value: wire.Value, what: str) -> MatrixId:
        """Return the commitment in a decoded value; FormatError or LimitError if it is malformed."""
        dtype, rows, width, root = wire.as_list(value, what, n=4)
        name = wire.as_str(dtype, f"{what}: element type", MAX_NAME)
        if name not in DTYPES:
            raise FormatError(f"{what}: element type {name!r} is none of {', '.join(DTYPES)}")
        return MatrixId(
            name,
            wire.as_int(rows, f"{what}: rows", 1, MAX_WIDTH),
            wire.as_int(width, f"{what}: width", 1, MAX_WIDTH),
            wire.as_bytes(root, f"{what}: root", 32),
        )
