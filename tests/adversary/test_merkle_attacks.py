"""Committed rows, table rows and Merkle proofs that do not belong where they are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adversary.setting import BLOCK_0, BLOCK_1, EMBEDDING, HEAD, KERNELS, ROWS, case, honest, model
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.commitments import hashing, merkle
from proofcompute.errors import Cell
from proofcompute.protocol.trace import group_leaves, group_seal, trace_root


@pytest.mark.parametrize(
    "cell", [Cell(EMBEDDING, 3, 5), Cell(BLOCK_0, 4, 6), Cell(BLOCK_1, 9, 10), Cell(HEAD, 12, 13)]
)
def test_a_flipped_bit_in_any_opened_row_or_digest_is_rejected(cell: Cell) -> None:
    opening = opened(honest(), honest().challenge(cell))
    for index, group in enumerate(opening.parts[0].groups):
        for i in {0, len(group.rows) // 2, len(group.rows) - 1}:
            rows = bytearray(group.rows)
            rows[i] ^= 1
            assert _rejected(cell, opening, index, replace(group, rows=bytes(rows))) == 7
        for i, digest in enumerate(group.proof):
            flipped = (*group.proof[:i], bytes([digest[0] ^ 1]) + digest[1:], *group.proof[i + 1 :])
            assert _rejected(cell, opening, index, replace(group, proof=flipped)) == 7


def _rejected(cell: Cell, opening: Opening, index: int, group: object) -> int:
    groups = list(opening.parts[0].groups)
    groups[index] = group  # type: ignore[call-overload]
    return case(honest(), cell, edit=lambda o: o.with_part(0, groups=tuple(groups))).rejection().step


def test_a_node_is_never_a_leaf() -> None:
    """Two digests side by side, given as the data of a row, do not hash to their node."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (2, 64), np.uint8)
    tag = hashing.tag("sha256", "rows", "x.1")
    leaves = merkle.leaves("sha256", tag, rows, hashing.hash_rows)
    root = merkle.Tree("sha256", leaves, hashing.hash_rows).root
    pair = np.frombuffer(leaves.tobytes(), np.uint8).reshape(1, 64)
    assert merkle.leaves("sha256", tag, pair, hashing.hash_rows).tobytes() != root
    assert merkle.Tree("sha256", leaves[:1], hashing.hash_rows).root != root


@pytest.mark.parametrize("suite", hashing.SUITES)
def test_the_trace_root_binds_names_order_sizes_and_suite(suite: str) -> None:
    program = model().program
    roots = [bytes([i] * 32) for i in range(len(program.committed))]
    seals = [group_seal(program, suite, i, ROWS, r) for i, r in enumerate(roots)]
    base = trace_root(suite, seals)
    longer = [group_seal(program, suite, i, ROWS + (i == 2), r) for i, r in enumerate(roots)]
    exchanged = [roots[1], roots[0], *roots[2:]]
    swapped = [group_seal(program, suite, i, ROWS, r) for i, r in enumerate(exchanged)]
    moved = [seals[1], seals[0], *seals[2:]]
    others = [trace_root(s, seals) for s in hashing.SUITES if s != suite]
    assert (
        len({base, trace_root(suite, longer), trace_root(suite, swapped), trace_root(suite, moved), *others})
        == 6
    )


def test_leaves_of_two_groups_differ_for_equal_rows() -> None:
    program = model().program
    a, b = (program.group_of[n] for n in ("x.1", "x.2"))
    rows = honest().stored.groups[a]
    x, y = (group_leaves(program, "sha256", g, rows, KERNELS.hash_rows) for g in (a, b))
    assert (x != y).any(axis=1).all()
