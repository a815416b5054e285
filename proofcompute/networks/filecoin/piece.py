"""Compute Filecoin's piece commitments (CommP) while data passes by.

A piece is cut into quads of 127 bytes. The 1,016 bits of each become four leaves of 254 bits, in 32 bytes
each whose two highest bits are zero (Fr32 padding). Zeros fill the leaves up to a power of two. An inner node
is SHA-256 of its two children with the two highest bits cleared. (Filecoin specification, "Piece"; FRC-0069
for the CID of a piece, which also says how many bytes were filled.)

The tree's subtrees of :data:`CHUNK` bytes are hashed as they fill up, so memory is flat: one chunk, and 32
bytes for each MiB of what may at most be a sector of 64 GiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.commitments.hashing import HashRows, hash_rows
from proofcompute.errors import InputError, LimitError
from proofcompute.limits import GIB
from proofcompute.networks.filecoin.cids import RAW, Cid, varint

__all__ = ["CHUNK", "MAX_PIECE", "Piece", "PieceHash"]

U8 = npt.NDArray[np.uint8]

_QUAD: Final = 127
"""Bytes that become four leaves."""
_LEVELS: Final = 15
"""Levels of the subtree of a chunk, whose 2^15 leaves have 1 MiB."""
CHUNK: Final = _QUAD << (_LEVELS - 2)
"""Bytes of data that are hashed at once."""
MAX_PIECE: Final = 64 * GIB // 128 * _QUAD
"""Bytes of the largest piece: what fits into the largest sector."""
_NODE: Final = 32
_MASK: Final = 0x3F
"""What is left of the last byte of a node."""
_SHIFTS: Final = (0, 6, 4, 2)
"""The bit of its first byte at which each leaf of a quad begins."""
_MULTIHASH: Final = 0x1011
_SEALED_CODEC: Final = 0xF101
_SEALED_HASH: Final = 0x1012


@dataclass(frozen=True)
class Piece:
    """The commitment to a piece."""

    root: bytes
    """The root of the tree, 32 bytes: CommP."""
    height: int
    """Levels of the tree above its leaves."""
    payload: int
    """Bytes of data."""

    @property
    def padded_size(self) -> int:
        """Bytes of all leaves: what the piece takes in a sector."""
        return _NODE << self.height

    @property
    def padding(self) -> int:
        """Bytes of zeros that fill the data up, before Fr32 padding."""
        return (self.padded_size // 128) * _QUAD - self.payload

    @property
    def cid(self) -> Cid:
        """The CID of the piece in version 2 (FRC-0069): raw, with the padding and height in the multihash."""
        return Cid(RAW, _MULTIHASH, varint(self.padding) + bytes([self.height]) + self.root)

    @property
    def legacy_cid(self) -> Cid:
        """The CID of the piece in version 1: ``fil-commitment-unsealed``, which begins with ``baga``."""
        return Cid(_SEALED_CODEC, _SEALED_HASH, self.root)


class PieceHash:
    """Computes the commitment to data that comes in parts."""

    def __init__(self, rows: HashRows = hash_rows) -> None:
        """``rows`` hashes rows of 64 bytes: the definition, or a backend's function, which is faster."""
        self._hash = rows
        self._size = 0
        self._held = bytearray()
        self._first = b""
        """The first chunk, until the end: whoever writes a head last says then what it begins with."""
        self._roots: list[bytes] = []
        """The root of each chunk; that of the first is empty."""
        self._zeros: list[bytes] = [bytes(_NODE)]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Append data. Raises LimitError if the piece gets larger than the largest sector."""
        self._size += len(data)
        if self._size > MAX_PIECE:
            raise LimitError(
                f"a piece has at most {MAX_PIECE} bytes, which fill a sector of 64 GiB; split the file"
            )
        view, held = memoryview(data), self._held
        while len(view) + len(held) >= CHUNK:
            take = CHUNK - len(held)
            if held:
                held += view[:take]
                self._chunk(held)
                held.clear()
            else:
                self._chunk(view[:take])
            view = view[take:]
        held += view

    def finish(self, head: bytes = b"") -> Piece:
        """Return the commitment; ``head`` takes the place of as many bytes at the beginning.

        Raises InputError for no data, or a head that is longer than the data or a chunk.
        """
        if not self._size:
            raise InputError("an empty file has no piece commitment")
        if len(head) > min(self._size, CHUNK):
            raise InputError(f"a head of {len(head)} bytes does not fit")
        if not self._roots:
            data = head + bytes(self._held[len(head) :])
            quads = 1 << (-(-len(data) // _QUAD) - 1).bit_length()
            root = self._subtree(data + bytes(quads * _QUAD - len(data)))
            return Piece(root, 2 + quads.bit_length() - 1, self._size)
        roots = [self._subtree(head + self._first[len(head) :]), *self._roots[1:]]
        if self._held:
            roots.append(self._subtree(bytes(self._held) + bytes(CHUNK - len(self._held))))
        nodes = np.frombuffer(b"".join(roots), np.uint8).reshape(-1, _NODE)
        height = _LEVELS
        while len(nodes) > 1:
            if len(nodes) % 2:
                nodes = np.vstack([nodes, np.frombuffer(self._zero(height), np.uint8)[None]])
            nodes = self._parents(nodes)
            height += 1
        return Piece(nodes[0].tobytes(), height, self._size)

    def _chunk(self, data: bytearray | memoryview) -> None:
        if not self._roots:
            self._first = bytes(data)
            self._roots.append(b"")
        else:
            self._roots.append(self._subtree(data))

    def _subtree(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the root over data of a number of quads that is a power of two."""
        raw = np.frombuffer(data, np.uint8).reshape(-1, _QUAD)
        if not raw.any():
            return self._zero(2 + len(raw).bit_length() - 1)
        nodes = _leaves(raw)
        while len(nodes) > 1:
            nodes = self._parents(nodes)
        root: bytes = nodes[0].tobytes()
        return root

    def _parents(self, nodes: U8) -> U8:
        found = self._hash("sha256", b"", np.ascontiguousarray(nodes).reshape(-1, 2 * _NODE))
        found[:, -1] &= _MASK
        return found

    def _zero(self, height: int) -> bytes:
        """Return the root of a subtree of zeros."""
        while len(self._zeros) <= height:
            pair = np.frombuffer(2 * self._zeros[-1], np.uint8).reshape(1, -1)
            self._zeros.append(self._parents(pair)[0].tobytes())
        return self._zeros[height]


def _leaves(quads: U8) -> U8:
    """Return the leaves of quads uint8 [n, 127]: uint8 [4 n, 32]."""
    wide = np.zeros((len(quads), _QUAD + 1), np.uint8)
    wide[:, :_QUAD] = quads
    out = np.empty((len(quads), 4, _NODE), np.uint8)
    for i, shift in enumerate(_SHIFTS):
        at = 254 * i // 8
        part = wide[:, at : at + _NODE] >> np.uint8(shift)
        if shift:
            # The last leaf ends in the last byte of its quad, so what would come after it is missing.
            above = wide[:, at + 1 : at + 1 + _NODE] << np.uint8(8 - shift)
            part[:, : above.shape[1]] |= above
        out[:, i] = part
    out[:, :, -1] &= _MASK
    return out.reshape(-1, _NODE)
