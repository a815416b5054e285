"""Write and read CAR files, version 1: blocks with their CIDs in a row (IPLD specification, "CARv1").

A file becomes CID, CAR and piece commitments in one reading. The head of a CAR names the root, which is known
last: its place is left empty and written in the end, and the piece hash takes it into account then. Leaves of
zeros are skipped over and not written, so that the CAR of a sparse file is sparse too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from proofcompute.commitments.hashing import HashRows, hash_rows
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.errors.extras import lacking
from proofcompute.networks.filecoin.cids import DAG_PB, RAW, SHA2_256, Cid, read_varint, varint
from proofcompute.networks.filecoin.piece import MAX_PIECE, Piece, PieceHash
from proofcompute.networks.filecoin.unixfs import LEAF, LINKS, Node, Tree

__all__ = ["Packed", "check_car", "pack", "unpack"]

_CID: Final = 36
"""Bytes of the CIDs that are written."""
MAX_HEAD: Final = 1 << 12
"""The most bytes of a head."""
MAX_BLOCK: Final = 4 << 20
"""The most bytes of a block and its CID."""
MAX_BLOCKS: Final = 1 << 20
"""The most blocks of a file that is unpacked: their places are held in memory."""
MAX_LEVELS: Final = 16
"""The most levels of a tree that others made."""


@dataclass(frozen=True)
class Packed:
    """What one reading of a file gives."""

    cid: Cid
    """The CID of the file."""
    size: int
    """Bytes of the file."""
    blocks: int
    piece: Piece
    """The piece of the file itself."""
    car_size: int
    """Bytes of the CAR."""
    car_piece: Piece
    """The piece of the CAR: what a storage provider seals."""


def _head(root: Cid) -> bytes:
    try:
        import dag_cbor
        from multiformats import CID
    except ModuleNotFoundError as e:
        raise lacking(e, "packing files for Filecoin") from e
    body: bytes = dag_cbor.encode({"roots": [CID.decode(bytes(root))], "version": 1})
    return varint(len(body)) + body


def pack(
    source: BinaryIO,
    out: BinaryIO | None,
    *,
    hash_rows: HashRows = hash_rows,
    leaf: int = LEAF,
    links: int = LINKS,
    progress: Callable[[int], None] | None = None,
) -> Packed:
    """Read a file once, and write its CAR.

    Args:
        source: the file, a buffered stream.
        out: a seekable stream that gets the CAR at its end, or None if only addresses are wanted.
        hash_rows: hashes rows: the definition, or a backend's function.
        leaf, links: bytes of a leaf and links of a node. Another choice gives another CID of the same file.
        progress: is called with the number of bytes read of each leaf.

    Raises InputError for an empty file, LimitError for one that no sector has room for, UnsupportedError if
    the extra is missing.
    """
    tree, whole, car = Tree(links), PieceHash(hash_rows), PieceHash(hash_rows)
    empty = bytes(len(_head(Cid(RAW, SHA2_256, bytes(32)))))
    size, blocks, written = 0, 0, len(empty)
    start = 0 if out is None else out.tell()
    zeros, known = bytes(leaf), Cid.of(RAW, bytes(leaf))

    def write(made: Iterator[tuple[Cid, bytes]]) -> None:
        nonlocal blocks, written
        for cid, block in made:
            blocks += 1
            for part in (varint(_CID + len(block)) + bytes(cid), block):
                written += len(part)
                car.update(part)
                if out is not None and part is zeros:
                    out.seek(len(part) - 1, os.SEEK_CUR)
                    out.write(b"\0")  # the last byte, so that the file ends here if nothing follows
                elif out is not None:
                    out.write(part)

    car.update(empty)
    if out is not None:
        out.write(empty)
    while data := source.read(leaf):
        while len(data) < leaf and (more := source.read(leaf - len(data))):
            data += more
        size += len(data)
        whole.update(data)
        hole = data == zeros
        write(tree.leaf(zeros if hole else data, known if hole else None))
        if progress is not None:
            progress(len(data))
    if not size:
        raise InputError("the file is empty, so there is nothing to pack")
    write(tree.finish())
    head = _head(tree.root.cid)
    if out is not None:
        out.seek(start)
        out.write(head)
        out.seek(start + written)
    return Packed(tree.root.cid, size, blocks, whole.finish(), written, car.finish(head))


@dataclass(frozen=True)
class _Block:
    cid: Cid
    start: int
    """Where its bytes begin in the stream."""
    size: int


def _section(stream: BinaryIO, most: int, what: str) -> bytes | None:
    """Return the next section: its size as a varint, then as many bytes. None at the end."""
    first = stream.read(1)
    if not first:
        return None
    head = bytearray(first)
    while head[-1] & 0x80:
        byte = stream.read(1)
        if not byte or len(head) == 9:
            raise EnvelopeError(f"the CAR ends inside the size of {what}")
        head += byte
    size, _ = read_varint(bytes(head), 0)
    if not 0 < size <= most:
        raise EnvelopeError(f"{what} has {size} bytes; 1 to {most} are read")
    data = stream.read(size)
    if len(data) != size:
        raise EnvelopeError(f"the CAR ends inside {what}")
    return data


def _root(stream: BinaryIO) -> Cid:
    """Read the head, and return the only root."""
    try:
        import dag_cbor
        from dag_cbor.decoding import CBORDecodingError
        from multiformats import CID
    except ModuleNotFoundError as e:
        raise lacking(e, "reading CAR files") from e
    head = _section(stream, MAX_HEAD, "the head")
    if head is None:
        raise EnvelopeError("the CAR is empty")
    try:
        value = dag_cbor.decode(head)
    # OverflowError and RecursionError: lists of more items than there can be, and lists inside one another.
    except (CBORDecodingError, LookupError, ValueError, OverflowError, RecursionError) as e:
        raise EnvelopeError(f"the head of the CAR is not canonical DAG-CBOR: {e}") from e
    if not isinstance(value, dict) or set(value) != {"roots", "version"}:
        raise EnvelopeError("the file is no CAR of version 1")
    if type(value["version"]) is not int or value["version"] != 1:  # Python takes True and 1.0 for 1
        raise EnvelopeError("the file is no CAR of version 1")
    roots = value["roots"]
    if not isinstance(roots, list) or len(roots) != 1 or not isinstance(roots[0], CID):
        raise EnvelopeError("a CAR with one root is needed")
    return Cid.read(bytes(roots[0]), 0)[0]


def _blocks(stream: BinaryIO) -> Iterator[tuple[_Block, bytes]]:
    """Yield each block after its hash has been checked."""
    while True:
        section = _section(stream, MAX_BLOCK, "a block")
        if section is None:
            return
        cid, at = Cid.read(section, 0)
        block = section[at:]
        if cid.hash != SHA2_256 or cid.codec not in (RAW, DAG_PB):
            raise EnvelopeError(f"a block of codec {cid.codec:#x} and hash {cid.hash:#x} is not read")
        if Cid.of(cid.codec, block) != cid:
            raise EnvelopeError(f"the block {cid} has other bytes than its CID says")
        yield _Block(cid, stream.tell() - len(block), len(block)), block


def check_car(stream: BinaryIO, expected: Cid | None = None) -> Cid:
    """Check each block of a CAR against its CID, and return the root. Memory stays flat.

    Raises EnvelopeError if something does not fit, or the root is not ``expected`` or no block of the CAR.
    """
    root = _root(stream)
    if expected is not None and root != expected:
        raise EnvelopeError(f"the CAR is of {root}, not of {expected}")
    found = False
    for block, _ in _blocks(stream):
        found = found or block.cid == root
    if not found:
        raise EnvelopeError(f"the CAR does not hold its root {root}")
    return root


def unpack(stream: BinaryIO, out: BinaryIO, expected: Cid | None = None, *, most: int = MAX_PIECE) -> int:
    """Write the file that a CAR holds, and return its size.

    ``stream`` is seekable. Every block is checked before anything is written. Blocks may be linked to more
    than once, so a small CAR can hold a large file: ``most`` are the bytes that are written at most. Raises
    EnvelopeError if the CAR is damaged, of another file than ``expected``, lacks a block or is of a larger
    file.
    """
    root = _root(stream)
    if expected is not None and root != expected:
        raise EnvelopeError(f"the CAR is of {root}, not of {expected}")
    places: dict[Cid, _Block] = {}
    for block, _ in _blocks(stream):
        places.setdefault(block.cid, block)
        if len(places) > MAX_BLOCKS:
            raise EnvelopeError(f"the CAR has more than {MAX_BLOCKS} blocks")

    def node(cid: Cid) -> bytes:
        place = places.get(cid)
        if place is None:
            raise EnvelopeError(f"the CAR lacks the block {cid}")
        stream.seek(place.start, os.SEEK_SET)
        return stream.read(place.size)

    def write(cid: Cid, size: int | None, level: int) -> int:
        block = node(cid)
        if cid.codec == RAW:
            if size is not None and size != len(block):
                raise EnvelopeError(f"the block {cid} has {len(block)} bytes, and its link says {size}")
            out.write(block)
            return len(block)
        if level == MAX_LEVELS:
            raise EnvelopeError(f"the file has more than {MAX_LEVELS} levels")
        found = Node.decode(block)
        if found.size > most:
            raise EnvelopeError(f"the file has {found.size} bytes, more than {most}")
        if size is not None and size != found.size:
            raise EnvelopeError(f"the node {cid} has {found.size} bytes, and its link says {size}")
        out.write(found.data)
        for link in found.links:
            write(link.cid, link.size, level + 1)
        return found.size

    return write(root, None, 0)
