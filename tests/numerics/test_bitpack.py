"""Packed integers: round trips, the layout, and what unpacking refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arithmetic.definition.bitpack import pack, packed_size, unpack
from proofcompute.errors import FormatError, InputError


@given(st.integers(1, 32), st.data())
def test_round_trip(bits: int, data: st.DataObject) -> None:
    bound = 1 << (bits - 1)
    values = data.draw(st.lists(st.integers(-bound, bound - 1), max_size=30))
    packed = pack(np.array(values, dtype=np.int32), bits)
    assert len(packed) == packed_size(bits, len(values))
    stream = sum((v % (1 << bits)) << (bits * i) for i, v in enumerate(values))
    assert packed == stream.to_bytes(len(packed), "little")
    found = unpack(packed, bits, len(values))
    assert found.tolist() == values
    assert found.dtype == np.int32


@pytest.mark.parametrize("bits", [1, 5, 17, 31, 32])
def test_blocks_meet(bits: int) -> None:
    bound = 1 << (bits - 1)
    values = np.random.default_rng(bits).integers(-bound, bound, 2 * 65536 + 3).astype(np.int32)
    packed = pack(values, bits)
    assert np.array_equal(unpack(packed, bits, values.size), values)
    assert packed[65536 * bits // 8 :] == pack(values[65536:], bits)


def test_refusals() -> None:
    for bits, count in ((0, 1), (33, 1), (8, -1)):
        with pytest.raises(InputError):
            unpack(b"", bits, count)
    with pytest.raises(InputError):
        pack(np.array([128], dtype=np.int32), 8)
    for data in (b"", b"\x00\x00", b"\x08", b"\x80"):
        with pytest.raises(FormatError):
            unpack(data, 3, 1)
    # a claim of more than there is allocates nothing
    with pytest.raises(FormatError):
        unpack(b"\x00", 32, 10**15)
