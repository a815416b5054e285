"""Wrong requests, receipts, challenges and opening heads: each a right one with one mistake, which names it.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from typing import Any

from oracle.commit_wire import head
from oracle.message_cases import (
    CHALLENGE,
    GENERATION,
    HEAD,
    PLAIN,
    RECEIPT,
    TERMS,
    Raw,
    bits,
    challenges,
    emit,
    put,
    signed,
    signed_terms,
)

FORMAT, LIMIT, INPUT, UNSUPPORTED = "FormatError", "LimitError", "InputError", "UnsupportedError"
NAN = (0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001)
Bad = tuple[str, Any, str]
"""Name, fields or bytes, error."""


def wrong_bytes(fields: list[Any], other: bytes) -> list[Bad]:
    """Wrong for every message: another kind or version, fields missing or added, another encoding."""
    data, n, version = emit(fields), len(fields), fields[1]
    shortest = data[1:]
    text, before = len(fields[0]), version - 1 or 2
    floats = {1: "fa3f800000", 2: "fa40000000", 3: "fa40400000"}
    cases: list[Bad] = [
        ("empty", b"", FORMAT),
        ("another message", other, FORMAT),
        ("kind empty", put(fields, (0,), ""), FORMAT),
        ("kind with a NUL", put(fields, (0,), fields[0] + "\0"), FORMAT),
        ("kind in capitals", put(fields, (0,), fields[0].upper()), FORMAT),
        ("kind as bytes", put(fields, (0,), fields[0].encode()), FORMAT),
        *((f"version {v}", put(fields, (1,), v), FORMAT) for v in (0, before, -1, -2, 257, 1 << 32)),
        ("version as text", put(fields, (1,), str(version)), FORMAT),
        ("version as bytes", put(fields, (1,), bytes([version])), FORMAT),
        ("version in an array", put(fields, (1,), [version]), FORMAT),
        (
            "version as a float",
            put(fields, (1,), Raw(floats[version])),
            FORMAT,
        ),
        ("version true", put(fields, (1,), Raw("f5")), FORMAT),
        ("version not in its shortest form", put(fields, (1,), Raw(f"18{version:02x}")), FORMAT),
        *((f"field {i} missing", fields[:i] + fields[i + 1 :], FORMAT) for i in range(n)),
        *((f"field {i} null", put(fields, (i,), Raw("f6")), FORMAT) for i in range(n)),
        *((f"field {i} an empty map", put(fields, (i,), Raw("a0")), FORMAT) for i in range(n)),
        ("a field more", [*fields, 0], FORMAT),
        ("an empty byte string more", [*fields, b""], FORMAT),
        ("fields reversed", fields[::-1], FORMAT),
        ("no fields", [], FORMAT),
        ("inside an array", [fields], FORMAT),
        ("inside a byte string", head(2, len(data)) + data, FORMAT),
        ("tagged", b"\xd9\xd9\xf7" + data, FORMAT),
        ("array head of two bytes", bytes([0x98, n]) + shortest, FORMAT),
        ("array head of three bytes", bytes([0x99, 0, n]) + shortest, FORMAT),
        ("indefinite array", b"\x9f" + shortest + b"\xff", FORMAT),
        ("a map", bytes([0xA0 | n // 2]) + shortest, FORMAT),
        ("kind with a longer head", data[:1] + bytes([0x78, text]) + data[2:], FORMAT),
        (
            "kind of indefinite length",
            data[:1] + b"\x7f" + data[1 : 2 + text] + b"\xff" + data[2 + text :],
            FORMAT,
        ),
        ("one byte cut off", data[:-1], FORMAT),
        ("cut in half", data[: len(data) // 2], FORMAT),
        ("only the head", data[:1], FORMAT),
        ("a byte more", data + b"\0", FORMAT),
        ("twice", data + data, FORMAT),
        ("announces 2^64 - 1 fields", b"\x9b" + b"\xff" * 8 + shortest, FORMAT),
    ]
    return cases


def wrong_sizes(fields: list[Any], index: int, what: str, sizes: tuple[int, ...]) -> list[Bad]:
    """A fixed byte string of another size, and as text."""
    cases: list[Bad] = [(f"{what} of {n} bytes", put(fields, (index,), b"\x01" * n), FORMAT) for n in sizes]
    return [*cases, (f"{what} as text", put(fields, (index,), "\x01" * 32), FORMAT)]


def wrong_integers(fields: list[Any], path: tuple[int, ...], what: str, values: tuple[int, ...]) -> list[Bad]:
    """An integer outside its range, of another type, or not in its shortest form."""
    return [
        *((f"{what} {v}", put(fields, path, v), FORMAT) for v in values),
        (f"{what} as text", put(fields, path, "1"), FORMAT),
        (f"{what} as a float", put(fields, path, Raw("fa3f800000")), FORMAT),
        (f"{what} as a bignum", put(fields, path, Raw("c24101")), FORMAT),
        (f"{what} in nine bytes", put(fields, path, Raw("1b0000000000000001")), FORMAT),
    ]


def wrong_pairs(fields: list[Any], index: int, what: str) -> list[Bad]:
    """Wrong lists of names and bytes."""
    return [
        (f"{what}s as bytes", put(fields, (index,), b""), FORMAT),
        (f"{what} without bytes", put(fields, (index,), [["x"]]), FORMAT),
        (f"{what} of three elements", put(fields, (index,), [["x", b"", b""]]), FORMAT),
        (f"{what} not in an array", put(fields, (index,), ["x", b""]), FORMAT),
        (f"{what}'s name as bytes", put(fields, (index,), [[b"x", b""]]), FORMAT),
        (f"{what}'s name in Latin-1", put(fields, (index,), [[Raw("61e9"), b""]]), FORMAT),
        (f"{what}'s bytes as text", put(fields, (index,), [["x", "abcd"]]), FORMAT),
        (f"{what}'s bytes as an integer", put(fields, (index,), [["x", 5]]), FORMAT),
        (f"{what}'s name of 257 bytes", put(fields, (index,), [["n" * 257, b""]]), LIMIT),
        (f"{what}'s name of 129 characters, 258 bytes", put(fields, (index,), [["é" * 129, b""]]), LIMIT),
        (f"65 {what}s", put(fields, (index,), [["x", b""]] * 65), LIMIT),
    ]


def wrong_suites(fields: list[Any]) -> list[Bad]:
    names = ("", "SHA256", "sha-256", "sha512", "sha256 ", "keccak", "sha3-256")
    return [
        *((f"suite {name!r}", put(fields, (2,), name), FORMAT) for name in names),
        ("suite as bytes", put(fields, (2,), b"sha256"), FORMAT),
        ("suite of 257 bytes", put(fields, (2,), "s" * 257), LIMIT),
    ]


def wrong_requests() -> list[Bad]:

    def setting(i: int, value: Any) -> list[Any]:
        return put(PLAIN, (5, i), value)

    cases = wrong_bytes(PLAIN, emit(signed(RECEIPT))) + wrong_suites(PLAIN) + wrong_pairs(PLAIN, 4, "input")
    cases += wrong_sizes(PLAIN, 3, "model id", (0, 31, 33)) + wrong_sizes(PLAIN, 7, "nonce", (0, 31, 33))
    cases += [
        *((f"node key of {n} byte(s)", put(PLAIN, (8,), b"\x01" * n), FORMAT) for n in (1, 31)),
        ("node key of 33 bytes", put(PLAIN, (8,), b"\x01" * 33), LIMIT),
        ("node key as text", put(PLAIN, (8,), ""), FORMAT),
        ("generation 0", put(PLAIN, (5,), 0), FORMAT),
        ("generation an empty byte string", put(PLAIN, (5,), b""), FORMAT),
        *(
            (f"setting {i} missing", put(PLAIN, (5,), GENERATION[:i] + GENERATION[i + 1 :]), FORMAT)
            for i in range(8)
        ),
        ("a setting more", put(PLAIN, (5,), [*GENERATION, 0]), FORMAT),
        *wrong_integers(PLAIN, (5, 0), "max tokens", (0, -1, (1 << 20) + 1, (1 << 64) - 1)),
        *wrong_integers(PLAIN, (5, 2), "top-k", (-1, 1 << 31, 1 << 32)),
    ]
    for i, name in ((1, "temperature"), (3, "top-p"), (4, "repetition penalty")):
        cases += wrong_integers(PLAIN, (5, i), name, (-1, 1 << 32))
        cases += [(f"{name} NaN {b:08x}", setting(i, b), INPUT) for b in NAN]
        cases += [
            (f"{name} {x}", setting(i, bits(x)), INPUT)
            for x in (float("inf"), -float("inf"), -1.0, -(2.0**-149))
        ]
    for i, name in ((3, "top-p"), (4, "repetition penalty")):
        cases += [(f"{name} {x}", setting(i, bits(x)), INPUT) for x in (0.0, -0.0)]
    cases += [
        ("top-p just above 1", setting(3, bits(1.0) + 1), INPUT),
        ("repetition penalty just above 64", setting(4, bits(64.0) + 1), INPUT),
        ("repetition penalty just below 1/64", setting(4, bits(1 / 64) - 1), INPUT),
        ("the least repetition penalty that is a number", setting(4, 1), INPUT),
        ("the greatest repetition penalty that is a number", setting(4, 0x7F7FFFFF), INPUT),
        *wrong_integers(PLAIN, (5, 7), "ignore end", (2, -1)),
        *wrong_integers(PLAIN, (9,), "choice", (-1, 128, 1 << 32)),
        *((f"seed of {n} bytes", setting(5, b"\x01" * n), FORMAT) for n in (0, 31, 33)),
        ("seed as text", setting(5, "\x01" * 32), FORMAT),
        ("stops as text", setting(6, "x"), FORMAT),
        ("17 stops", setting(6, ["x"] * 17), LIMIT),
        ("an empty stop", setting(6, ["x", ""]), INPUT),
        ("a stop of 257 bytes", setting(6, ["x" * 257]), LIMIT),
        ("a stop of 129 characters, 258 bytes", setting(6, ["é" * 129]), LIMIT),
        ("a stop as bytes", setting(6, [b"x"]), FORMAT),
        ("a stop as an integer", setting(6, [0]), FORMAT),
        ("text as bytes", put(PLAIN, (6,), b"H"), FORMAT),
        ("text with an overlong slash", put(PLAIN, (6,), Raw("62c0af")), FORMAT),
        ("text with a surrogate", put(PLAIN, (6,), Raw("63eda080")), FORMAT),
        ("text of indefinite length", put(PLAIN, (6,), Raw("7f6148ff")), FORMAT),
        ("text with a longer head", put(PLAIN, (6,), Raw("780148")), FORMAT),
    ]
    return cases


def wrong_signers(right: list[Any], scheme: int, node: int, signature: int) -> list[Bad]:
    """A scheme that is none, or sizes that the scheme does not have."""
    names = ("", "Ed25519", "ed25519 ", "ed448", "secp256k1", "eip712")
    return [
        *((f"scheme {name!r}", put(right, (scheme,), name), FORMAT) for name in names),
        ("a scheme that is reserved", put(right, (scheme,), "eip712-secp256k1"), UNSUPPORTED),
        (
            "a scheme that is reserved, with its sizes",
            put(
                put(put(right, (scheme,), "eip712-secp256k1"), (node,), b"\x01" * 20),
                (signature,),
                b"\x01" * 65,
            ),
            UNSUPPORTED,
        ),
        ("scheme as bytes", put(right, (scheme,), b"ed25519"), FORMAT),
        ("scheme as an integer", put(right, (scheme,), 1), FORMAT),
        ("scheme of 257 bytes", put(right, (scheme,), "s" * 257), LIMIT),
        *wrong_sizes(right, node, "node key", (0, 31, 33, 64)),
        *wrong_sizes(right, signature, "signature", (0, 32, 63, 65)),
    ]


def wrong_receipts() -> list[Bad]:
    right = signed(RECEIPT)
    cases = wrong_bytes(right, emit(PLAIN)) + wrong_suites(right) + wrong_pairs(right, 5, "output")
    for i, name in ((3, "model id"), (4, "request digest"), (8, "trace root")):
        cases += wrong_sizes(right, i, name, (0, 31, 33, 64))
    cases += wrong_signers(right, 12, 13, 14)
    cases += wrong_integers(right, (6,), "rows", (0, -1, (1 << 20) + 1))
    cases += wrong_integers(right, (9,), "numerics version", (0, -1, 1 << 32))
    cases += wrong_integers(right, (11,), "retention", (-1, 1 << 32))
    cases += [(f"stop reason {r!r}", put(right, (7,), r), FORMAT) for r in ("", "End", "eos", "end ", "max")]
    cases += [
        ("stop reason as bytes", put(right, (7,), b"end"), FORMAT),
        ("stop reason as an integer", put(right, (7,), 1), FORMAT),
        ("stop reason of 257 bytes", put(right, (7,), "e" * 257), LIMIT),
        *((f"terms digest of {n} byte(s)", put(right, (10,), b"\x01" * n), FORMAT) for n in (1, 31)),
        ("terms digest of 33 bytes", put(right, (10,), b"\x01" * 33), LIMIT),
        ("terms digest as text", put(right, (10,), ""), FORMAT),
        ("terms digest in an array", put(right, (10,), []), FORMAT),
        ("no signature", right[:-1], FORMAT),
        ("two signatures", [*right, right[-1]], FORMAT),
    ]
    return cases


def wrong_terms() -> list[Bad]:
    right = signed_terms(TERMS)
    return [
        *wrong_bytes(right, emit(signed(RECEIPT))),
        *wrong_signers(right, 2, 3, 8),
        *wrong_integers(right, (4,), "numerics version", (0, -1, 1 << 32)),
        *wrong_integers(right, (5,), "base", (-1, 86401, 1 << 32)),
        *wrong_integers(right, (6,), "rate", (0, -1, 1 << 32)),
        *wrong_integers(right, (7,), "retention", (-1, 1 << 32)),
        ("no signature", right[:-1], FORMAT),
        *wrong_promises(),
    ]


def wrong_promises() -> list[Bad]:
    """Terms with public ids, of which something is wrong."""
    a, b = b"a" * 32, b"b" * 32

    def promised(ids: Any) -> list[Any]:
        return signed_terms([*TERMS, ids])

    return [
        ("no public ids", promised([]), FORMAT),
        ("public ids out of order", promised([b, a]), FORMAT),
        ("a public id twice", promised([a, a]), FORMAT),
        ("a public id of 31 bytes", promised([a[1:]]), FORMAT),
        ("a public id of 33 bytes", promised([a + b"a"]), FORMAT),
        ("a public id as text", promised(["a" * 32]), FORMAT),
        ("public ids joined", promised(a + b), FORMAT),
        ("seventeen public ids", promised([bytes([i]) * 32 for i in range(17)]), LIMIT),
        ("public ids twice", signed_terms([*TERMS, [a], [b]]), FORMAT),
        ("public ids and no signature", [*TERMS, [a]], FORMAT),
    ]


def wrong_challenges() -> list[Bad]:

    def cells(*which: list[Any]) -> list[Any]:
        return put(CHALLENGE, (3,), list(which))

    cases = wrong_bytes(CHALLENGE, emit(HEAD)) + wrong_sizes(CHALLENGE, 2, "receipt digest", (0, 31, 33))
    cases += wrong_integers(CHALLENGE, (4,), "hints", (2, -1)) + wrong_integers(
        CHALLENGE, (5,), "tables", (2, -1)
    )
    cases += wrong_integers(CHALLENGE, (3, 0, 0), "segment", (-1, 4097))
    cases += wrong_integers(CHALLENGE, (3, 0, 1), "first row", (-1, (1 << 20) + 1))
    cases += wrong_integers(CHALLENGE, (3, 2, 2), "end row", (-1, (1 << 20) + 1))
    proving = challenges()["a public proof"]
    cases += wrong_sizes(proving, 6, "public id", (0, 31, 33))
    cases += wrong_integers(proving, (7,), "positions", (0, -1, 1025))
    cases += [
        ("a public proof without hints", put(proving, (4,), 0), FORMAT),
        ("a public proof without tables", put(proving, (5,), 0), FORMAT),
        ("a public id without positions", proving[:7], FORMAT),
        ("a public proof and one element more", [*proving, 1], FORMAT),
    ]
    return [
        *cases,
        ("no cells", cells(), INPUT),
        ("cells as bytes", put(CHALLENGE, (3,), b""), FORMAT),
        ("an empty cell", cells([0, 5, 5]), FORMAT),
        ("a cell that ends before it begins", cells([0, 5, 4]), FORMAT),
        ("a cell of 513 rows", cells([0, 0, 513]), FORMAT),
        ("the same cell twice", cells([0, 0, 1], [0, 0, 1]), FORMAT),
        ("overlapping cells", cells([0, 0, 3], [0, 2, 4]), FORMAT),
        ("rows out of order", cells([0, 3, 4], [0, 0, 1]), FORMAT),
        ("segments out of order", cells([1, 0, 1], [0, 0, 1]), FORMAT),
        ("a cell of two numbers", cells([0, 1]), FORMAT),
        ("a cell of four numbers", cells([0, 0, 1, 1]), FORMAT),
        ("a cell as bytes", put(CHALLENGE, (3,), [b"\0\0\1"]), FORMAT),
        ("cells not in their shortest form", put(CHALLENGE, (3,), [Raw("83001800" + "01")]), FORMAT),
        ("more than 2^18 cells", put(CHALLENGE, (3,), [[0, 0, 1]] * ((1 << 18) + 1)), LIMIT),
    ]  # fmt: skip


def wrong_heads() -> list[Bad]:
    cases = wrong_bytes(HEAD, emit(CHALLENGE))
    for i, name in ((2, "receipt digest"), (3, "challenge digest")):
        cases += wrong_sizes(HEAD, i, name, (0, 31, 33))
    root = b"\x07" * 32
    return [
        *cases,
        *((f"{n} roots", put(HEAD, (4,), [root] * n), FORMAT) for n in (0, 1, 3)),
        ("roots joined", put(HEAD, (4,), root + root), FORMAT),
        ("a root of 31 bytes", put(HEAD, (4,), [root, root[1:]]), FORMAT),
        ("a root as text", put(HEAD, (4,), [root, "r" * 32]), FORMAT),
    ]
