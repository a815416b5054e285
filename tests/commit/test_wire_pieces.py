"""Encodings in pieces are the encodings, and long byte strings are not copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.encoding import wire
from proofcompute.encoding.wire import _SMALL
from proofcompute.protocol.messages import GroupOpening, Part, TableOpening

NESTED = st.recursive(
    st.binary(max_size=40) | st.integers(_SMALL - 2, _SMALL + 2).map(bytes),
    lambda inner: st.lists(inner, max_size=30) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=40,
)


@given(NESTED)
def test_pieces_are_the_encoding(value: Any) -> None:
    assert b"".join(wire.pieces(value)) == wire.encode(value)


@pytest.mark.parametrize("n", [0, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_heads_are_the_shortest(n: int) -> None:
    assert wire.head(0, n) == wire.encode(n)


def test_what_is_long_is_not_copied() -> None:
    data = np.arange(3 * _SMALL).astype(np.uint8)
    part = Part(
        (GroupOpening(data.data, (bytes(32),)),),
        ((TableOpening(b"row", (bytes(32),) * 3),),),
        ((data.data, b"set"),),
    )
    pieces = part.pieces()
    assert [p for p in pieces if isinstance(p, memoryview)] == [data.data] * 2
    assert all(np.shares_memory(np.asarray(p), data) for p in pieces if isinstance(p, memoryview))
    groups, tables, hints = part.groups, part.tables, part.hints
    plain = (
        [(bytes(g.rows), g.proof) for g in groups],
        [[(bytes(t.row), t.proof) for t in table] for table in tables],
        [[bytes(x) for x in sets] for sets in hints],
    )
    assert part.encode() == b"".join(pieces) == wire.encode(plain)
