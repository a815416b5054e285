"""Build Merkle trees of RFC 9162, section 2.1, and make and check proofs for ranges of leaves.

A leaf is H(0x00 || tag || row), where the 32-byte tag names the tensor
(:func:`proofcompute.commitments.hashing.tag`); a node is H(0x01 || left || right); the root of the empty tree
is H(""). RFC 9162 splits n leaves at the largest power of two below n. Bottom up this is: pair the nodes of a
level from the left, and move a lone last node up unchanged. *Proof:* by induction over the levels. A left
part of 2^k leaves is a complete tree, so its nodes pair up among themselves at the k levels below its root;
hence pairs never straddle the split, and what is left over lies at the right end. Level h therefore holds,
from the left, the RFC 9162 roots of the blocks of 2^h leaves, the last block possibly shorter.

A range proof for leaves a..b (b exclusive) is the minimal list of roots of those blocks outside the range
that the root needs: bottom level first, and left before right in a level. Going up, lo..hi are the nodes of
a level that cover the range: an odd lo needs its left neighbour; an odd hi needs node hi, if it exists.
The list's length follows from size, a and b, and is checked before anything is hashed.

A proof does not fix the size by itself: leaf 3 has the same path in trees of 7 and of 8 leaves. The sealed
root (:func:`proofcompute.commitments.hashing.seal`) binds it, and is what a verifier compares with.

Nodes of a tree are numbered level after level, bottom up, each level from the left: leaves first, root last.
Trees of equally many leaves grow together (:class:`Forest`), by one call of a backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np
import numpy.typing as npt

from proofcompute.arrays import Array
from proofcompute.commitments.hasher import HasherOfArrays
from proofcompute.commitments.hashing import (
    DIGEST,
    HashRows,
    climb,
    digest,
    hash_trees,
    nodes_needed,
)
from proofcompute.errors import FormatError

__all__ = [
    "Forest",
    "HashRows",
    "Tree",
    "leaves",
    "leaves_of_groups",
    "proof_length",
    "root_from_range",
    "roots_from_leaves",
    "roots_from_ranges",
    "tree_bytes",
]

U8 = npt.NDArray[np.uint8]
HashRanges = Callable[[str, bytes, int, Sequence[tuple[int, int]], U8, U8], U8]

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_MAX_SIZE: Final = 1 << 63
"""Most leaves of a tree, so that a u64 holds the size and index arithmetic cannot overflow."""


def leaves(suite: str, tag: bytes, rows: U8, hash_rows: HashRows) -> U8:
    """Return the leaves of rows uint8 [n, w] under a 32-byte tag: uint8 [n, 32].

    Raises FormatError for a tag of another length.
    """
    _check_tag(tag)
    return hash_rows(suite, _LEAF + tag, rows)


def leaves_of_groups(
    suite: str,
    tags: Sequence[bytes],
    groups: Sequence[Sequence[Array]],
    kernels: HasherOfArrays,
    out: U8 | None = None,
    row: int = 0,
) -> U8:
    """Return the leaves of groups of equal shapes, each under its tag (see ``Hasher.hash_groups``).

    Raises FormatError for a tag that does not have 32 bytes.
    """
    for tag in tags:
        _check_tag(tag)
    return kernels.hash_groups(suite, _LEAF, tags, groups, out, row)


def _check_tag(tag: bytes) -> None:
    if len(tag) != DIGEST:
        raise FormatError(f"a domain tag has {DIGEST} bytes, not {len(tag)}")


def _check_leaves(hashes: U8, count: int | None) -> None:
    if hashes.ndim != 2 or hashes.shape[1] != DIGEST or hashes.dtype != np.uint8:
        raise FormatError(f"leaves are uint8 [n, {DIGEST}], not {hashes.dtype} {list(hashes.shape)}")
    if count is not None and len(hashes) != count:
        raise FormatError(f"expected {count} leaves, found {len(hashes)}")


def _check_range(size: int, a: int, b: int) -> None:
    if not (type(size) is type(a) is type(b) is int):
        raise FormatError("sizes and indices of a tree are integers")
    if not 0 <= a < b <= size <= _MAX_SIZE:
        raise FormatError(f"leaves {a}..{b} are not a range of a tree of {size}")


def proof_length(size: int, a: int, b: int) -> int:
    """Return the number of digests in the proof for leaves a..b of a tree of ``size`` leaves.

    Raises FormatError unless 0 <= a < b <= size.
    """
    _check_range(size, a, b)
    return nodes_needed(size, a, b)


def _path(size: int, a: int, b: int) -> list[int]:
    """Return the numbers of the nodes in the proof for leaves a..b."""
    found, first, level = [], 0, size
    for _, _, left, right in climb(size, a, b):
        found += [first + i for i in (left, right) if i is not None]
        first, level = first + level, (level + 1) // 2
    return found


@final
class Tree:
    """A tree that keeps all its nodes: 64 bytes per leaf."""

    __slots__ = ("_nodes", "root", "size")

    root: bytes
    """The root, 32 bytes."""
    size: int
    """Number of leaves."""

    def __init__(self, suite: str, leaves: U8, hash_rows: HashRows) -> None:
        """Build the tree over leaf hashes uint8 [n, 32], n >= 0.

        Raises FormatError for another shape or dtype.
        """
        _check_leaves(leaves, None)
        self.size = len(leaves)
        # The nodes are a copy, because the caller's buffer may change later.
        self._nodes = hash_trees(suite, _NODE, leaves[None], self.size, hash_rows)[0] if self.size else leaves
        self.root = self._nodes[-1].tobytes() if self.size else digest(suite, b"")

    def leaf(self, index: int) -> bytes:
        """Return the hash of one leaf, 32 bytes. Raises FormatError unless 0 <= index < size."""
        _check_range(self.size, index, index + 1)
        return bytes(self._nodes[index])

    def range_proof(self, a: int, b: int) -> list[bytes]:
        """Return the proof for leaves a..b. Raises FormatError unless 0 <= a < b <= size."""
        _check_range(self.size, a, b)
        return [self._nodes[i].tobytes() for i in _path(self.size, a, b)]


def tree_bytes(size: int) -> int:
    """Return the bytes of the nodes of a tree of ``size`` leaves, 32 for each."""
    count, level = size, size
    while level > 1:
        level = (level + 1) // 2
        count += level
    return count * DIGEST


@final
class Forest:
    """Trees of equally many leaves whose nodes a backend keeps: 64 bytes per leaf."""

    __slots__ = ("_kernels", "_nodes", "_roots", "_suite", "size")

    size: int
    """Number of leaves of each tree."""

    def __init__(self, suite: str, leaves: U8, size: int, kernels: HasherOfArrays) -> None:
        """Build t >= 1 trees over the first ``size`` >= 0 leaf hashes of each, uint8 [t, >= size, 32].

        The leaves are an array of the backend. Raises FormatError for another shape or dtype, or for fewer
        leaves.
        """
        if leaves.ndim != 3 or leaves.shape[2] != DIGEST or leaves.dtype != np.uint8:
            raise FormatError(
                f"leaves of trees are uint8 [t, n, {DIGEST}], not {leaves.dtype} {list(leaves.shape)}"
            )
        if not 0 <= size <= leaves.shape[1]:
            raise FormatError(f"trees over {size} of {leaves.shape[1]} leaves")
        self.size = size
        self._suite, self._kernels = suite, kernels
        self._nodes = kernels.hash_trees(suite, _NODE, leaves, size) if size else leaves
        trees, m, _ = self._nodes.shape
        flat = self._nodes.reshape(trees, m * DIGEST)
        self._roots = kernels.slice_columns(flat, (m - 1) * DIGEST, m * DIGEST) if size else flat

    @property
    def nbytes(self) -> int:
        """Bytes of the nodes."""
        return self._nodes.nbytes

    def roots(self) -> list[bytes]:
        """Return the root of each tree. One transfer brings them all from the backend."""
        if not self.size:
            return [digest(self._suite, b"")] * len(self._nodes)
        return [root.tobytes() for root in self._kernels.host(self._roots)]

    def leaves(self, tree: int) -> U8:
        """Return the leaves of a tree on the host, uint8 [size, 32]."""
        return self._kernels.host(self._nodes[tree][: self.size])

    def range_proofs(self, ranges: Sequence[tuple[int, int, int]]) -> list[list[bytes]]:
        """Return the proof for leaves a..b of each (tree, a, b). One transfer brings them all.

        Raises FormatError unless 0 <= a < b <= size.
        """
        for _, a, b in ranges:
            _check_range(self.size, a, b)
        trees, m, _ = self._nodes.shape
        paths = [[tree * m + i for i in _path(self.size, a, b)] for tree, a, b in ranges]
        ids = np.array([i for path in paths for i in path], np.int64)
        taken = self._kernels.host(self._kernels.gather(self._nodes.reshape(trees * m, DIGEST), ids))
        rest = iter(taken)
        return [[next(rest).tobytes() for _ in path] for path in paths]


def _check_proof(size: int, a: int, b: int, proof: Sequence[bytes]) -> None:
    expected = proof_length(size, a, b)
    if len(proof) != expected:
        raise FormatError(f"a proof for leaves {a}..{b} of {size} has {expected} digests, not {len(proof)}")
    if not ({*map(type, proof)} <= {bytes} and {*map(len, proof)} <= {DIGEST}):
        raise FormatError(f"a proof consists of digests of {DIGEST} bytes")


def roots_from_leaves(
    suite: str,
    size: int,
    indices: Sequence[int],
    leaves: U8,
    proofs: Sequence[Sequence[bytes]],
    hash_rows: HashRows,
) -> list[bytes]:
    """Compute :func:`root_from_range` for n >= 1 single leaves uint8 [n, 32], each with its proof.

    All proofs are hashed together, level by level. Raises the same errors before anything is hashed.
    """
    _check_leaves(leaves, len(indices))
    for i, proof in zip(indices, proofs, strict=True):
        _check_proof(size, i, i + 1, proof)
    given = np.frombuffer(b"".join(d for proof in proofs for d in proof), np.uint8).reshape(-1, DIGEST)
    at = np.cumsum([0, *map(len, proofs[:-1])])  # the next digest of each proof
    position = np.array(indices, np.int64)
    nodes = leaves.copy()
    while size > 1:
        (paired,) = np.nonzero((position % 2 == 1) | (position + 1 < size))
        if paired.size:
            beside, right = given[at[paired]], position[paired] % 2 == 1
            pairs = np.stack([nodes[paired], beside], axis=1)
            pairs[right] = pairs[right, ::-1]
            nodes[paired] = hash_rows(suite, _NODE, pairs.reshape(-1, 2 * DIGEST))
            at[paired] += 1
        position, size = position // 2, (size + 1) // 2
    return [node.tobytes() for node in nodes]


def root_from_range(
    suite: str, size: int, a: int, b: int, leaves: U8, proof: Sequence[bytes], hashed: HashRanges
) -> bytes:
    """Return the root of the tree of ``size`` leaves in which leaves a..b are ``leaves`` uint8 [b - a, 32].

    The caller compares it with the committed root. Raises FormatError, before anything is hashed, unless 0
    <= a < b <= size, there are b - a leaves, and the proof has ``proof_length(size, a, b)`` digests of 32
    bytes: any other proof is for another range or tree. ``hashed`` is ``Hasher.hash_ranges``.
    """
    return roots_from_ranges(suite, size, [(a, b)], [leaves], [proof], hashed)[0]


def roots_from_ranges(
    suite: str,
    size: int,
    ranges: Sequence[tuple[int, int]],
    leaves: Sequence[U8],
    proofs: Sequence[Sequence[bytes]],
    hashed: HashRanges,
) -> list[bytes]:
    """Compute :func:`root_from_range` for n >= 1 trees of one size in one call of ``Hasher.hash_ranges``.

    Raises the same errors before anything is hashed.
    """
    for (a, b), known, proof in zip(ranges, leaves, proofs, strict=True):
        _check_proof(size, a, b, proof)
        _check_leaves(known, b - a)
    given = np.frombuffer(b"".join([d for proof in proofs for d in proof]), np.uint8).reshape(-1, DIGEST)
    every = leaves[0] if len(leaves) == 1 else np.concatenate(leaves)
    return [root.tobytes() for root in hashed(suite, _NODE, size, ranges, every, given)]
