"""Vectors of hashing: suites, tags, seals, extendable output, transcripts."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

from oracle.pure_hashes import HASHES

VERSION = b"proofcompute/v1"
Json = Any


def tag(suite: str, kind: str, name: str) -> bytes:
    return HASHES[suite](b"\0".join([VERSION, suite.encode(), kind.encode(), name.encode()]))


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def seal(suite: str, kind: str, name: str, size: int, root: bytes) -> bytes:
    return HASHES[suite](b"\x02" + tag(suite, kind, name) + struct.pack("<Q", size) + root)


def xof(domain: str, parts: Sequence[bytes], n: int) -> bytes:
    return hashlib.shake_256(prefixed(VERSION + b"/xof", domain.encode(), *parts)).digest(n)


def transcript(domain: str, script: Sequence[tuple[str, str, bytes | None]]) -> list[str]:
    """32 bytes of each challenge of a script of (act, label, data)."""
    state, drawn = prefixed(VERSION + b"/transcript", domain.encode()), []
    for act, label, data in script:
        state += prefixed(act.encode(), label.encode())
        if data is None:
            drawn.append(xof("transcript", [label.encode(), hashlib.shake_256(state).digest(64)], 32).hex())
        else:
            state += prefixed(data)
    return drawn


def hashing() -> Json:
    digests, tags, seals, messages = [], [], [], []
    root = bytes(range(32))
    for suite, function in HASHES.items():
        for n in (0, 1, 55, 56, 64, 135, 136, 137, 1023, 1024, 1025, 2049, 3073):
            data = bytes(i % 251 for i in range(n))
            digests.append({"suite": suite, "length": n, "digest": function(data).hex()})
        for kind, name in (("weight", "a"), ("weight", ""), ("", ""), ("trace", "block.0/é"), ("a", "b\0c")):
            tags.append({"suite": suite, "kind": kind, "name": name, "tag": tag(suite, kind, name).hex()})
        right = seal(suite, "trace", "x", 258, root).hex()
        arguments = ("trace", "x", 258, root)
        for name, (k, nm, size, r) in {
            "": arguments,
            "size one more": ("trace", "x", 259, root),
            "size with its bytes swapped": ("trace", "x", 0x0201 << 48, root),
            "another name": ("trace", "y", 258, root),
            "another kind": ("weight", "x", 258, root),
            "kind and name moved by one letter": ("tracex", "", 258, root),
            "root reversed": ("trace", "x", 258, root[::-1]),
            "root with its last bit flipped": ("trace", "x", 258, root[:-1] + bytes([root[-1] ^ 1])),
        }.items():
            seals.append({
                "mutation": name, "suite": suite, "kind": k, "name": nm, "size": size, "root": r.hex(),
                "seal": seal(suite, k, nm, size, r).hex(), "must_differ_from": right if name else None,
            })  # fmt: skip
        for kind, data in (("request", b""), ("receipt", b"\x80"), ("request", b"\x80")):
            wanted = function(b"\x03" + tag(suite, kind, "") + data).hex()
            messages.append({"suite": suite, "kind": kind, "encoded": data.hex(), "digest": wanted})
    streams = []
    for domain, parts in (
        ("", []), ("freivalds", [b"seed", b"w"]), ("freivalds", [b"seedw"]),
        ("freivalds", [b"seed", b"w", b""]),         ("freivaldsseed", [b"w"]), ("cells", [bytes(200)]),
    ):  # fmt: skip
        stream = xof(domain, parts, 300)
        streams.append({"domain": domain, "parts": [p.hex() for p in parts], "stream": stream.hex()})
    scripts = []
    for name, domain, script in (
        ("one message", "", [("absorb", "a", b"x"), ("challenge", "c", None)]),
        ("another label", "", [("absorb", "b", b"x"), ("challenge", "c", None)]),
        ("label and data moved by one letter", "", [("absorb", "ax", b""), ("challenge", "c", None)]),
        ("data split in two", "", [("absorb", "a", b""), ("absorb", "a", b"x"), ("challenge", "c", None)]),
        ("another domain", "d", [("absorb", "a", b"x"), ("challenge", "c", None)]),
        ("two draws, then absorb", "", [("absorb", "a", b"x"), ("challenge", "e", None),
         ("challenge", "e", None), ("absorb", "a", b"x"), ("challenge", "c", None)]),
        ("nothing absorbed", "", [("challenge", "c", None)]),
        ("absorbing what a draw appends", "", [("absorb", "challenge", b"c"), ("challenge", "c", None)]),
    ):  # fmt: skip
        steps = [[act, label, None if data is None else data.hex()] for act, label, data in script]
        scripts.append({"name": name, "domain": domain, "script": steps, "drawn": transcript(domain, script)})
    return {
        "digests": digests, "tags": tags, "seals": seals, "messages": messages, "xof": streams,
        "transcripts": scripts,
    }  # fmt: skip
