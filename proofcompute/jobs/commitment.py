"""Commits to matrices: messages name a matrix by its type, its shape and the Merkle root of its rows.

A leaf is one row, little-endian (:mod:`proofcompute.commitments.merkle`), under a tag of the element type.
The commitment does not depend on the matrix's role: the product of one job can be a factor of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofcompute.arrays import U8, Array
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import Hasher
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.jobs.arrays import DTYPES
from proofcompute.limits import MAX_NAME, MAX_WIDTH

__all__ = ["MatrixId", "leaf_rows", "matrix_tree", "named_tree", "rows_from_leaves", "rows_leaves"]


def leaf_rows(x: Array) -> U8:
    """Return rows of a matrix as little-endian bytes, uint8 [n, row bytes], without a copy if possible."""
    little = np.ascontiguousarray(x, DTYPES[x.dtype.name])
    return little.reshape(-1).view(np.uint8).reshape(len(x), -1)


def rows_from_leaves(data: bytes, dtype: str, rows: int, width: int) -> Array:
    """Invert :func:`leaf_rows`, in native byte order; FormatError if the length is wrong."""
    little = DTYPES[dtype]
    if len(data) != rows * width * little.itemsize:
        raise FormatError(f"{rows} rows of {width} {dtype} are not {len(data)} bytes")
    return np.frombuffer(data, little).reshape(rows, width).astype(dtype, copy=False)


def rows_leaves(suite: str, dtype: str, rows: U8, kernels: Hasher) -> U8:
    """Return the Merkle leaves of rows of bytes, uint8 [n, 32]."""
    return merkle.leaves(suite, hashing.tag(suite, "matrix", dtype), rows, kernels.hash_rows)


def matrix_tree(x: Array, suite: str, kernels: Hasher) -> merkle.Tree:
    """Return the Merkle tree over the rows of a matrix; InputError if it has no rows or columns."""
    if 0 in x.shape:
        raise InputError(f"a matrix of shape {list(x.shape)} has nothing to commit to")
    return merkle.Tree(suite, rows_leaves(suite, x.dtype.name, leaf_rows(x), kernels), kernels.hash_rows)


def named_tree(x: Array, what: str, wanted: MatrixId, suite: str, kernels: Hasher) -> merkle.Tree:
    """Return the tree of a matrix; MismatchError if it is not the matrix that a message names."""
    tree = matrix_tree(x, suite, kernels)
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
    def of(x: Array, suite: str, kernels: Hasher) -> MatrixId:
        """Commit to a matrix; InputError if it is empty."""
        return MatrixId.under(x, matrix_tree(x, suite, kernels))

    @staticmethod
    def under(x: Array, tree: merkle.Tree) -> MatrixId:
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
