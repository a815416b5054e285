"""Keep the root of a Merkle tree that grows at its end, in memory that grows with its logarithm.

The tree is that of RFC 9162, section 2.1, as in :mod:`proofcompute.commitments.merkle`. A tree of n leaves
is a row of complete trees, one for each 1 in the binary form of n, the largest first. Their roots are kept. A
new leaf is a complete tree of one leaf, and two complete trees of one size at the end become one. The root of
the whole is that of the last tree, joined from the left with the one before it, and so on.
"""

from __future__ import annotations

from typing import Final, final

from proofcompute.arrays import U8
from proofcompute.commitments.hashing import DIGEST, digest
from proofcompute.errors import FormatError

__all__ = ["Frontier"]

_NODE: Final = b"\x01"


@final
class Frontier:
    """The roots of the complete trees of which a growing tree consists."""

    __slots__ = ("_roots", "_suite", "size")

    size: int
    """Number of leaves so far."""

    def __init__(self, suite: str) -> None:
        """Begin with a tree without leaves."""
        self._suite = suite
        self._roots: list[bytes] = []
        self.size = 0

    def add(self, leaves: U8) -> None:
        """Append leaf hashes uint8 [n, 32]. Raises FormatError for another shape."""
        if leaves.ndim != 2 or leaves.shape[1] != DIGEST:
            raise FormatError(f"leaves are uint8 [n, {DIGEST}], not {list(leaves.shape)}")
        for leaf in leaves:
            self._roots.append(leaf.tobytes())
            complete = self.size
            while complete & 1:
                right, left = self._roots.pop(), self._roots.pop()
                self._roots.append(digest(self._suite, _NODE + left + right))
                complete >>= 1
            self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far, 32 bytes."""
        if not self._roots:
            return digest(self._suite, b"")
        *before, root = self._roots
        for left in reversed(before):
            root = digest(self._suite, _NODE + left + root)
        return root
