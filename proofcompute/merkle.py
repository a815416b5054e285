"""Merkle trees of RFC 9162, section 2.1, with proofs for ranges of leaves.

A leaf is H(0x00 || tag || row), where the 32-byte tag names the tensor (:func:`proofcompute.hashing.tag`); a
node is H(0x01 || left || right); the root of the empty tree is H(""). RFC 9162 splits n leaves at the
largest power of two below n. Bottom up this is: pair the nodes of a level from the left, and move a lone last
node up unchanged. *Proof:* by induction over the levels. A left part of 2^k leaves is a complete tree, so its
nodes pair up among themselves at the k levels below its root; hence pairs never straddle the split, and what
is left over lies at the right end. Level h therefore holds, from the left, the RFC 9162 roots of the blocks
of 2^h leaves, the last block possibly shorter.

A range proof for leaves a..b (b exclusive) is the minimal list of roots of those blocks outside the range
that the root needs: bottom level first, and left before right in a level. Going up, lo..hi are the nodes of
a level that cover the range: an odd lo needs its left neighbour; an odd hi needs node hi, if it exists.
The list's length follows from size, a and b, and is checked before anything is hashed.

A proof does not fix the size by itself: leaf 3 has the same path in trees of 7 and of 8 leaves. The sealed
root (:func:`proofcompute.hashing.seal`) binds it, and is what a verifier compares with.

Every level is hashed by one call of ``hash_rows``, so a backend may hash it in parallel. Trees of equally
many leaves grow together: one call hashes a level of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from proofcompute.errors import FormatError
from proofcompute.hashing import DIGEST, digest
from proofcompute.kernels import Array, Kernels, Memory
from proofcompute.numerics.memory import HOST

__all__ = [
    "HashRows",
    "Tree",
    "leaves",
    "leaves_of_groups",
    "proof_length",
    "root_from_range",
    "roots",
    "roots_from_leaves",
]

U8 = npt.NDArray[np.uint8]
HashRows: TypeAlias = Callable[[str, bytes, U8], U8]
"""``hash_rows(suite, prefix, rows)``: the defining one of hashing, or a backend's."""

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_MAX_SIZE: Final = 1 << 63
"""Leaves of any tree: a u64 holds the size, and no range arithmetic is in doubt."""


def leaves(suite: str, tag: bytes, rows: U8, hash_rows: HashRows) -> U8:
    """The leaves of rows, uint8 [n, w], under a 32-byte tag: uint8 [n, 32]. FormatError for another tag."""
    _check_tag(tag)
    return hash_rows(suite, _LEAF + tag, rows)


def leaves_of_groups(
    suite: str, tags: Sequence[bytes], groups: Sequence[Sequence[Array]], kernels: Kernels
) -> U8:
    """The leaves of groups that are alike, each under its tag (``Kernels.hash_groups``): uint8 [g, n, 32].

    FormatError for a tag that has not 32 bytes.
    """
    for tag in tags:
        _check_tag(tag)
    return kernels.hash_groups(suite, _LEAF, tags, groups)


def _check_tag(tag: bytes) -> None:
    if len(tag) != DIGEST:
        raise FormatError(f"a domain tag has {DIGEST} bytes, not {len(tag)}")


def _check_leaves(hashes: U8, count: int | None) -> None:
    if hashes.ndim != 2 or hashes.shape[1] != DIGEST or hashes.dtype != np.uint8:
        raise FormatError(f"leaves are uint8 [n, {DIGEST}], not {hashes.dtype} {list(hashes.shape)}")
    if count is not None and len(hashes) != count:
        raise FormatError(f"expected {count} leaves, found {len(hashes)}")


def _check_range(size: int, a: int, b: int) -> None:
    if any(type(i) is not int for i in (size, a, b)):
        raise FormatError("sizes and indices of a tree are integers")
    if not 0 <= a < b <= size <= _MAX_SIZE:
        raise FormatError(f"leaves {a}..{b} are not a range of a tree of {size}")


def _parents(suite: str, nodes: U8, hash_rows: HashRows, memory: Memory = HOST) -> U8:
    """The level above of t trees: pairs from the left, a lone last node unchanged. [t, n, 32], n >= 1."""
    trees, n, _ = nodes.shape
    paired = n // 2 * 2 * DIGEST
    if not paired:
        return nodes
    flat = nodes.reshape(trees, n * DIGEST)
    pairs, alone = memory.cut(flat, 0, paired), memory.cut(flat, paired, n * DIGEST)
    above = hash_rows(suite, _NODE, pairs.reshape(trees * (n // 2), 2 * DIGEST))
    if n % 2:
        above = memory.beside((above.reshape(trees, paired // 2), alone))
    return above.reshape(trees, (n + 1) // 2, DIGEST)


def roots(suite: str, leaves: U8, kernels: Kernels) -> list[bytes]:
    """The root of each of t >= 1 trees over leaf hashes, uint8 [t, n, 32] of the backend, n >= 0.

    FormatError for another shape or dtype. All roots leave the backend together.
    """
    if leaves.ndim != 3 or leaves.shape[2] != DIGEST or leaves.dtype != np.uint8:
        raise FormatError(
            f"leaves of trees are uint8 [t, n, {DIGEST}], not {leaves.dtype} {list(leaves.shape)}"
        )
    if not leaves.shape[1]:
        return [digest(suite, b"")] * len(leaves)
    nodes = leaves
    while nodes.shape[1] > 1:
        nodes = _parents(suite, nodes, kernels.hash_rows, kernels)
    return [root.tobytes() for root in kernels.host(nodes)]


def _climb(size: int, a: int, b: int) -> Iterator[tuple[int, int, int | None, int | None]]:
    """For each level below the root: lo, hi, and the proof's left and right node of it (None: none)."""
    lo, hi = a, b
    while size > 1:
        left = lo - 1 if lo % 2 else None
        right = hi if hi % 2 and hi < size else None
        yield lo, hi, left, right
        lo, hi, size = lo // 2, (hi + 1) // 2, (size + 1) // 2


def proof_length(size: int, a: int, b: int) -> int:
    """Digests in the proof for leaves a..b of a tree of ``size``. FormatError unless 0 <= a < b <= size."""
    _check_range(size, a, b)
    return sum((left is not None) + (right is not None) for _, _, left, right in _climb(size, a, b))


@final
class Tree:
    """A tree with all its levels kept: 64 bytes per leaf."""

    __slots__ = ("_levels", "root", "size")

    root: bytes
    """The root, 32 bytes."""
    size: int
    """Number of leaves."""

    def __init__(self, suite: str, leaves: U8, hash_rows: HashRows, memory: Memory = HOST) -> None:
        """Over leaf hashes, uint8 [n, 32], n >= 0. FormatError for another shape or dtype.

        ``hash_rows`` and ``memory`` are those of the backend whose array the leaves are.
        """
        _check_leaves(leaves, None)
        self.size = len(leaves)
        self._levels = [leaves.copy()]  # a caller's buffer may change later
        while (n := len(self._levels[-1])) > 1:
            above = _parents(suite, self._levels[-1].reshape(1, n, DIGEST), hash_rows, memory)
            self._levels.append(above.reshape(-1, DIGEST))
        self.root = self._levels[-1].tobytes() if self.size else digest(suite, b"")

    def range_proof(self, a: int, b: int) -> list[bytes]:
        """The proof for leaves a..b. FormatError unless 0 <= a < b <= size."""
        _check_range(self.size, a, b)
        return [
            level[i].tobytes()
            for level, (_, _, left, right) in zip(self._levels, _climb(self.size, a, b), strict=False)
            for i in (left, right)
            if i is not None
        ]


def _check_proof(size: int, a: int, b: int, proof: Sequence[bytes]) -> None:
    expected = proof_length(size, a, b)
    if len(proof) != expected:
        raise FormatError(f"a proof for leaves {a}..{b} of {size} has {expected} digests, not {len(proof)}")
    if any(type(node) is not bytes or len(node) != DIGEST for node in proof):
        raise FormatError(f"a proof consists of digests of {DIGEST} bytes")


def roots_from_leaves(
    suite: str,
    size: int,
    indices: Sequence[int],
    leaves: U8,
    proofs: Sequence[Sequence[bytes]],
    hash_rows: HashRows,
) -> list[bytes]:
    """:func:`root_from_range` of n >= 1 single leaves, uint8 [n, 32], each with its proof; level by level.

    Raises the same, before anything is hashed.
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
    suite: str, size: int, a: int, b: int, leaves: U8, proof: Sequence[bytes], hash_rows: HashRows
) -> bytes:
    """The root of the tree of ``size`` leaves in which leaves a..b are ``leaves``, uint8 [b - a, 32].

    The caller compares it with the committed root. Raises FormatError, before anything is hashed, unless 0
    <= a < b <= size, there are b - a leaves, and the proof has ``proof_length(size, a, b)`` digests of 32
    bytes: any other proof is for another range or tree.
    """
    _check_proof(size, a, b, proof)
    _check_leaves(leaves, b - a)
    rest = iter(proof)
    nodes = leaves
    for _, _, left, right in _climb(size, a, b):
        parts = [nodes]
        if left is not None:
            parts.insert(0, np.frombuffer(next(rest), dtype=np.uint8)[None])
        if right is not None:
            parts.append(np.frombuffer(next(rest), dtype=np.uint8)[None])
        nodes = _parents(suite, np.concatenate(parts)[None], hash_rows)[0]
    return nodes.tobytes()
