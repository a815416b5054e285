"""Cases: what a verifier does with opened rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel_cases.data import Case, floats, octets
from proofcompute.commitments.hashing import nodes_needed
from proofcompute.errors import InputError, UnsupportedError

_EDGES = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38)


def _known(size: int, ranges: list[tuple[int, int]], more: int = 0, fewer: int = 0) -> tuple[Any, ...]:
    """Arguments of ``hash_ranges``, right but for the counts of digests."""
    leaves = sum(b - a for a, b in ranges) + more
    given = sum(nodes_needed(size, a, b) for a, b in ranges) - fewer
    return "sha256", b"\x01", size, ranges, octets(leaves, 32), octets(given, 32)


def ranges() -> Iterator[Case]:
    for size in (1, 2, 3, 5, 7, 8, 9, 17):
        every = [(a, b) for a in range(size) for b in range(a + 1, size + 1)]
        yield Case("hash_ranges", f"every-of-{size}", lambda n=size, r=every: _known(n, r))
        for a, b in every[:: 1 + len(every) // 40]:
            yield Case("hash_ranges", f"{a}-{b}-of-{size}", lambda n=size, r=(a, b): _known(n, [r]))
    for size, ranges in (
        (511, [(0, 300), (299, 300), (299, 300)]),
        (1025, [(0, 1025), (1024, 1025), (0, 1), (512, 1024)]),
        (7001, [(1, 7000)]),
        (1 << 40, [(0, 3), ((1 << 40) - 1, 1 << 40), (12345, 12400)]),
        ((1 << 62) + 1, [(1 << 61, (1 << 61) + 5)]),
        (1 << 63, [((1 << 63) - 1, 1 << 63)]),
    ):
        yield Case("hash_ranges", f"{len(ranges)}-of-{size}", lambda n=size, r=ranges: _known(n, r))
    for suite in ("keccak256", "blake3"):
        yield Case("hash_ranges", suite, lambda s=suite: (s, *_known(9, [(2, 5), (0, 9)])[1:]))
    for prefix in (b"", b"\x05", b"\x01\x02"):
        label = f"prefix-{prefix.hex()}"
        yield Case("hash_ranges", label, lambda p=prefix: ("sha256", p, *_known(9, [(2, 5)])[2:]))
    yield Case("hash_ranges", "unknown-suite", lambda: ("md5", *_known(9, [(2, 5)])[1:]), UnsupportedError)
    for label, size, ranges, more, fewer in (
        ("a-leaf-more", 9, [(2, 5)], 1, 0),
        ("a-leaf-fewer", 9, [(2, 5)], -1, 0),
        ("a-node-more", 9, [(2, 5), (1, 2)], 0, -1),
        ("a-node-fewer", 9, [(2, 5), (1, 2)], 0, 1),
    ):
        yield Case(
            "hash_ranges",
            label,
            lambda n=size, r=ranges, m=more, f=fewer: _known(n, r, m, f),
            InputError,
        )
    for label, ranges in (
        ("empty", [(2, 2)]),
        ("backwards", [(5, 2)]),
        ("before", [(-1, 2)]),
        ("beyond", [(8, 10)]),
        ("none", []),
    ):
        yield Case(
            "hash_ranges",
            f"ranges-{label}",
            lambda r=ranges: ("sha256", b"\x01", 9, r, octets(3, 32), octets(4, 32)),
            InputError,
        )
    for label, leaves, given in (
        ("leaves-of-31", octets(3, 31), octets(4, 32)),
        ("nodes-of-33", octets(3, 32), octets(4, 33)),
        ("one-row", octets(3, 32).reshape(-1), octets(4, 32)),
        ("signed", octets(3, 32).view(np.int8), octets(4, 32)),
        ("wide", octets(3, 32), octets(4, 32).astype(np.uint16)),
    ):
        yield Case(
            "hash_ranges",
            label,
            lambda x=leaves, y=given: ("sha256", b"\x01", 9, [(2, 5)], x, y),
            InputError,
        )
    yield Case(
        "hash_ranges",
        "every-other-digest",
        lambda: ("sha256", b"\x01", 9, [(2, 5)], octets(6, 32)[::2], octets(8, 32)[::2]),
    )


def settled() -> Iterator[Case]:
    for shape in ((0, 4), (1, 1), (1, 3), (2, 3, 5), (7,), (3, 64), (1, 577)):
        for kind in ("normal", "wide", "mixed"):
            yield Case("is_settled", f"{kind}-{shape}", lambda k=kind, s=shape: (floats(k, *s),))
        ones = np.ones(shape, np.float32)
        for value in _EDGES:
            for place in {0, ones.size // 2, ones.size - 1} if ones.size else ():
                label = f"{value}-{shape}-{place}"
                yield Case("is_settled", label, lambda x=ones, i=place, v=value: (_put(x, i, v),))


def _put(x: npt.NDArray[np.float32], place: int, value: float) -> npt.NDArray[np.float32]:
    x = x.copy()
    x.reshape(-1)[place] = value
    return x
