"""wire: vectors, cbor2 as the oracle, hostile input, typed elements."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any, cast

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute import errors
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, InputError, LimitError
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
