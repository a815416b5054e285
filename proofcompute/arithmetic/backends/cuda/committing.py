"""Launches the hashing of rows, where they lie, and of the trees over their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, side_by_side
from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.commitments.hashing import DIGEST
from proofcompute.errors import InputError, LimitError

__all__ = ["hash_groups", "hash_rows", "hash_trees"]

_CHUNK: Final = 1024
"""Bytes of a BLAKE3 chunk."""
_PARTS: Final = 4
"""Most parts of a row that a kernel reads where they lie."""
_SLOTS: Final = 32
"""Most parts of all groups of a launch together (``cuda/message.cuh``)."""
_LONGEST: Final = (1 << 31) - 1
_GRID_Y: Final = 65535
_SPAN, _LEVELS = 512, 9
"""Nodes that a block of a ``*_trees`` kernel reads, and levels that it computes (``cuda/trees.cuh``)."""


def hash_rows(on: Launcher, suite: str, prefix: bytes, rows: DeviceArray) -> DeviceArray:
    """Return the digests of prefix + row, uint8 [n, 32], for rows uint8 [n, w]; the suite must be known."""
    return hash_groups(on, suite, prefix, [b""], [[rows]], None, 0).reshape(len(rows), DIGEST)


def _heads(on: Launcher, prefix: bytes, tags: Sequence[bytes]) -> Buffer:
    """Return the prefixes and tags of all groups, each at a multiple of four bytes."""
    fronts = [prefix + tag for tag in tags]
    spare = bytes(-len(fronts[0]) % 4)
    return on.constant(np.frombuffer(b"".join(front + spare for front in fronts), dtype=np.uint8))


def hash_groups(
    on: Launcher,
    suite: str,
    prefix: bytes,
    tags: Sequence[bytes],
    groups: Sequence[Sequence[Given]],
    out: DeviceArray | None,
    row: int,
) -> DeviceArray:
    """Write digests of prefix + tag + row into ``out``, uint8 [g, capacity, 32], from row ``row`` on.

    ``out`` is allocated if it is None. Suite and shapes must be right. One launch serves as many groups as
    have ``_SLOTS`` parts together. A row of more than ``_PARTS`` parts is copied first.
    """
    count, n, front = len(groups), len(groups[0][0]), len(prefix) + len(tags[0])
    if out is None:
        out, row = on.new(np.uint8, count, n, DIGEST), 0
    arrays = [[on.array(part) for part in group] for group in groups]
    if len(arrays[0]) > _PARTS:
        arrays = [[side_by_side(on, parts)] for parts in arrays]
    parts = len(arrays[0])
    widths = [part.row_bytes for part in arrays[0]]
    size = front + sum(widths)
    if size > _LONGEST:
        raise LimitError(f"a row of {size} bytes to hash; at most {_LONGEST}")
    pitch = out.shape[1] * DIGEST
    sizes = (i32(front), i32(parts), *map(i32, widths + [0] * (_PARTS - parts)))
    launches = -(-count * parts // _SLOTS) if n else 0
    for i in range(launches):
        a, b = i * count // launches, (i + 1) * count // launches
        where: list[Argument] = [part.buffer for group in arrays[a:b] for part in group]
        where += [None] * (_SLOTS - len(where))
        heads = _heads(on, prefix, tags[a:b])
        to = out.buffer.part(a * pitch + row * DIGEST, (b - a - 1) * pitch + n * DIGEST)
        if suite == "blake3":
            chunks = max(1, -(-size // _CHUNK))
            values = on.new(np.uint32, b - a, n, chunks, 8)
            on.few("blake3_chunks", n * chunks, b - a, heads, *sizes, i64(n), i64(chunks), values, *where)
            on.few("blake3_parents", n, b - a, values, i64(n), i64(chunks), to, i64(pitch))
        else:
            on.few(f"{suite}_rows", n, b - a, heads, *sizes, i64(n), to, i64(pitch), *where)
    return out


def hash_trees(on: Launcher, suite: str, prefix: bytes, leaves: DeviceArray, size: int) -> DeviceArray:
    """Return all nodes, uint8 [t, m, 32], of trees over the first ``size`` leaves of uint8 [t, capacity, 32].

    One launch computes nine levels of all trees.
    """
    trees, capacity, _ = leaves.shape
    if len(prefix) != 1:
        raise InputError(f"the prefix of a node is one byte, not {len(prefix)}")
    if trees > _GRID_Y:
        raise LimitError(f"{trees} trees at a time; at most {_GRID_Y}")
    levels = [size]
    while levels[-1] > 1:
        levels.append((levels[-1] + 1) // 2)
    out = on.new(np.uint8, trees, sum(levels), DIGEST)
    pitch = sum(levels) * DIGEST
    mark = np.uint32(prefix[0])
    for level in range(0, max(1, len(levels) - 1), _LEVELS):
        before = DIGEST * sum(levels[:level])
        n, to = levels[level], before + DIGEST * levels[level] if level else 0
        source, source_pitch = leaves.buffer, capacity * DIGEST
        if level:
            source, source_pitch = out.buffer.part(before, out.nbytes - before), pitch
        target = out.buffer.part(to, out.nbytes - to)
        given = (source, i64(source_pitch), i64(n), i32(level == 0), mark)
        on.blocks(f"{suite}_trees", (-(-n // _SPAN), trees), *given, target, i64(pitch))
    return out
