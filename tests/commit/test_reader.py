"""reader: right and wrong shapes, and what decoding refuses too."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from proofcompute.encoding import wire
from proofcompute.encoding.reader import Reader
from proofcompute.errors import FormatError, InputError, LimitError

LIMIT = 1 << 20
SHAPE: tuple[Any, ...] = ((b"rows", (bytes([1]) * 32, bytes([2]) * 32)), (b"", bytes(300)), ())


def read_shape(data: bytes) -> Any:
    reader = Reader(data, limit=LIMIT, what="the thing")
    reader.array(3, "top")
    reader.array(2, "first")
    first = bytes(reader.view("rows", 4)), reader.digests(2, "proof")
    second = tuple(bytes(reader.view("some")) for _ in range(reader.array_of_some(3, "second")))
    reader.array(0, "third")
    reader.end()
    return first, second, ()


def test_a_reader_reads_what_was_written() -> None:
    assert read_shape(wire.encode(SHAPE)) == SHAPE
    for n in (0, 1, 2, 23, 24, 300):
        digests = tuple(bytes([i % 251]) * 32 for i in range(n))
        reader = Reader(wire.encode(digests), limit=LIMIT, what="the thing")
        assert reader.digests(n, "proof") == digests
        reader.end()


@pytest.mark.parametrize(
    "value",
    [
        SHAPE[:2],
        (*SHAPE, ()),
        (SHAPE[0], SHAPE[1], (b"",)),
        ((b"row", SHAPE[0][1]), *SHAPE[1:]),
        ((b"rowss", SHAPE[0][1]), *SHAPE[1:]),
        (("rows", SHAPE[0][1]), *SHAPE[1:]),
        ((4, SHAPE[0][1]), *SHAPE[1:]),
        ((b"rows", SHAPE[0][1][:1]), *SHAPE[1:]),
        ((b"rows", (*SHAPE[0][1], bytes(32))), *SHAPE[1:]),
        ((b"rows", (bytes(32), bytes(31))), *SHAPE[1:]),
        ((b"rows", (bytes(33), bytes(31))), *SHAPE[1:]),
        ((b"rows", (bytes(32), "2" * 32)), *SHAPE[1:]),
        ((b"rows", b""), *SHAPE[1:]),
        ((SHAPE[0][1], b"rows"), *SHAPE[1:]),
        (SHAPE[0], (b"", 3), ()),
        (SHAPE[0], b"", ()),
        b"",
        0,
    ],
    ids=repr,
)
def test_a_reader_refuses_another_shape(value: Any) -> None:
    with pytest.raises(FormatError):
        read_shape(wire.encode(value))


def test_a_reader_takes_no_more_than_it_may() -> None:
    with pytest.raises(LimitError):
        read_shape(wire.encode((SHAPE[0], (b"",) * 4, ())))
    with pytest.raises(LimitError):
        Reader(bytes(5), limit=4, what="the thing")


def test_a_reader_refuses_what_decoding_refuses() -> None:
    """One byte changed, left out or added anywhere: if it is read at all, it encodes the value read."""
    good = wire.encode(SHAPE)
    heads = [i for i in range(len(good)) if i < 90 or i > len(good) - 4]
    changed = [good[:i] + bytes([x]) + good[i + 1 :] for i in heads for x in range(256)]
    cut = [good[:i] for i in range(len(good))] + [good[:i] + good[i + 1 :] for i in heads]
    longer = [good[:i] + bytes([x]) + good[i:] for i in (*heads, len(good)) for x in (0, 0x40, 0x58, 0x80)]
    read = 0
    for data in (*changed, *cut, *longer):
        try:
            value = read_shape(data)
        except InputError:
            continue
        assert wire.encode(value) == data
        read += 1
    assert read > 60 * 255


@pytest.mark.parametrize("n", [1 << 30, 1 << 40, (1 << 64) - 1])
def test_a_reader_makes_nothing_for_what_is_announced(n: int) -> None:
    for major in (2, 4):
        head = bytes([major << 5 | 27]) + n.to_bytes(8, "big")
        makes: list[Callable[[Reader], object]] = [
            lambda r: r.view("x"),
            lambda r: r.digests(3, "x"),
            lambda r: r.array_of_some(3, "x"),
        ]
        for make in makes:
            tracemalloc.start()
            with pytest.raises(InputError):
                make(Reader(head + bytes(100), limit=LIMIT, what="the thing"))
            assert tracemalloc.get_traced_memory()[1] < 1 << 16
            tracemalloc.stop()


@pytest.mark.parametrize("head", ["5804", "590004", "5a00000004", "5b0000000000000004", "5f", "5c", "5d"])
def test_a_reader_takes_shortest_heads_only(head: str) -> None:
    with pytest.raises(FormatError):
        Reader(bytes.fromhex(head) + bytes(4), limit=LIMIT, what="the thing").view("x")
