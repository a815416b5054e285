"""Vectors of wire: deterministic CBOR, from RFC 8949."""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH, MAX_ITEMS = 16, 1 << 20
Json = Any


def head(major: int, n: int) -> bytes:
    for extra, bound in enumerate((24, 1 << 8, 1 << 16, 1 << 32, 1 << 64)):
        if n < bound:
            if extra == 0:
                return bytes([major << 5 | n])
            return bytes([major << 5 | 23 + extra]) + n.to_bytes(1 << (extra - 1), "big")
    raise ValueError(n)


def cbor(value: Any) -> bytes:
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(cbor(v) for v in value)


def typed(value: Any) -> Json:
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, str):
        return ["text", value]
    return ["array", [typed(v) for v in value]]


def wire() -> Json:
    edges = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    values: list[Any] = [*edges, *(-1 - n for n in edges)]
    values += [b"", b"\0", bytes(23), bytes(24), bytes(256), "", "a", "\0", "é€😀", "x" * 24, "é" * 128]
    values += [[], [[]], [1, [2, [b"3", "4"]], -5], list(range(30)), ["", b"", []]]
    valid = [{"hex": cbor(v).hex(), "value": typed(v)} for v in values]
    deepest: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        deepest = [deepest]
    valid.append({"hex": "81" * (MAX_DEPTH - 1) + "80", "value": typed(deepest)})
    f32 = [0.0, -0.0, 1.0, -1.5, 0.1, 2.0**-149, 2.0**-126, 2.0**128 - 2.0**104, float("inf"), -float("inf")]
    return {
        "valid": valid,
        "invalid": invalid(),
        "invalid_frames": invalid_frames(),
        "f32": [[x.hex(), struct.unpack("<I", struct.pack("<f", x))[0]] for x in f32],
    }


def bad(name: str, *parts: str | tuple[str, int], error: str = "FormatError", limit: int = 1 << 26) -> Json:
    """An encoding to refuse: pieces of hexadecimal, each with how often it is repeated."""
    pieces = [[p, 1] if isinstance(p, str) else list(p) for p in parts]
    return {"name": name, "pieces": pieces, "error": error, "limit": limit}


def invalid() -> Json:
    cases = [bad("empty input"), bad("trailing byte", "0000"), bad("trailing item after array", "8000")]
    for major, kind in enumerate(("unsigned", "negative", "bytes", "text", "array")):
        top = major << 5
        payload = {0: "", 1: "", 2: "61", 3: "61", 4: "00"}[major]
        for argument, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            least = (24, 1 << 8, 1 << 16, 1 << 32)[argument - 24]
            code = f"{top | argument:02x}"
            if major < 2:
                long = (least - 1).to_bytes(size, "big").hex()
                cases.append(bad(f"{kind}: greatest value of a shorter head in {size} bytes", code + long))
            one = (1).to_bytes(size, "big").hex()
            cases.append(bad(f"{kind}: non-shortest head of {size} bytes", code + one + payload))
            cases.append(bad(f"{kind}: head of {size} bytes cut short", code + "ff" * (size - 1)))
        for argument in (28, 29, 30):
            cases.append(bad(f"{kind}: reserved argument {argument}", f"{top | argument:02x}" + payload))
            much = bad(
                f"{kind}: reserved argument {argument}, much data", f"{top | argument:02x}", ("ff", 256)
            )
            cases.append(much)
        cases.append(bad(f"{kind}: indefinite length", f"{top | 31:02x}" + payload + "ff"))
    for name, code in (
        ("empty map", "a0"), ("map", "a10102"), ("indefinite map", "bfff"), ("tag", "c000"),
        ("bignum", "c24101"), ("self-described CBOR tag", "d9d9f700"), ("false", "f4"), ("true", "f5"),
        ("null", "f6"), ("undefined", "f7"), ("simple value", "f820"), ("half float", "f93c00"),
        ("float", "fa3f800000"), ("double", "fb3ff0000000000000"), ("break", "ff"),
    ):  # fmt: skip
        cases += [bad(name, code), bad(f"{name} in an array", "81" + code)]
    for kind, major in (("bytes", 2), ("text", 3)):
        cases += [
            bad(f"{kind}: one byte short", head(major, 3).hex() + "6161"),
            bad(f"{kind}: length bomb", head(major, 2**64 - 1).hex()),
            bad(f"{kind}: length bomb of 2^63", head(major, 2**63).hex() + "61"),
            bad(f"{kind}: length runs past the enclosing data", "82" + head(major, 9).hex() + "616100"),
        ]
    cases += [
        bad("array: one element short", "8201"),
        bad("array: one element more than announced", "810101"),
        bad("array: inner array takes the outer's elements", "82820102"),
        bad("array: length bomb", "9bffffffffffffffff"),
        bad("array: length bomb with some data", "9a7fffffff", ("00", 1000)),
        bad("array: more elements than MAX_ITEMS", head(4, MAX_ITEMS + 1).hex(), ("00", MAX_ITEMS + 1),
            error="LimitError"),
        bad("array: MAX_ITEMS exceeded by nested arrays", "82", head(4, MAX_ITEMS // 2).hex(),
            ("00", MAX_ITEMS // 2), head(4, MAX_ITEMS // 2).hex(), ("00", MAX_ITEMS // 2),
            error="LimitError"),
        bad("depth one above the limit", ("81", MAX_DEPTH), "80", error="LimitError"),
        bad("depth bomb", ("81", 1_000_000), "80", error="LimitError"),
        bad("depth bomb without an end", ("81", 1_000_000), error="LimitError"),
        bad("one byte above the limit", "420000", error="LimitError", limit=2),
        bad("above the limit and invalid: limit first", "ff", ("ff", 9), error="LimitError", limit=9),
    ]  # fmt: skip
    for name, utf8 in (
        ("lone continuation byte", "80"), ("overlong slash", "c0af"), ("overlong NUL", "c080"),
        ("surrogate", "eda080"), ("surrogate pair", "eda0bdedb880"), ("above U+10FFFF", "f4908080"),
        ("cut inside a character", "e282"), ("latin-1", "e9"), ("byte 0xff", "ff"),
        ("five-byte form", "f888808080"),
    ):  # fmt: skip
        cases.append(bad(f"invalid UTF-8: {name}", head(3, len(utf8) // 2).hex() + utf8))
    return cases


def invalid_frames() -> Json:
    return [
        bad("an unsigned integer", "05"), bad("a text string", "6161"), bad("an array", "80"),
        bad("null", "f6"),
        bad("indefinite length", "5f4161ff"), bad("reserved argument", "5c61"),
        bad("reserved argument, much data", "5c", ("00", 256)),
        bad("non-shortest head of 1 byte", "580161"), bad("non-shortest head of 2 bytes", "59000161"),
        bad("non-shortest head of 4 bytes", "5a0000000161"),
        bad("non-shortest head of 8 bytes", "5b000000000000000161"),
        bad("head cut short", "5900"), bad("payload missing", "41"), bad("payload one byte short", "436161"),
        bad("length bomb", "5bffffffffffffffff", error="LimitError"),
        bad("length just above the limit, no payload", "5903e9", error="LimitError", limit=1000),
        bad("length at the limit, no payload", "5903e8", limit=1000),
    ]  # fmt: skip
