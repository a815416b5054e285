"""Vectors of merkle: trees and range proofs, by the recursion of RFC 9162, section 2.1.1."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from oracle.commit_hashing import tag
from oracle.pure_hashes import HASHES

Json = Any


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(suite: str, hashes: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, over leaves that are hashed already."""
    if not hashes:
        return HASHES[suite](b"")
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return HASHES[suite](b"\x01" + mth(suite, hashes[:k]) + mth(suite, hashes[k:]))


def outside(n: int, a: int, b: int, start: int = 0, level: int = 0) -> list[tuple[int, int, int]]:
    """(level, first leaf, leaves) of the maximal subtrees of n leaves from ``start`` outside a..b.

    The level of a subtree is where it meets its sibling: that of the left one, which has 2^level leaves.
    """
    if start + n <= a or b <= start:
        return [(level, start, n)]
    if a <= start and start + n <= b:
        return []
    k = split(n)
    level = k.bit_length() - 1
    return outside(k, a, b, start, level) + outside(n - k, a, b, start + k, level)


def proof(suite: str, hashes: Sequence[bytes], a: int, b: int) -> list[bytes]:
    places = sorted(outside(len(hashes), a, b))
    return [mth(suite, hashes[start : start + n]) for _, start, n in places]


def rebuild(suite: str, size: int, a: int, b: int, part: Sequence[bytes], path: Sequence[bytes]) -> bytes:
    """The root that a range and its proof give, top down."""
    found = {(start, n): node for (_, start, n), node in zip(sorted(outside(size, a, b)), path, strict=True)}

    def root(start: int, n: int) -> bytes:
        if (start, n) in found:
            return found[start, n]
        if n == 1:
            return part[start - a]
        k = split(n)
        return HASHES[suite](b"\x01" + root(start, k) + root(start + k, n - k))

    return root(0, size)


def merkle_leaves(suite: str, n: int) -> list[bytes]:
    """Leaves under the tag (trace, x); row i is 7 i i + 1 as u32 little-endian."""
    prefix = b"\x00" + tag(suite, "trace", "x")
    return [HASHES[suite](prefix + struct.pack("<I", 7 * i * i + 1)) for i in range(n)]


def mutations(suite: str, size: int, a: int, b: int) -> list[Json]:
    """Changes of an honest proof, and what becomes of each."""
    h = HASHES[suite]
    hashes = merkle_leaves(suite, size)
    part, path, root = hashes[a:b], proof(suite, hashes, a, b), mth(suite, hashes)
    cases = []

    def add(name: str, outcome: str, **changed: Any) -> None:
        case = {"size": size, "a": a, "b": b, "leaves": part, "proof": path, "root": root, **changed}
        for field in ("leaves", "proof"):
            case[field] = [node.hex() for node in case[field]]
        case["root"] = case["root"].hex()
        cases.append({"name": name, "suite": suite, "outcome": outcome, **case})

    add("honest", "match")
    changes = {
        "index one more": (size, a + 1, b + 1),
        "index one less": (size, a - 1, b - 1),
        "size one more": (size + 1, a, b),
        "size one less": (size - 1, a, b),
        "size doubled": (2 * size, a, b),
    }
    for name, (n, i, j) in changes.items():
        outcome = "FormatError"
        if 0 <= i < j <= n and len(outside(n, i, j)) == len(path):
            # A path alone does not fix the size, e.g. for leaf 3 of 7 or of 8: the sealed root does.
            outcome = "match" if rebuild(suite, n, i, j, part, path) == root else "mismatch"
        add(name, outcome, size=n, a=i, b=j)
    add("empty range", "FormatError", b=a, leaves=[])
    add("reversed range", "FormatError", a=b, b=a)
    add("range past the end", "FormatError", b=size + 1)
    add("negative start", "FormatError", a=-1)
    add("tree of size zero", "FormatError", size=0)
    add("tree of size zero and nothing else", "FormatError", size=0, a=0, b=0, leaves=[], proof=[])
    add("size above the limit", "FormatError", size=2**64)
    add("leaf missing", "FormatError", leaves=part[:-1])
    add("leaf twice", "FormatError", leaves=[*part, part[-1]])
    add("first leaf changed", "mismatch", leaves=[h(b"forged"), *part[1:]])
    add("last leaf changed", "mismatch", leaves=[*part[:-1], h(b"forged")])
    row, other_tag = struct.pack("<I", 7 * a * a + 1), tag(suite, "trace", "y")
    add("leaf under another tag", "mismatch", leaves=[h(b"\x00" + other_tag + row), *part[1:]])
    add("leaf without its prefix", "mismatch", leaves=[h(row), *part[1:]])
    if len(part) > 1:
        add("leaves reversed", "mismatch", leaves=part[::-1])
        short = len(outside(size, a, a + 1)) == len(path)
        add("range cut to one leaf", "mismatch" if short else "FormatError", b=a + 1, leaves=part[:1])
    add("proof with a digest appended", "FormatError", proof=[*path, bytes(32)])
    add("proof with a digest prepended", "FormatError", proof=[bytes(32), *path])
    add("root of nothing", "mismatch", root=h(b""))
    add("root with its last bit flipped", "mismatch", root=root[:-1] + bytes([root[-1] ^ 1]))
    if size > 1:  # a single leaf is the root: no node is hashed
        add(
            "root of another suite", "mismatch", root=mth("sha256" if suite != "sha256" else "blake3", hashes)
        )
    duplicated = list(hashes)
    while len(duplicated) > 1:  # a lone last node paired with itself, as some chains do
        duplicated += duplicated[-1:] * (len(duplicated) % 2)
        duplicated = [h(b"\x01" + x + y) for x, y in zip(duplicated[::2], duplicated[1::2], strict=True)]
    if duplicated[0] != root:
        add("root with the last node duplicated", "mismatch", root=duplicated[0])
    bare = list(hashes)
    while len(bare) > 1:
        lone = bare[len(bare) // 2 * 2 :]
        bare = [h(x + y) for x, y in zip(bare[::2], bare[1::2], strict=False)] + lone
    if size > 1:
        add("root without node prefixes", "mismatch", root=bare[0])
    if path:
        add("proof without its first digest", "FormatError", proof=path[1:])
        add("proof without its last digest", "FormatError", proof=path[:-1])
        add("empty proof", "FormatError", proof=[])
        add("last digest twice", "FormatError", proof=[*path, path[-1]])
        add("digest of 31 bytes", "FormatError", proof=[path[0][:-1], *path[1:]])
        add("digest of 33 bytes", "FormatError", proof=[path[0] + b"\0", *path[1:]])
        add("empty digest", "FormatError", proof=[b"", *path[1:]])
    for i in range(len(path)):
        flipped = bytes([path[i][0] ^ 0x80]) + path[i][1:]
        add(f"digest {i} with its first bit flipped", "mismatch", proof=[*path[:i], flipped, *path[i + 1 :]])
        if i:
            swapped = [*path[: i - 1], path[i], path[i - 1], *path[i + 1 :]]
            add(f"digests {i - 1} and {i} swapped", "mismatch", proof=swapped)
    if len(path) > 2:
        add("proof reversed", "mismatch", proof=path[::-1])
    return cases


def merkle() -> Json:
    roots = [
        {"suite": suite, "size": n, "root": mth(suite, merkle_leaves(suite, n)).hex()}
        for suite in HASHES
        for n in (*range(10), 15, 16, 17, 33)
    ]
    proofs = []
    for n in (1, 2, 3, 5, 6, 7, 11):
        hashes = merkle_leaves("sha256", n)
        for a in range(n):
            for b in range(a + 1, n + 1, 1 if n < 7 else 3):
                nodes = [node.hex() for node in proof("sha256", hashes, a, b)]
                proofs.append({"suite": "sha256", "size": n, "a": a, "b": b, "proof": nodes})
    mutated = mutations("sha256", 7, 2, 5) + mutations("sha256", 8, 3, 4) + mutations("sha256", 13, 12, 13)
    mutated += mutations("sha256", 1, 0, 1) + mutations("keccak256", 6, 1, 6) + mutations("blake3", 5, 0, 3)
    return {"roots": roots, "proofs": proofs, "mutated": mutated}
