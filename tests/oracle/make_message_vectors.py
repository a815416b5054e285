"""Makes ``messages.json``: requests, receipts, challenges and opening heads, right and wrong, by hand.

Imports nothing from proofcompute. Encodings come from the emitter of ``commit_wire``, digests from
``pure_hashes``, signatures from pycryptodome. Most cases are wrong at one place, which names them.

Run in ``tests/``: ``python -m oracle.make_message_vectors vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa
from oracle.commit_wire import cbor, head
from oracle.pure_hashes import HASHES

Json = Any
SEED = bytes(range(32))
ORDER = 2**252 + 27742317777372353535851937790883648493
SUITES = ("sha256", "keccak256", "blake3")


# -- building blocks -------------------------------------------------------------------------------------
def bits(x: float) -> int:
    """Bit pattern of a binary32 number."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def digest(suite: str, kind: str, encoded: bytes) -> bytes:
    """H(03 || H("proofcompute/v1" NUL suite NUL kind NUL) || encoded)."""
    tag = HASHES[suite](b"\0".join((b"proofcompute/v1", suite.encode(), kind.encode(), b"")))
    return HASHES[suite](b"\x03" + tag + encoded)


def public(seed: bytes) -> bytes:
    return bytes(ECC.construct(curve="Ed25519", seed=seed).public_key().export_key(format="raw"))


def sign(seed: bytes, data: bytes) -> bytes:
    return bytes(eddsa.new(ECC.construct(curve="Ed25519", seed=seed), "rfc8032").sign(data))


def holds(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        eddsa.new(eddsa.import_public_key(key), "rfc8032").verify(data, signature)
    except ValueError:
        return False
    return True


class Raw:
    """Bytes in the place of an item."""

    def __init__(self, code: str) -> None:
        self.data = bytes.fromhex(code)


def emit(value: Any) -> bytes:
    """``cbor``, with Raw."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(emit(v) for v in value)
    return cbor(value)


def put(fields: list[Any], path: tuple[int, ...], value: Any) -> list[Any]:
    """``fields`` with another value at ``path``."""
    out = list(fields)
    out[path[0]] = put(out[path[0]], path[1:], value) if len(path) > 1 else value
    return out


# -- right messages --------------------------------------------------------------------------------------
GENERATION: list[Any] = [8, bits(0.75), 40, bits(0.9), bits(1.25), b"\x05" * 32, ["\n\n", "é"]]
PLAIN: list[Any] = [
    "proofcompute request", 1, "sha256", b"\x01" * 32, [["tokens", struct.pack("<3i", 5, 6, 7)]], GENERATION,
    "Hé", b"\x02" * 32, b"",
]  # fmt: skip


def requests() -> dict[str, list[Any]]:
    addressed = put(PLAIN, (8,), public(SEED))
    most = [1 << 20, bits(2.0**127), 2**31 - 1, 1, bits(2.0**-149), b"\xff" * 32, ["x" * 256] * 16]
    return {
        "a chat request": PLAIN,
        "keccak256": put(PLAIN, (2,), "keccak256"),
        "blake3": put(PLAIN, (2,), "blake3"),
        "for one node": addressed,
        "no generation": put(put(PLAIN, (5,), []), (4,), [["x", bytes(8)], ["y", b""]]),
        "argmax": put(PLAIN, (5,), [1, 0, 0, bits(1.0), bits(1.0), bytes(32), []]),
        "temperature -0": put(PLAIN, (5, 1), bits(-0.0)),
        "greatest settings": put(PLAIN, (5,), most),
        "no inputs, no text": put(put(PLAIN, (4,), []), (6,), ""),
        "64 inputs": put(PLAIN, (4,), [["x", b""]] * 64),
        "a name of 256 bytes": put(PLAIN, (4,), [["n" * 256, b""]]),
    }


RECEIPT: list[Any] = [
    "proofcompute receipt", 1, "sha256", b"\x01" * 32, digest("sha256", "request", emit(PLAIN)),
    [["next", struct.pack("<2i", 9, 257)]], 4, [[0, 3], [2, 1]], "end", b"\x03" * 32, 604800, public(SEED),
]  # fmt: skip


def signed(body: list[Any], seed: bytes = SEED) -> list[Any]:
    return [*body, sign(seed, digest(body[2], "receipt body", emit(body)))]


def receipts() -> dict[str, list[Any]]:
    other = put(RECEIPT, (4,), digest("keccak256", "request", emit(requests()["keccak256"])))
    return {
        "a chat receipt": signed(RECEIPT),
        "keccak256": signed(put(other, (2,), "keccak256")),
        "blake3": signed(put(RECEIPT, (2,), "blake3")),
        "complete": signed(put(put(RECEIPT, (8,), "complete"), (7,), [[0, 4096]])),
        "stopped by a string": signed(put(RECEIPT, (8,), "stop")),
        "stopped by length": signed(put(RECEIPT, (8,), "length")),
        "no outputs, no layout": signed(put(put(RECEIPT, (5,), []), (7,), [])),
        "greatest numbers": signed(put(put(RECEIPT, (6,), 1 << 20), (10,), 2**32 - 1)),
        "16 runs": signed(put(RECEIPT, (7,), [[1 << 20, 1]] * 16)),
    }


CHALLENGE: list[Any] = [
    "proofcompute challenge", 1, digest("sha256", "receipt", emit(signed(RECEIPT))),
    [[0, 0, 2], [0, 2, 3], [2, 1, 2]], 1, 1,
]  # fmt: skip


def challenges() -> dict[str, list[Any]]:
    return {
        "three cells": CHALLENGE,
        "no hints, no tables": put(put(CHALLENGE, (4,), 0), (5,), 0),
        "the largest cell": put(CHALLENGE, (3,), [[4096, (1 << 20) - 64, 1 << 20]]),
    }


HEAD: list[Any] = [
    "proofcompute opening", 1, CHALLENGE[2], digest("sha256", "challenge", emit(CHALLENGE)),
    [b"\x07" * 32, b"\x08" * 32],
]  # fmt: skip


# -- wrong messages --------------------------------------------------------------------------------------
NAN = (0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001)
Bad = tuple[str, Any, str]
"""Name, fields or bytes, error."""


def wrong_bytes(fields: list[Any], other: bytes) -> list[Bad]:
    """Wrong for every message: another kind or version, fields missing or added, another encoding."""
    data, n = emit(fields), len(fields)
    shortest = data[1:]
    text = len(fields[0])
    F = "FormatError"
    cases: list[Bad] = [
        ("empty", b"", F),
        ("another message", other, F),
        ("kind empty", put(fields, (0,), ""), F),
        ("kind with a NUL", put(fields, (0,), fields[0] + "\0"), F),
        ("kind in capitals", put(fields, (0,), fields[0].upper()), F),
        ("kind as bytes", put(fields, (0,), fields[0].encode()), F),
        *((f"version {v}", put(fields, (1,), v), F) for v in (0, 2, -1, -2, 257, 1 << 32)),
        ("version as text", put(fields, (1,), "1"), F),
        ("version as bytes", put(fields, (1,), b"\x01"), F),
        ("version in an array", put(fields, (1,), [1]), F),
        ("version as a float", put(fields, (1,), Raw("fa3f800000")), F),
        ("version true", put(fields, (1,), Raw("f5")), F),
        ("version not in its shortest form", put(fields, (1,), Raw("1801")), F),
        *((f"field {i} missing", fields[:i] + fields[i + 1 :], F) for i in range(n)),
        *((f"field {i} null", put(fields, (i,), Raw("f6")), F) for i in range(n)),
        *((f"field {i} an empty map", put(fields, (i,), Raw("a0")), F) for i in range(n)),
        ("a field more", [*fields, 0], F),
        ("an empty byte string more", [*fields, b""], F),
        ("fields reversed", fields[::-1], F),
        ("no fields", [], F),
        ("inside an array", [fields], F),
        ("inside a byte string", data, F) if False else ("inside a byte string", head(2, len(data)) + data, F),
        ("tagged", b"\xd9\xd9\xf7" + data, F),
        ("array head of two bytes", bytes([0x98, n]) + shortest, F),
        ("array head of three bytes", bytes([0x99, 0, n]) + shortest, F),
        ("indefinite array", b"\x9f" + shortest + b"\xff", F),
        ("a map", bytes([0xA0 | n // 2]) + shortest, F),
        ("kind with a longer head", data[:1] + bytes([0x78, text]) + data[2:], F),
        ("kind of indefinite length", data[:1] + b"\x7f" + data[1 : 2 + text] + b"\xff" + data[2 + text :], F),
        ("one byte cut off", data[:-1], F),
        ("cut in half", data[: len(data) // 2], F),
        ("only the head", data[:1], F),
        ("a byte more", data + b"\0", F),
        ("twice", data + data, F),
        ("announces 2^64 - 1 fields", b"\x9b" + b"\xff" * 8 + shortest, F),
    ]
    return cases


def wrong_sizes(fields: list[Any], index: int, what: str, sizes: tuple[int, ...]) -> list[Bad]:
    """A fixed byte string of another size, and as text."""
    cases: list[Bad] = [(f"{what} of {n} bytes", put(fields, (index,), b"\x01" * n), "FormatError") for n in sizes]
    return [*cases, (f"{what} as text", put(fields, (index,), "\x01" * 32), "FormatError")]


def wrong_integers(fields: list[Any], path: tuple[int, ...], what: str, values: tuple[int, ...]) -> list[Bad]:
    """An integer outside its range, of another type, or not in its shortest form."""
    F = "FormatError"
    return [
        *((f"{what} {v}", put(fields, path, v), F) for v in values),
        (f"{what} as text", put(fields, path, "1"), F),
        (f"{what} as a float", put(fields, path, Raw("fa3f800000")), F),
        (f"{what} as a bignum", put(fields, path, Raw("c24101")), F),
        (f"{what} in nine bytes", put(fields, path, Raw("1b0000000000000001")), F),
    ]


def wrong_pairs(fields: list[Any], index: int, what: str) -> list[Bad]:
    """Wrong lists of names and bytes."""
    F, L = "FormatError", "LimitError"
    return [
        (f"{what}s as bytes", put(fields, (index,), b""), F),
        (f"{what} without bytes", put(fields, (index,), [["x"]]), F),
        (f"{what} of three elements", put(fields, (index,), [["x", b"", b""]]), F),
        (f"{what} not in an array", put(fields, (index,), ["x", b""]), F),
        (f"{what}'s name as bytes", put(fields, (index,), [[b"x", b""]]), F),
        (f"{what}'s name in Latin-1", put(fields, (index,), [[Raw("61e9"), b""]]), F),
        (f"{what}'s bytes as text", put(fields, (index,), [["x", "abcd"]]), F),
        (f"{what}'s bytes as an integer", put(fields, (index,), [["x", 5]]), F),
        (f"{what}'s name of 257 bytes", put(fields, (index,), [["n" * 257, b""]]), L),
        (f"{what}'s name of 129 characters, 258 bytes", put(fields, (index,), [["é" * 129, b""]]), L),
        (f"65 {what}s", put(fields, (index,), [["x", b""]] * 65), L),
    ]


def wrong_suites(fields: list[Any]) -> list[Bad]:
    names = ("", "SHA256", "sha-256", "sha512", "sha256 ", "keccak", "sha3-256")
    return [
        *((f"suite {name!r}", put(fields, (2,), name), "FormatError") for name in names),
        ("suite as bytes", put(fields, (2,), b"sha256"), "FormatError"),
        ("suite of 257 bytes", put(fields, (2,), "s" * 257), "LimitError"),
    ]


def wrong_requests() -> list[Bad]:
    F, L, I = "FormatError", "LimitError", "InputError"  # noqa: E741

    def setting(i: int, value: Any) -> list[Any]:
        return put(PLAIN, (5, i), value)

    cases = wrong_bytes(PLAIN, emit(signed(RECEIPT))) + wrong_suites(PLAIN) + wrong_pairs(PLAIN, 4, "input")
    cases += wrong_sizes(PLAIN, 3, "model id", (0, 31, 33)) + wrong_sizes(PLAIN, 7, "nonce", (0, 31, 33))
    cases += [
        *((f"node key of {n} byte(s)", put(PLAIN, (8,), b"\x01" * n), F) for n in (1, 31)),
        ("node key of 33 bytes", put(PLAIN, (8,), b"\x01" * 33), L),
        ("node key as text", put(PLAIN, (8,), ""), F),
        ("generation 0", put(PLAIN, (5,), 0), F),
        ("generation an empty byte string", put(PLAIN, (5,), b""), F),
        *((f"setting {i} missing", put(PLAIN, (5,), GENERATION[:i] + GENERATION[i + 1 :]), F) for i in range(7)),
        ("a setting more", put(PLAIN, (5,), [*GENERATION, 0]), F),
        *wrong_integers(PLAIN, (5, 0), "max tokens", (0, -1, (1 << 20) + 1, 1 << 64 - 1)),
        *wrong_integers(PLAIN, (5, 2), "top-k", (-1, 1 << 31, 1 << 32)),
    ]
    for i, name in ((1, "temperature"), (3, "top-p"), (4, "repetition penalty")):
        cases += wrong_integers(PLAIN, (5, i), name, (-1, 1 << 32))
        cases += [(f"{name} NaN {b:08x}", setting(i, b), I) for b in NAN]
        cases += [(f"{name} {x}", setting(i, bits(x)), I) for x in (float("inf"), -float("inf"), -1.0, -(2.0**-149))]
    for i, name in ((3, "top-p"), (4, "repetition penalty")):
        cases += [(f"{name} {x}", setting(i, bits(x)), I) for x in (0.0, -0.0)]
    cases += [
        ("top-p just above 1", setting(3, bits(1.0) + 1), I),
        *((f"seed of {n} bytes", setting(5, b"\x01" * n), F) for n in (0, 31, 33)),
        ("seed as text", setting(5, "\x01" * 32), F),
        ("stops as text", setting(6, "x"), F),
        ("17 stops", setting(6, ["x"] * 17), L),
        ("an empty stop", setting(6, ["x", ""]), I),
        ("a stop of 257 bytes", setting(6, ["x" * 257]), L),
        ("a stop of 129 characters, 258 bytes", setting(6, ["é" * 129]), L),
        ("a stop as bytes", setting(6, [b"x"]), F),
        ("a stop as an integer", setting(6, [0]), F),
        ("text as bytes", put(PLAIN, (6,), b"H"), F),
        ("text with an overlong slash", put(PLAIN, (6,), Raw("62c0af")), F),
        ("text with a surrogate", put(PLAIN, (6,), Raw("63eda080")), F),
        ("text of indefinite length", put(PLAIN, (6,), Raw("7f6148ff")), F),
        ("text with a longer head", put(PLAIN, (6,), Raw("780148")), F),
    ]
    return cases


def wrong_receipts() -> list[Bad]:
    F, L = "FormatError", "LimitError"
    right = signed(RECEIPT)
    cases = wrong_bytes(right, emit(PLAIN)) + wrong_suites(right) + wrong_pairs(right, 5, "output")
    for i, name in ((3, "model id"), (4, "request digest"), (9, "trace root"), (11, "node key")):
        cases += wrong_sizes(right, i, name, (0, 31, 33, 64))
    cases += wrong_sizes(right, 12, "signature", (0, 32, 63, 65))
    cases += wrong_integers(right, (6,), "rows", (0, -1, (1 << 20) + 1))
    cases += wrong_integers(right, (10,), "retention", (-1, 1 << 32))
    cases += wrong_integers(right, (7, 0, 0), "a run's first row", (-1, (1 << 20) + 1))
    cases += wrong_integers(right, (7, 0, 1), "a run's segments", (0, -1, 4097))
    cases += [(f"stop reason {r!r}", put(right, (8,), r), F) for r in ("", "End", "eos", "end ", "max")]
    cases += [
        ("stop reason as bytes", put(right, (8,), b"end"), F),
        ("stop reason as an integer", put(right, (8,), 1), F),
        ("stop reason of 257 bytes", put(right, (8,), "e" * 257), L),
        ("layout as bytes", put(right, (7,), b""), F),
        ("a run of one number", put(right, (7,), [[0]]), F),
        ("a run of three numbers", put(right, (7,), [[0, 1, 2]]), F),
        ("a run that is no array", put(right, (7,), [0, 1]), F),
        ("17 runs", put(right, (7,), [[0, 1]] * 17), L),
        ("no signature", right[:-1], F),
        ("two signatures", [*right, right[-1]], F),
    ]
    return cases


def wrong_challenges() -> list[Bad]:
    F, L, I = "FormatError", "LimitError", "InputError"  # noqa: E741

    def cells(*which: list[Any]) -> list[Any]:
        return put(CHALLENGE, (3,), list(which))

    cases = wrong_bytes(CHALLENGE, emit(HEAD)) + wrong_sizes(CHALLENGE, 2, "receipt digest", (0, 31, 33))
    cases += wrong_integers(CHALLENGE, (4,), "hints", (2, -1)) + wrong_integers(CHALLENGE, (5,), "tables", (2, -1))
    cases += wrong_integers(CHALLENGE, (3, 0, 0), "segment", (-1, 4097))
    cases += wrong_integers(CHALLENGE, (3, 0, 1), "first row", (-1, (1 << 20) + 1))
    cases += wrong_integers(CHALLENGE, (3, 2, 2), "end row", (-1, (1 << 20) + 1))
    return [
        *cases,
        ("no cells", cells(), I),
        ("cells as bytes", put(CHALLENGE, (3,), b""), F),
        ("an empty cell", cells([0, 5, 5]), F),
        ("a cell that ends before it begins", cells([0, 5, 4]), F),
        ("a cell of 65 rows", cells([0, 0, 65]), F),
        ("the same cell twice", cells([0, 0, 1], [0, 0, 1]), F),
        ("overlapping cells", cells([0, 0, 3], [0, 2, 4]), F),
        ("rows out of order", cells([0, 3, 4], [0, 0, 1]), F),
        ("segments out of order", cells([1, 0, 1], [0, 0, 1]), F),
        ("a cell of two numbers", cells([0, 1]), F),
        ("a cell of four numbers", cells([0, 0, 1, 1]), F),
        ("a cell as bytes", put(CHALLENGE, (3,), [b"\0\0\1"]), F),
        ("cells not in their shortest form", put(CHALLENGE, (3,), [Raw("83001800" + "01")]), F),
        ("more than 2^18 cells", put(CHALLENGE, (3,), [[0, 0, 1]] * ((1 << 18) + 1)), L),
    ]  # fmt: skip


def wrong_heads() -> list[Bad]:
    F = "FormatError"
    cases = wrong_bytes(HEAD, emit(CHALLENGE))
    for i, name in ((2, "receipt digest"), (3, "challenge digest")):
        cases += wrong_sizes(HEAD, i, name, (0, 31, 33))
    root = b"\x07" * 32
    return [
        *cases,
        *((f"{n} roots", put(HEAD, (4,), [root] * n), F) for n in (0, 1, 3)),
        ("roots joined", put(HEAD, (4,), root + root), F),
        ("a root of 31 bytes", put(HEAD, (4,), [root, root[1:]]), F),
        ("a root as text", put(HEAD, (4,), [root, "r" * 32]), F),
    ]


def signatures() -> list[Json]:
    """Receipts that decode, and whether their signature holds."""
    right = signed(RECEIPT)
    body, signature = RECEIPT, right[-1]
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    whole = digest("sha256", "receipt", emit(right))
    neutral = b"\x01" + bytes(31)
    cases: list[tuple[str, list[Any]]] = [
        ("right", right),
        ("zero", [*body, bytes(64)]),
        ("R and S swapped", [*body, signature[32:] + r]),
        ("the first bit of R", [*body, bytes([r[0] ^ 1]) + signature[1:]]),
        ("the sign of R", [*body, r[:31] + bytes([r[31] ^ 0x80]) + signature[32:]]),
        ("S plus one", [*body, r + (s + 1).to_bytes(32, "little")]),
        ("S plus the group's order", [*body, r + (s + ORDER).to_bytes(32, "little")]),
        ("S negated", [*body, r + (ORDER - s).to_bytes(32, "little")]),
        ("by another key", signed(RECEIPT, bytes([1] * 32))),
        ("over the digest of the whole receipt", [*body, sign(SEED, whole)]),
        ("over the body itself", [*body, sign(SEED, emit(body))]),
        ("over the digest of another suite", [*body, sign(SEED, digest("blake3", "receipt body", emit(body)))]),
        ("over the digest without its domain", [*body, sign(SEED, HASHES["sha256"](emit(body)))]),
        *(
            (f"of another receipt: field {i}", [*put(RECEIPT, (i,), value), signature])
            for i, value in (
                (2, "blake3"), (3, b"\x02" * 32), (4, b"\x02" * 32), (5, []), (6, 5), (7, [[0, 4]]),
                (8, "length"), (9, b"\x02" * 32), (10, 604801), (11, public(bytes([1] * 32))),
            )
        ),
        ("key that is no point", [*put(RECEIPT, (11,), b"\x02" + bytes(31)), signature]),
        ("key whose y is not reduced", [*put(RECEIPT, (11,), b"\xee" + b"\xff" * 30 + b"\x7f"), signature]),
        ("key of order one", [*put(RECEIPT, (11,), neutral), neutral + bytes(32)]),
        ("key of order two", [*put(RECEIPT, (11,), b"\xec" + b"\xff" * 30 + b"\x7f"), neutral + bytes(32)]),
    ]  # fmt: skip
    out = []
    for name, fields in cases:
        body_digest = digest(fields[2], "receipt body", emit(fields[:-1]))
        out.append({
            "name": name,
            "hex": emit(fields).hex(),
            "body_digest": body_digest.hex(),
            "holds": holds(fields[11], body_digest, fields[12]),
        })  # fmt: skip
    return out


# -- output ----------------------------------------------------------------------------------------------
def valid(kind: str, name: str, fields: list[Any]) -> Json:
    data = emit(fields)
    suite = fields[2] if kind in ("request", "receipt") else "sha256"
    case = {"kind": kind, "name": name, "hex": data.hex(), "digest": digest(suite, kind, data).hex()}
    if kind == "receipt":
        case["body_digest"] = digest(suite, "receipt body", emit(fields[:-1])).hex()
    return case


def pieces(data: bytes) -> list[Json]:
    """Hexadecimal, with a long stretch of equal cells folded: [hexadecimal, how often]."""
    unit = bytes.fromhex("83000001")
    if len(data) < 1 << 16:
        return [[data.hex(), 1]]
    start = data.index(unit)
    count = 0
    while data[start + 4 * count : start + 4 * count + 4] == unit:
        count += 1
    return [[data[:start].hex(), 1], [unit.hex(), count], [data[start + 4 * count :].hex(), 1]]


def messages() -> Json:
    right = {"request": requests(), "receipt": receipts(), "challenge": challenges(), "opening": {"two roots": HEAD}}
    wrong = {
        "request": wrong_requests(), "receipt": wrong_receipts(), "challenge": wrong_challenges(),
        "opening": wrong_heads(),
    }  # fmt: skip
    return {
        "valid": [valid(kind, name, f) for kind, cases in right.items() for name, f in cases.items()],
        "invalid": [
            {
                "kind": kind,
                "name": name,
                "pieces": pieces(bad if isinstance(bad, bytes) else emit(bad)),
                "error": error,
            }
            for kind, cases in wrong.items()
            for name, bad, error in cases
        ],
        "signatures": signatures(),
    }


def main(folder: Path) -> None:
    text = json.dumps(messages(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "messages.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
