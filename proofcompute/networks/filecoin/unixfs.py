"""Write and read the nodes of files in IPFS: UnixFS in dag-pb.

A file is cut into leaves of 1 MiB, which are raw blocks. Nodes of at most 1,024 links lie above them, in a
balanced tree: the profile ``unixfs-v1-2025`` of IPIP-0499, so a file has one CID whoever adds it. A file of
one leaf is its leaf.

Nodes are written in the order in which data comes, children before parents, and at most 1,024 links of each
level are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import EnvelopeError
from proofcompute.networks.filecoin.cids import DAG_PB, RAW, Cid, read_varint, varint

__all__ = ["LEAF", "LINKS", "Link", "Node", "Tree"]

LEAF: Final = 1 << 20
"""Bytes of a leaf."""
LINKS: Final = 1024
"""The most links of a node."""
_MAX_LINKS: Final = 1 << 14
"""The most links of a node that others made."""
_FILE: Final = 2
_RAW_TYPE: Final = 0
"""Types of UnixFS that hold a file's bytes."""


@dataclass(frozen=True)
class Link:
    """A link to a part of a file."""

    cid: Cid
    size: int
    """Bytes of the file under it."""
    total: int
    """Bytes of all blocks under it."""


@dataclass(frozen=True)
class Node:
    """A node of a file, as it was read."""

    data: bytes
    """Bytes of the file that the node itself holds; they come before those of its links."""
    links: tuple[Link, ...]

    @property
    def size(self) -> int:
        """Bytes of the file under the node."""
        return len(self.data) + sum(link.size for link in self.links)

    @staticmethod
    def decode(block: bytes) -> Node:
        """Read a node. Raises EnvelopeError unless it is a file's node in canonical dag-pb."""
        links: list[tuple[Cid, int]] = []
        inner: bytes | None = None
        for number, value in _fields(block):
            if number == 2 and inner is None and isinstance(value, bytes):
                links.append(_link(value))
                if len(links) > _MAX_LINKS:
                    raise EnvelopeError(f"a node has more than {_MAX_LINKS} links")
            elif number == 1 and inner is None and isinstance(value, bytes):
                inner = value
            else:
                raise EnvelopeError("a node is not canonical dag-pb: links come first, then data once")
        if inner is None:
            raise EnvelopeError("a node has no data, so it is none of a file")
        kind, size, data = None, None, None
        sizes: list[int] = []
        for number, value in _fields(inner):
            if number == 1 and kind is None and isinstance(value, int):
                kind = value
            elif number == 2 and data is None and isinstance(value, bytes):
                data = value
            elif number == 3 and size is None and isinstance(value, int):
                size = value
            elif number == 4 and isinstance(value, int):
                sizes.append(value)
            elif number not in (7, 8):  # mode and time of change, which say nothing about the bytes
                raise EnvelopeError(f"field {number} of a UnixFS node is not one of a file")
        if kind not in (_FILE, _RAW_TYPE):
            raise EnvelopeError(f"a UnixFS node of type {kind} is none of a file")
        if len(sizes) != len(links) or not all(sizes):
            raise EnvelopeError(f"a node has {len(links)} links and {len(sizes)} sizes, none may be 0")
        parts = tuple(Link(cid, s, total) for (cid, total), s in zip(links, sizes, strict=True))
        found = Node(data or b"", parts)
        if size is not None and size != found.size:
            raise EnvelopeError(f"a node says that it has {size} bytes, and its parts have {found.size}")
        return found


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message that has varints and bytes only."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        number, kind = key >> 3, key & 7
        value, at = read_varint(message, at)
        if kind == 0:
            yield number, value
        elif kind == 2:
            if at + value > len(message):
                raise EnvelopeError("a node ends inside a field")
            yield number, message[at : at + value]
            at += value
        else:
            raise EnvelopeError(f"a node has a field of wire type {kind}")


def _link(message: bytes) -> tuple[Cid, int]:
    cid: Cid | None = None
    total = 0
    before = 0
    for number, value in _fields(message):
        if number <= before:
            raise EnvelopeError("the fields of a link are not in order")
        before = number
        if number == 1 and isinstance(value, bytes):
            cid, end = Cid.read(value, 0)
            if end != len(value):
                raise EnvelopeError("bytes follow the CID of a link")
        elif number == 3 and isinstance(value, int):
            total = value
        elif number != 2:
            raise EnvelopeError(f"a link has a field {number}")
    if cid is None:
        raise EnvelopeError("a link has no CID")
    return cid, total


def _bytes(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _encoded(links: list[Link]) -> bytes:
    """Return the block of a node over links."""
    parts = [
        _bytes(2, _bytes(1, bytes(link.cid)) + _bytes(2, b"") + _number(3, link.total)) for link in links
    ]
    inner = _number(1, _FILE) + _number(3, sum(link.size for link in links))
    inner += b"".join(_number(4, link.size) for link in links)
    return b"".join(parts) + _bytes(1, inner)


class Tree:
    """Builds the tree of a file from its leaves."""

    def __init__(self, links: int = LINKS) -> None:
        """``links`` are those of a full node."""
        self._links = links
        self._levels: list[list[Link]] = [[]]

    def leaf(self, data: bytes | memoryview, cid: Cid | None = None) -> Iterator[tuple[Cid, bytes]]:
        """Append a leaf, and yield the blocks of the nodes that are complete with it, the leaf first.

        ``cid`` is that of the leaf if it is known already.
        """
        known = Cid.of(RAW, data) if cid is None else cid
        yield known, bytes(data)
        yield from self._push(0, Link(known, len(data), len(data)))

    def _push(self, level: int, link: Link) -> Iterator[tuple[Cid, bytes]]:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == self._links:
            yield from self._close(level)
        self._levels[level].append(link)

    def _close(self, level: int) -> Iterator[tuple[Cid, bytes]]:
        """Make the node over the links of a level, and push its own link up."""
        links = self._levels[level]
        block = _encoded(links)
        cid = Cid.of(DAG_PB, block)
        yield cid, block
        made = Link(cid, sum(link.size for link in links), len(block) + sum(link.total for link in links))
        self._levels[level] = []
        yield from self._push(level + 1, made)

    def finish(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield the blocks of the nodes that are left, the root last, unless the root is a leaf."""
        level = 0
        while True:
            top = level == len(self._levels) - 1
            if top and len(self._levels[level]) == 1:
                return
            if self._levels[level]:
                yield from self._close(level)
            level += 1

    @property
    def root(self) -> Link:
        """The link to the root, after :meth:`finish`."""
        return self._levels[-1][0]
