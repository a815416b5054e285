"""wire: vectors, cbor2 as the oracle, hostile input, frames, typed elements."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO, cast

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute import errors
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, InputError, LimitError, StorageError
from proofcompute.limits import MAX_DEPTH, MAX_ITEMS, MIB

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())
LIMIT = 1 << 26


def untyped(item: Any) -> Any:
    kind, content = item
    if kind == "array":
        return tuple(untyped(v) for v in content)
    readers: dict[str, Any] = {"int": int, "bytes": bytes.fromhex, "text": str}
    return readers[kind](content)


def assembled(case: Any) -> bytes:
    return b"".join(bytes.fromhex(piece) * count for piece, count in case["pieces"])


def as_tuples(value: Any) -> Any:
    return tuple(as_tuples(v) for v in value) if isinstance(value, list) else value


values = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=25,
)


# -- vectors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda c: c["hex"][:24] or "empty")
def test_valid_vectors_both_ways(case: Any) -> None:
    data, value = bytes.fromhex(case["hex"]), untyped(case["value"])
    assert wire.decode(data, limit=len(data), what="x") == value
    assert wire.encode(value) == data


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda c: c["name"])
def test_invalid_vectors_are_refused(case: Any) -> None:
    with pytest.raises(getattr(errors, case["error"]), match=r"^the thing: "):
        wire.decode(assembled(case), limit=case["limit"], what="the thing")


@pytest.mark.parametrize("case", VECTORS["invalid_frames"], ids=lambda c: c["name"])
def test_invalid_frames_are_refused(case: Any) -> None:
    with pytest.raises(getattr(errors, case["error"]), match=r"^the thing: "):
        wire.read_frame(io.BytesIO(assembled(case)), limit=case["limit"], what="the thing")


@pytest.mark.parametrize(
    "case", [c for c in VECTORS["invalid"] if c["name"].endswith("cut short")], ids=lambda c: c["name"]
)
def test_a_head_that_is_cut_is_called_so(case: Any) -> None:
    with pytest.raises(FormatError, match="ends inside a head"):
        wire.decode(assembled(case), limit=9, what="x")


def test_vectors_are_mostly_negative() -> None:
    names = [case["name"] for case in VECTORS["invalid"]]
    assert len(set(names)) == len(names) > 3 * len(VECTORS["valid"])


# -- against cbor2 ---------------------------------------------------------------------------------------
@given(values)
def test_round_trip_agrees_with_cbor2(value: Any) -> None:
    data = wire.encode(value)
    assert data == cbor2.dumps(value, canonical=True)
    decoded = wire.decode(data, limit=len(data), what="x")
    assert decoded == as_tuples(value) == as_tuples(cbor2.loads(data))
    assert wire.encode(cast(Any, decoded)) == data


@given(st.binary(max_size=24))
def test_whatever_is_accepted_is_the_one_encoding(data: bytes) -> None:
    try:
        value = wire.decode(data, limit=LIMIT, what="x")
    except InputError:
        return
    assert wire.encode(cast(Any, value)) == data == cbor2.dumps(value, canonical=True)


@given(values, st.data())
def test_no_mutation_is_a_second_encoding(value: Any, data: st.DataObject) -> None:
    right = wire.encode(value)
    at = data.draw(st.integers(0, len(right) - 1))
    wrong = bytearray(right)
    wrong[at] ^= data.draw(st.integers(1, 255))
    for mutant in (bytes(wrong), right[:at], right[:at] + right[at + 1 :], right + right[at:]):
        try:
            other = wire.decode(mutant, limit=LIMIT, what="x")
        except InputError:
            continue
        assert other != as_tuples(value)
        assert wire.encode(cast(Any, other)) == mutant


def test_every_head_of_two_bytes() -> None:
    for first in range(256):
        for second in range(256):
            data = bytes([first, second])
            try:
                value = wire.decode(data, limit=2, what="x")
            except InputError:
                continue
            assert cbor2.dumps(value, canonical=True) == data


# -- encode ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [
        True, False, None, 0.0, {}, {1: 2}, {1}, 2**64, -(2**64) - 1, bytearray(b"x"), memoryview(b"x"),
        "\ud800", np.int64(1), np.float32(1), np.bool_(True), np.zeros(2), object(), range(3),
        b"x".join, Ellipsis,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_encode_refuses(value: Any) -> None:
    for v in (value, [value], (1, [value])):
        with pytest.raises(FormatError):
            wire.encode(v)


def test_encode_keeps_the_limits_of_decode() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert wire.decode(wire.encode(deep), limit=100, what="x") == as_tuples(deep)
    endless: list[Any] = []
    endless.append(endless)
    for bad in ([deep], endless, [0] * (MAX_ITEMS + 1), [[0] * (MAX_ITEMS // 2)] * 3):
        with pytest.raises(LimitError):
            wire.encode(bad)


def test_named_tuples_are_arrays() -> None:
    assert wire.encode(Cell(1, 2, 3)) == bytes.fromhex("83010203")


# -- decode ----------------------------------------------------------------------------------------------
def test_decode_takes_any_bytes_and_a_limit_exactly() -> None:
    data = wire.encode([1, b"abc", "é", [-1]])
    for form in (data, bytearray(data), memoryview(data)):
        value = wire.decode(form, limit=len(data), what="x")
        assert value == (1, b"abc", "é", (-1,))
        assert [type(v) for v in cast(Any, value)] == [int, bytes, str, tuple]
    with pytest.raises(LimitError):
        wire.decode(data, limit=len(data) - 1, what="x")


def test_as_many_items_as_allowed() -> None:
    data = wire.encode([0] * MAX_ITEMS)
    assert wire.decode(data, limit=2 * MAX_ITEMS, what="x") == (0,) * MAX_ITEMS


@pytest.mark.parametrize(
    "case", [c for c in VECTORS["invalid"] if "bomb" in c["name"]], ids=lambda c: c["name"]
)
def test_bombs_allocate_nothing(case: Any) -> None:
    data = assembled(case)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            wire.decode(data, limit=LIMIT, what="x")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_byte_strings_are_copied_once() -> None:
    data = wire.encode([bytes(16 * MIB)])
    tracemalloc.start()
    try:
        wire.decode(data, limit=len(data), what="x")
        assert tracemalloc.get_traced_memory()[1] < 17 * MIB
    finally:
        tracemalloc.stop()


# -- frames ----------------------------------------------------------------------------------------------
class Trickle:
    """A stream that gives one byte at a time, and has nothing but ``read``."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.inner.read(min(size, 1))


class Drip(Trickle):
    """The same with ``readinto``."""

    def readinto(self, target: memoryview) -> int:
        return self.inner.readinto(target[:1])


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536, MIB, MIB + 1])
def test_frames_round_trip(size: int) -> None:
    payload = bytes(range(251)) * (size // 251 + 1)
    payload = payload[:size]
    stream = io.BytesIO()
    wire.write_frame(stream, payload)
    wire.write_frame(stream, memoryview(b"second"))
    assert stream.getvalue() == wire.encode(payload) + wire.encode(b"second")
    stream.seek(0)
    assert wire.read_frame(stream, limit=size, what="x") == payload
    assert wire.read_frame(stream, limit=6, what="x") == b"second"
    assert wire.read_frame(stream, limit=6, what="x") is None


@pytest.mark.parametrize("kind", [Trickle, Drip])
def test_frames_from_a_slow_stream(kind: type[Trickle]) -> None:
    payload = bytes(range(250)) * 2
    stream = cast(BinaryIO, kind(wire.encode(payload)))
    assert wire.read_frame(stream, limit=500, what="x") == payload
    assert wire.read_frame(stream, limit=500, what="x") is None
    with pytest.raises(FormatError):
        wire.read_frame(cast(BinaryIO, kind(wire.encode(payload)[:-1])), limit=500, what="x")


def test_a_reader_of_frames_reuses_its_buffer() -> None:
    """Frames of all sizes, growing and shrinking; the buffer is as large as the largest, not as their sum."""
    sizes = [0, 5, 3 * MIB, 1, MIB + 1, 2 * MIB, 7]
    data = b"".join(wire.encode(bytes([i]) * size) for i, size in enumerate(sizes))
    reader = wire.FrameReader(cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))))
    tracemalloc.start()
    try:
        for i, size in enumerate(sizes):
            frame = reader.read(limit=4 * MIB, what="x")
            assert frame is not None
            assert frame.readonly
            assert frame.nbytes == size
            assert frame[:3] == bytes([i]) * min(size, 3) == frame[-3:]
        assert tracemalloc.get_traced_memory()[1] < 6 * MIB
    finally:
        tracemalloc.stop()
    assert reader.ended()
    assert reader.count == len(data)


def test_frames_hold_until_as_many_more_were_read_as_are_kept() -> None:
    sizes = [3, 300_000, 0, 1, 300_001, 2]
    data = b"".join(wire.encode(bytes([i]) * size) for i, size in enumerate(sizes))
    reader = wire.FrameReader(cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))), kept=3)
    held: list[memoryview] = []
    for i in range(len(sizes)):
        frame = reader.read(limit=MIB, what="x")
        assert frame is not None
        held = [*held[-2:], frame]
        for j, older in enumerate(held, i - len(held) + 1):
            assert older == bytes([j]) * sizes[j]


def test_frames_of_a_stream_in_memory_are_not_copied() -> None:
    data = b"".join(wire.encode(bytes([i]) * 3 * MIB) for i in range(4))
    stream = io.BytesIO(data)
    reader = wire.FrameReader(stream)
    tracemalloc.start()
    try:
        frames = [reader.read(limit=3 * MIB, what="x") for _ in range(4)]
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    assert reader.ended()
    assert reader.count == stream.tell() == len(data)
    stream.seek(0)
    stream.write(bytes(10))  # neither held back by the views nor seen through them
    stream.close()
    for i, frame in enumerate(frames):
        assert frame is not None
        assert frame.readonly
        assert frame == bytes([i]) * 3 * MIB


def test_a_stream_in_memory_that_ends_inside_a_frame() -> None:
    data = wire.encode(bytes(1000))
    for end in range(1, len(data)):
        with pytest.raises(FormatError, match="ends inside"):
            wire.FrameReader(io.BytesIO(data[:end])).read(limit=1000, what="x")


def test_a_frame_above_the_limit_is_not_read() -> None:
    stream = io.BytesIO(wire.encode(bytes(1001)))
    with pytest.raises(LimitError):
        wire.read_frame(stream, limit=1000, what="x")
    assert stream.tell() == 3


def test_a_frame_that_is_not_there_allocates_nothing() -> None:
    head = b"\x5a" + struct.pack(">I", 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            wire.read_frame(io.BytesIO(head), limit=1 << 30, what="x")
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_frame_written_in_part_is_an_error() -> None:
    class Half(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[: len(data) // 2])

    with pytest.raises(StorageError):
        wire.write_frame(Half(), b"abcdefgh")


# -- typed elements --------------------------------------------------------------------------------------
def test_typed_elements_pass() -> None:
    assert wire.as_int(-3, "x", -3, 5) == -3
    assert wire.as_int(5, "x", -3, 5) == 5
    assert wire.as_bytes(b"ab", "x", size=2) == b"ab"
    assert wire.as_bytes(b"ab", "x", max_size=2) == b"ab"
    assert wire.as_str("é", "x", 2) == "é"
    assert wire.as_list((1, b""), "x", n=2) == (1, b"")
    assert wire.as_list((), "x", max_n=0) == ()
    assert wire.as_f32(0x3FC00000, "x") == np.float32(1.5)


WRONG: list[tuple[Any, type[InputError]]] = [
    *(((wire.as_int, v, 0, 9), FormatError) for v in (-1, 10, True, "1", b"1", (1,), None, 1.0, np.int64(1))),
    *(((wire.as_bytes, v, 2), FormatError) for v in (b"a", b"abc", "ab", 1, (), bytearray(b"ab"), None)),
    ((wire.as_bytes, b"abc", None, 2), LimitError),
    *(((wire.as_str, v, 9), FormatError) for v in (b"a", 1, (), None, "\ud800")),
    *(((wire.as_str, v, 2), LimitError) for v in ("abc", "éa", "€")),
    *(((wire.as_list, v, 2), FormatError) for v in ((), (1,), (1, 2, 3), [1, 2], "ab", b"ab", 2, None)),
    ((wire.as_list, Cell(1, 2, 3), 3), FormatError),
    ((wire.as_list, (1, 2, 3), None, 2), LimitError),
    *(
        ((wire.as_f32, v), FormatError)
        for v in (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, -1, 1 << 32, b"", True)
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error"), WRONG, ids=[f"{c[0].__name__}-{c[1:]!a}" for c, _ in WRONG])
def test_typed_elements_refuse(call: Any, error: type[InputError]) -> None:
    function, value, *arguments = call
    with pytest.raises(error, match=r"^the field: "):
        function(value, "the field", *arguments)


# -- floats ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("text", "bits"), VECTORS["f32"])
def test_f32_vectors(text: str, bits: int) -> None:
    assert wire.f32_bits(float.fromhex(text)) == bits
    assert struct.pack("<f", wire.f32_from_bits(bits)) == struct.pack("<I", bits)


@given(st.integers(0, 2**32 - 1))
def test_f32_bits_round_trip(bits: int) -> None:
    x = wire.f32_from_bits(bits)
    assert type(x) is np.float32
    assert wire.f32_bits(x) == bits


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_f32_bits_of_a_python_float_rounds_as_struct_does(x: float) -> None:
    try:
        wanted = struct.unpack("<I", struct.pack("<f", x))[0]
    except OverflowError:
        wanted = 0x7F800000 if x > 0 else 0xFF800000
    assert wire.f32_bits(x) == wanted


@pytest.mark.parametrize("bits", [-1, 1 << 32, True, 1.0, None])
def test_f32_from_bits_refuses(bits: Any) -> None:
    with pytest.raises(FormatError):
        wire.f32_from_bits(bits)
