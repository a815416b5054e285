"""Right requests, receipts, challenges and opening heads, built by hand; and signatures, right and wrong.

Imports nothing from proofcompute: the emitter is that of ``commit_wire``, digests come from ``pure_hashes``,
signatures from pycryptodome.
"""

from __future__ import annotations

import struct
from typing import Any

from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

from oracle.commit_wire import cbor, head
from oracle.pure_hashes import HASHES

Json = Any
SEED = bytes(range(32))
ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point of Ed25519."""
SMALL_ORDER = tuple(
    bytes.fromhex(point)
    for point in (
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "00" * 32,
        "00" * 31 + "80",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)
"""The eight points of order 1, 2, 4 and 8: under them one signature fits every message."""


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
    """RFC 8032, and not under a key of small order."""
    if key in SMALL_ORDER:
        return False
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
GENERATION: list[Any] = [8, bits(0.75), 40, bits(0.9), bits(1.25), b"\x05" * 32, ["\n\n", "é"], 0]
PLAIN: list[Any] = [
    "proofcompute request", 2, "sha256", b"\x01" * 32, [["tokens", struct.pack("<3i", 5, 6, 7)]], GENERATION,
    "Hé", b"\x02" * 32, b"", 0,
]  # fmt: skip


def requests() -> dict[str, list[Any]]:
    addressed = put(PLAIN, (8,), public(SEED))
    most = [1 << 20, bits(2.0**127), 2**31 - 1, 1, bits(64.0), b"\xff" * 32, ["x" * 256] * 16, 1]
    return {
        "a chat request": PLAIN,
        "keccak256": put(PLAIN, (2,), "keccak256"),
        "blake3": put(PLAIN, (2,), "blake3"),
        "for one node": addressed,
        "no generation": put(put(PLAIN, (5,), []), (4,), [["x", bytes(8)], ["y", b""]]),
        "argmax": put(PLAIN, (5,), [1, 0, 0, bits(1.0), bits(1.0), bytes(32), [], 0]),
        "temperature -0": put(PLAIN, (5, 1), bits(-0.0)),
        "greatest settings": put(PLAIN, (5,), most),
        "least repetition penalty": put(PLAIN, (5, 4), bits(1 / 64)),
        "end tokens ignored": put(PLAIN, (5, 7), 1),
        "the second choice": put(PLAIN, (9,), 1),
        "the last choice": put(PLAIN, (9,), 127),
        "no inputs, no text": put(put(PLAIN, (4,), []), (6,), ""),
        "64 inputs": put(PLAIN, (4,), [["x", b""]] * 64),
        "a name of 256 bytes": put(PLAIN, (4,), [["n" * 256, b""]]),
    }


RECEIPT: list[Any] = [
    "proofcompute receipt", 2, "sha256", b"\x01" * 32, digest("sha256", "request", emit(PLAIN)),
    [["next", struct.pack("<2i", 9, 257)]], 4, "end", b"\x03" * 32, 1, b"", 604800, "ed25519", public(SEED),
]  # fmt: skip


def signed(body: list[Any], seed: bytes = SEED) -> list[Any]:
    return [*body, sign(seed, digest(body[2], "receipt body", emit(body)))]


TERMS: list[Any] = ["proofcompute terms", 1, "ed25519", public(SEED), 1, 30, 250, 604800]


def signed_terms(body: list[Any], seed: bytes = SEED) -> list[Any]:
    return [*body, sign(seed, digest("sha256", "terms body", emit(body)))]


def terms() -> dict[str, list[Any]]:
    return {
        "usual": signed_terms(TERMS),
        "least numbers": signed_terms([*TERMS[:5], 0, 1, 0]),
        "a public proof": signed_terms([*TERMS, [b"\x05" * 32]]),
        "sixteen public proofs": signed_terms([*TERMS, [bytes([i]) * 32 for i in range(16)]]),
        "greatest numbers": signed_terms([*TERMS[:4], 2**32 - 1, 86400, 2**32 - 1, 2**32 - 1]),
    }


def receipts() -> dict[str, list[Any]]:
    other = put(RECEIPT, (4,), digest("keccak256", "request", emit(requests()["keccak256"])))
    return {
        "a chat receipt": signed(RECEIPT),
        "keccak256": signed(put(other, (2,), "keccak256")),
        "blake3": signed(put(RECEIPT, (2,), "blake3")),
        "complete": signed(put(RECEIPT, (7,), "complete")),
        "stopped by a string": signed(put(RECEIPT, (7,), "stop")),
        "stopped by length": signed(put(RECEIPT, (7,), "length")),
        "no outputs": signed(put(RECEIPT, (5,), [])),
        "under terms": signed(put(RECEIPT, (10,), digest("sha256", "terms", emit(terms()["usual"])))),
        "greatest numbers": signed(put(put(put(RECEIPT, (6,), 1 << 20), (9,), 2**32 - 1), (11,), 2**32 - 1)),
    }


CHALLENGE: list[Any] = [
    "proofcompute challenge", 1, digest("sha256", "receipt", emit(signed(RECEIPT))),
    [[0, 0, 2], [0, 2, 3], [2, 1, 2]], 1, 1,
]  # fmt: skip


def challenges() -> dict[str, list[Any]]:
    return {
        "three cells": CHALLENGE,
        "a public proof": [*CHALLENGE, b"\x05" * 32, 46],
        "a public proof of the most positions": [*CHALLENGE, b"\x05" * 32, 1024],
        "no hints, no tables": put(put(CHALLENGE, (4,), 0), (5,), 0),
        "the largest cell": put(CHALLENGE, (3,), [[4096, (1 << 20) - 128, 1 << 20]]),
    }


HEAD: list[Any] = [
    "proofcompute opening", 3, CHALLENGE[2], digest("sha256", "challenge", emit(CHALLENGE)),
    [b"\x07" * 32, b"\x08" * 32],
]  # fmt: skip


# -- signatures ------------------------------------------------------------------------------------------
def signatures() -> list[Json]:
    """Receipts that decode, and whether their signature holds."""
    right = signed(RECEIPT)
    body, signature = RECEIPT, right[-1]
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    whole = digest("sha256", "receipt", emit(right))
    other = digest("blake3", "receipt body", emit(body))
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
        ("over the digest of another suite", [*body, sign(SEED, other)]),
        ("over the digest without its domain", [*body, sign(SEED, HASHES["sha256"](emit(body)))]),
        *(
            (f"of another receipt: field {i}", [*put(RECEIPT, (i,), value), signature])
            for i, value in (
                (2, "blake3"), (3, b"\x02" * 32), (4, b"\x02" * 32), (5, []), (6, 5), (7, "length"),
                (8, b"\x02" * 32), (9, 2), (10, b"\x02" * 32), (11, 604801), (13, public(bytes([1] * 32))),
            )
        ),
        ("key that is no point", [*put(RECEIPT, (13,), b"\x02" + bytes(31)), signature]),
        ("key whose y is not reduced", [*put(RECEIPT, (13,), b"\xee" + b"\xff" * 30 + b"\x7f"), signature]),
        *(
            (f"key of small order {k.hex()}", [*put(RECEIPT, (13,), k), b"\x01" + bytes(63)])
            for k in SMALL_ORDER
        ),
    ]  # fmt: skip
    out = []
    for name, fields in cases:
        body_digest = digest(fields[2], "receipt body", emit(fields[:-1]))
        out.append({
            "name": name,
            "hex": emit(fields).hex(),
            "body_digest": body_digest.hex(),
            "holds": holds(fields[13], body_digest, fields[14]),
        })  # fmt: skip
    return out
