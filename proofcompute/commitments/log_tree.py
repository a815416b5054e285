"""Hash a list of leaves as a Merkle tree, and prove what it holds (RFC 6962 and RFC 9162, section 2.1).

A ledger's log is such a list, which grows and is kept node by node; the rows that are anchored on a chain are
another, made whole by :func:`root_of` and :func:`inclusion`.

The hash is SHA-256. A leaf is hashed after a byte 0x00, two nodes after a byte 0x01. The tree over n leaves
splits at the largest power of two below n, so appending a leaf changes no complete subtree: a node is named
by its level and its number there, and holds the leaves ``number * 2**level`` to ``(number + 1) * 2**level``.
This is another tree than that of :mod:`proofcompute.commitments.merkle`, whose shape the openings fix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from proofcompute.errors import FormatError, InputError

__all__ = [
    "EMPTY",
    "HASH",
    "MAX_LEAVES",
    "MAX_PROOF",
    "Growing",
    "consistency_ranges",
    "fold",
    "inclusion",
    "inclusion_ranges",
    "leaf_hash",
    "node_hash",
    "parts",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH: Final = 32
"""Bytes of a hash."""
EMPTY: Final = hashlib.sha256(b"").digest()
"""The root of a log without leaves."""
MAX_PROOF: Final = 65
"""Hashes of the longest proof: a log has fewer than 2^63 leaves."""

MAX_LEAVES: Final = 1 << 24
"""The most leaves of a tree that is made whole."""

Node = tuple[int, int]
"""Level and number of a complete subtree."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf that holds ``data``, 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two others, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def parts(a: int, b: int) -> list[Node]:
    """Return the complete subtrees that together hold the leaves a..b, from left to right.

    The leaf a must begin a subtree that is as large as the range, as in every range of a proof.
    """
    found = []
    while a < b:
        level = (b - a).bit_length() - 1
        found.append((level, a >> level))
        a += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees, from left to right: that of no leaves if there are none."""
    if not hashes:
        return EMPTY
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


class Growing:
    """A log's tree while leaves are appended: it keeps one hash for each bit of the size."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        """Leaves so far."""
        self._complete = list(hashes)

    def append(self, hashed: bytes) -> list[tuple[Node, bytes]]:
        """Append a leaf by its hash, and return the nodes that are complete now, the leaf first."""
        number, self.size = self.size, self.size + 1
        made = [((0, number), hashed)]
        for level in range(1, number.bit_length() + 1):
            if not number & 1:
                break
            hashed, number = node_hash(self._complete.pop(), hashed), number >> 1
            made.append(((level, number), hashed))
        self._complete.append(hashed)
        return made

    @property
    def root(self) -> bytes:
        """The root over all leaves so far, 32 bytes."""
        return fold(self._complete)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaves' hashes, 32 bytes. Raises InputError if there are none or too many."""
    if not 0 < len(hashes) <= MAX_LEAVES:
        raise InputError(f"a tree has 1 to {MAX_LEAVES} leaves, not {len(hashes)}")
    tree = Growing()
    for hashed in hashes:
        tree.append(hashed)
    return tree.root


# -- proofs ------------------------------------------------------------------------------------------------
def inclusion_ranges(number: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that a leaf is in a log of ``size`` leaves.

    Raises FormatError unless 0 <= number < size.
    """
    if not 0 <= number < size:
        raise FormatError(f"a log of {size} leaves has no leaf {number}")
    found, a, b = [], 0, size
    while b - a > 1:
        middle = a + _split(b - a)
        if number < middle:
            found.append((middle, b))
            b = middle
        else:
            found.append((a, middle))
            a = middle
    return found[::-1]


def inclusion(hashes: Sequence[bytes], number: int) -> list[bytes]:
    """Return the proof that a leaf is in the tree over these hashes, from below (RFC 9162, section 2.1.3.1).

    Raises InputError if there is no such leaf, or there are too many.
    """
    if not 0 <= number < len(hashes) <= MAX_LEAVES:
        raise InputError(
            f"there is no leaf {number} among {len(hashes)}, of which a tree has up to {MAX_LEAVES}"
        )
    return [root_of(hashes[a:b]) for a, b in inclusion_ranges(number, len(hashes))]


def consistency_ranges(first: int, second: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that a log of ``second`` leaves begins with ``first``.

    Raises FormatError unless 0 <= first <= second.
    """
    if not 0 <= first <= second:
        raise FormatError(f"a log of {second} leaves does not begin with {first}")
    if first in (0, second):
        return []
    found, a, b, whole = [], 0, second, True
    while first != b:
        middle = a + _split(b - a)
        if first <= middle:
            found.append((middle, b))
            b = middle
        else:
            found.append((a, middle))
            a, whole = middle, False
    if not whole:
        found.append((a, b))
    return found[::-1]


def verify_inclusion(number: int, size: int, hashed: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether a proof shows that the leaf ``number`` of a log of ``size`` leaves has this hash.

    It is the algorithm of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= number < size or not _are_hashes(proof):
        return False
    at, last, found = number, size - 1, hashed
    for one in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(one, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, one)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Return whether a proof shows that a log grew from the first root to the second, and nothing changed.

    It is the algorithm of RFC 9162, section 2.1.4.2. Any log grows from one without leaves, and a log of the
    same size has the same root; either takes no proof.
    """
    if not 0 <= first <= second or not _are_hashes(proof):
        return False
    if first == 0:
        return not proof and first_root == EMPTY
    if first == second:
        return not proof and first_root == second_root
    path = list(proof) if first & (first - 1) else [first_root, *proof]
    if not path:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for one in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(one, old), node_hash(one, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, one)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(size: int) -> int:
    """Return the largest power of two below ``size``, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _are_hashes(proof: Sequence[bytes]) -> bool:
    return len(proof) <= MAX_PROOF and all(type(one) is bytes and len(one) == HASH for one in proof)
