"""Frames: vectors, slow and short streams, limits, and that nothing is copied or made without need."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from proofcompute import errors
from proofcompute.encoding import wire
from proofcompute.encoding.frames import FrameReader, read_frame, write_frame
from proofcompute.errors import FormatError, LimitError, StorageError
from proofcompute.limits import MIB

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())


def assembled(case: Any) -> bytes:
    return b"".join(bytes.fromhex(piece) * count for piece, count in case["pieces"])


@pytest.mark.parametrize("case", VECTORS["invalid_frames"], ids=lambda c: c["name"])
def test_invalid_frames_are_refused(case: Any) -> None:
    with pytest.raises(getattr(errors, case["error"]), match=r"^the thing: "):
        read_frame(io.BytesIO(assembled(case)), limit=case["limit"], what="the thing")


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
    write_frame(stream, payload)
    write_frame(stream, memoryview(b"second"))
    assert stream.getvalue() == wire.encode(payload) + wire.encode(b"second")
    stream.seek(0)
    assert read_frame(stream, limit=size, what="x") == payload
    assert read_frame(stream, limit=6, what="x") == b"second"
    assert read_frame(stream, limit=6, what="x") is None


@pytest.mark.parametrize("kind", [Trickle, Drip])
def test_frames_from_a_slow_stream(kind: type[Trickle]) -> None:
    payload = bytes(range(250)) * 2
    stream = cast(BinaryIO, kind(wire.encode(payload)))
    assert read_frame(stream, limit=500, what="x") == payload
    assert read_frame(stream, limit=500, what="x") is None
    with pytest.raises(FormatError):
        read_frame(cast(BinaryIO, kind(wire.encode(payload)[:-1])), limit=500, what="x")


def test_a_reader_of_frames_reuses_its_buffer() -> None:
    """Frames of all sizes, growing and shrinking; the buffer is as large as the largest, not as their sum."""
    sizes = [0, 5, 3 * MIB, 1, MIB + 1, 2 * MIB, 7]
    data = b"".join(wire.encode(bytes([i]) * size) for i, size in enumerate(sizes))
    reader = FrameReader(cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))))
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
    reader = FrameReader(cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))), kept=3)
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
    reader = FrameReader(stream)
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
            FrameReader(io.BytesIO(data[:end])).read(limit=1000, what="x")


def test_a_frame_above_the_limit_is_not_read() -> None:
    stream = io.BytesIO(wire.encode(bytes(1001)))
    with pytest.raises(LimitError):
        read_frame(stream, limit=1000, what="x")
    assert stream.tell() == 3


def test_a_frame_that_is_not_there_allocates_nothing() -> None:
    head = b"\x5a" + struct.pack(">I", 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_frame(io.BytesIO(head), limit=1 << 30, what="x")
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_frame_written_in_part_is_an_error() -> None:
    class Half(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[: len(data) // 2])

    with pytest.raises(StorageError):
        write_frame(Half(), b"abcdefgh")
