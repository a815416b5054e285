"""Hash many rows at once with SHA-256 (FIPS 180-4), sixteen in the lanes of a vector.

One compression (:mod:`..codegen.compression`) works on block i of sixteen messages. A message is prefix +
row + padding. Blocks that lie inside the row are read in place; the first and the last blocks are assembled
in a buffer.

The initial state consists of the first 32 fraction bits of the square roots of the first eight primes.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import LANES
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.commitments.hashing import DIGEST

__all__ = ["LANES", "hash_groups", "hash_ranges", "hash_trees"]

_BLOCK: Final = 64
_NODE_BITS: Final = 8 * (1 + 2 * DIGEST)
"""The length in bits of the message of a node: a prefix of one byte and two digests."""
_LENGTH: Final = 8
"""The size in bytes of the length at the end of the padding."""


_STARTS: Final = tuple(np.uint32(isqrt(p << 64) & 0xFFFFFFFF) for p in (2, 3, 5, 7, 11, 13, 17, 19))

_ahead, _compress, _copy, _finish = (
    emitted("compression", name) for name in ("ahead", "compress", "copy", "finish")
)


@helper
def _frame(prefix: Any, length: Any, block: Any, buffer: Any) -> None:
    """Write block ``block`` of the message in all lanes without its row: prefix, padding and zeros."""
    start = block * _BLOCK
    bits = np.uint64(length * 8)
    for lane in range(LANES):
        to = buffer[lane]
        to[:] = 0
        for i in range(start, min(prefix.size, start + _BLOCK)):
            to[i - start] = prefix[i]
        if start <= length < start + _BLOCK:
            to[length - start] = 0x80
        if start + _BLOCK - _LENGTH > length:
            for i in range(_LENGTH):
                to[_BLOCK - 1 - i] = np.uint8(bits >> np.uint64(8 * i))


@kernel(
    types.void(types.int64, types.int64, read(types.uint8, 1), read(types.uint8, 2), write(types.uint8, 2))
)
def hash_groups(a: Any, b: Any, prefix: Any, rows: Any, out: Any) -> None:
    """Write the digests of groups a..b of rows [n, w] into out [n, 32].

    A group has LANES rows; the last one may have fewer.
    """
    n, w = rows.shape
    before = prefix.size
    length = before + w
    blocks = (length + 1 + _LENGTH + _BLOCK - 1) // _BLOCK
    inside_from = (before + _BLOCK - 1) // _BLOCK
    inside_to = max(inside_from, length // _BLOCK)
    inside = inside_to - inside_from
    spare = blocks - inside  # the index of one more buffer, for inner blocks of the last group
    edges = np.empty((spare + 1, LANES, _BLOCK), np.uint8)
    for block in range(blocks):
        if block < inside_from or block >= inside_to:
            _frame(prefix, length, block, edges[block if block < inside_from else block - inside])
    state = np.empty((8, LANES), np.uint32)
    last = np.empty((LANES, DIGEST), np.uint8)
    for group in range(a, b):
        first = group * LANES
        lanes = min(LANES, n - first)
        for i in range(8):
            state[i] = _STARTS[i]
        for block in range(blocks):
            start = block * _BLOCK
            inner = inside_from <= block < inside_to
            if inner and lanes == LANES:
                # The last byte of the next block; after the last one, the first of the next sixteen rows.
                later = start - before + 2 * _BLOCK - 1 if block + 1 < inside_to else LANES * w
                _ahead(rows, first * w + later, w)
                _compress(state, rows, first * w + start - before, w)
                continue
            edge = spare if inner else (block if block < inside_from else block - inside)
            begin = max(start, before)
            count = min(start + _BLOCK, length) - begin
            if count > 0:
                to = edge * LANES * _BLOCK + begin - start
                for lane in range(LANES):
                    row = first + min(lane, lanes - 1)  # the lanes left over repeat the last row
                    _copy(rows, row * w + begin - before, edges, to + lane * _BLOCK, count)
            _compress(state, edges, edge * LANES * _BLOCK, _BLOCK)
        if lanes == LANES:
            _finish(state, out, first * DIGEST)
        else:
            _finish(state, last, 0)
            for lane in range(lanes):
                out[first + lane] = last[lane]


@helper
def _node_edges(prefix: Any) -> Any:
    """Return the messages of nodes [LANES, 2 blocks] without their pairs: the prefix, a byte, and padding."""
    edges = np.zeros((LANES, 2 * _BLOCK), np.uint8)
    for lane in range(LANES):
        edges[lane, 0] = prefix
        edges[lane, 1 + 2 * DIGEST] = 0x80
        edges[lane, 2 * _BLOCK - 2] = _NODE_BITS >> 8
        edges[lane, 2 * _BLOCK - 1] = _NODE_BITS & 0xFF
    return edges


@helper
def _hash_pairs(count: Any, pairs: Any, edges: Any, state: Any, out: Any) -> None:
    """Write the digests of ``count`` pairs of nodes [2 count, 32] into out [count rounded up to LANES, 32].

    ``edges`` are those of :func:`_node_edges`, whose pairs are written over.
    """
    for first in range(0, count, LANES):
        for lane in range(min(LANES, count - first)):  # the digests of other lanes are not used
            _copy(pairs, (first + lane) * 2 * DIGEST, edges, lane * 2 * _BLOCK + 1, 2 * DIGEST)
        for i in range(8):
            state[i] = _STARTS[i]
        _compress(state, edges, 0, 2 * _BLOCK)
        _compress(state, edges, _BLOCK, 2 * _BLOCK)
        _finish(state, out, first * DIGEST)


@kernel(
    types.void(
        types.int64,
        types.int64,
        read(types.int64, 2),
        read(types.uint8, 2),
        read(types.uint8, 2),
        write(types.uint8, 2),
    )
)
def hash_ranges(prefix: Any, size: Any, ranges: Any, leaves: Any, given: Any, roots: Any) -> None:
    """Write the roots [t, 32] of trees with known leaves a..b, one level of all trees at a time.

    prefix is one byte; ranges [t, 2], leaves [n, 32] and given [g, 32] are as in
    :func:`proofcompute.commitments.hashing.hash_ranges`.
    """
    trees = ranges.shape[0]
    low, high, used = np.empty(trees, np.int64), np.empty(trees, np.int64), np.empty(trees, np.int64)
    needed = 0
    for i in range(trees):
        low[i], high[i], used[i] = ranges[i, 0], ranges[i, 1], needed
        a, b, n = low[i], high[i], size
        while n > 1:
            needed += a % 2 + (b % 2 if b < n else 0)
            a, b, n = a // 2, (b + 1) // 2, (n + 1) // 2
    edges = _node_edges(prefix)
    state = np.empty((8, LANES), np.uint32)
    most = leaves.shape[0] + 2 * trees
    nodes, pairs = np.empty((most, DIGEST), np.uint8), np.empty((most, DIGEST), np.uint8)
    above = np.empty((most // 2 + LANES, DIGEST), np.uint8)
    _copy(leaves, 0, nodes, 0, leaves.size)
    while size > 1:
        at, paired = 0, 0
        for i in range(trees):
            count = high[i] - low[i]
            if low[i] % 2:
                pairs[paired] = given[used[i]]
                used[i] += 1
                paired += 1
            _copy(nodes, at * DIGEST, pairs, paired * DIGEST, count * DIGEST)
            at += count
            paired += count
            if high[i] % 2:
                if high[i] < size:
                    pairs[paired] = given[used[i]]
                    used[i] += 1
                    paired += 1
                else:  # the level's lone last node moves up unchanged; it is kept where the root will be
                    paired -= 1
                    roots[i] = pairs[paired]
        _hash_pairs(paired // 2, pairs, edges, state, above)
        at, paired = 0, 0
        for i in range(trees):
            lone = high[i] % 2 == 1 and high[i] == size
            low[i], high[i] = low[i] // 2, (high[i] + 1) // 2
            count = high[i] - low[i] - lone
            _copy(above, paired * DIGEST, nodes, at * DIGEST, count * DIGEST)
            paired += count
            at += count
            if lone:
                nodes[at] = roots[i]
                at += 1
        size = (size + 1) // 2
    _copy(nodes, 0, roots, 0, roots.size)


@kernel(
    types.void(
        types.int64, types.int64, types.int64, read(types.uint8, 3), types.int64, write(types.uint8, 3)
    )
)
def hash_trees(a: Any, b: Any, prefix: Any, leaves: Any, size: Any, nodes: Any) -> None:
    """Write the nodes of trees a..b over their first ``size`` leaves [t, >= size, 32] into nodes [t, m, 32].

    The nodes and their order are those of :func:`proofcompute.commitments.hashing.hash_trees`; prefix is one
    byte. A level of all these trees is hashed together.
    """
    edges = _node_edges(prefix)
    state = np.empty((8, LANES), np.uint32)
    most = (b - a) * (size // 2)
    pairs, above = np.empty((2 * most, DIGEST), np.uint8), np.empty((most + LANES, DIGEST), np.uint8)
    every, given = nodes.shape[1], leaves.shape[1]
    for tree in range(a, b):
        _copy(leaves, tree * given * DIGEST, nodes, tree * every * DIGEST, size * DIGEST)
    start, n = 0, size
    while n > 1:
        half = n // 2
        for i in range(b - a):
            source = ((a + i) * every + start) * DIGEST
            _copy(nodes, source, pairs, i * 2 * half * DIGEST, 2 * half * DIGEST)
        _hash_pairs((b - a) * half, pairs, edges, state, above)
        for i in range(b - a):
            level = (a + i) * every + start
            _copy(above, i * half * DIGEST, nodes, (level + n) * DIGEST, half * DIGEST)
            if n % 2:  # a lone last node moves up unchanged
                _copy(nodes, (level + n - 1) * DIGEST, nodes, (level + n + half) * DIGEST, DIGEST)
        start, n = start + n, half + n % 2
