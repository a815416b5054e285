"""Cases: Hashing, the field and packing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel_cases.data import Case, columns, floats, full, int8s, int32s, integers, octets, rng_of
from proofcompute.errors import InputError, UnsupportedError
from proofcompute.freivalds.field import P31, P61


def _tags(count: int, size: int) -> list[bytes]:
    return [bytes([i + 1]) * size for i in range(count)]


def _groups(count: int, n: int, d: int) -> list[list[Any]]:
    """Groups of ``n`` rows: bytes, int8 and float32 side by side."""
    rows = octets(count * n, d), int8s(count * n, d), floats("wide", count * n, 3)
    return [[part[i * n : (i + 1) * n] for part in rows] for i in range(count)]


def _several(count: int, n: int, d: int, parts: int) -> list[list[Any]]:
    """Groups of ``n`` rows of several parts: bytes, int8 and float32."""
    floating = floats("wide", n, d), floats("mixed", n, 1)
    made = [[octets(n, d), int8s(n, d, key=i), *floating] for i in range(count)]
    return [(group * 2)[:parts] for group in made]


def _with(value: int, place: int) -> npt.NDArray[np.uint32]:
    """Columns [3, 97] of which one element has a value."""
    s = columns(3, 97)
    s[1, place] = value
    return s


def _columns61(k: int, m: int) -> npt.NDArray[np.uint64]:
    rng = rng_of("columns61", k, m)
    s = rng.integers(0, P61, (k, m), dtype=np.uint64)
    return np.where(rng.integers(0, 6, (k, m)) == 0, np.uint64(P61 - 1), s)


def cases() -> Iterator[Case]:
    for suite in ("sha256", "keccak256", "blake3"):
        for width in (
            0,
            1,
            31,
            32,
            54,
            55,
            56,
            63,
            64,
            65,
            71,
            103,
            135,
            136,
            137,
            200,
            1023,
            1024,
            1025,
            3000,
        ):
            for n, prefix in ((3, 33), (1, 0), (18, 1)):
                yield Case(
                    "hash_rows",
                    f"{suite}-{n}x{width}-{prefix}",
                    lambda s=suite, a=(n, width), p=prefix: (s, bytes(range(p)), octets(*a)),
                )
        yield Case("hash_rows", f"{suite}-no-rows", lambda s=suite: (s, b"\x00", octets(0, 7)))
        for count, n, d, front in (
            (1, 1, 1, 0),
            (3, 5, 7, 32),
            (2, 17, 64, 3),
            (5, 2, 300, 32),
            (2, 0, 4, 32),
        ):
            yield Case(
                "hash_groups",
                f"{suite}-{count}x{n}x{d}-{front}",
                lambda s=suite, c=count, a=(n, d), f=front: (s, b"\x00", _tags(c, f), _groups(c, *a)),
            )
        for count, n, d, parts in ((1, 3, 8, 1), (2, 5, 65, 2), (9, 2, 4, 4), (40, 3, 4, 1), (2, 3, 4, 5)):
            yield Case(
                "hash_groups",
                f"{suite}-parts-{count}x{n}x{d}-{parts}",
                lambda s=suite, c=count, a=(n, d, parts): (s, b"\x00", _tags(c, 32), _several(c, *a)),
            )
        # Many groups that threads share out: whole groups of lanes, a rest, few rows, wide ones.
        for count, n, d, parts in ((40, 191, 96, 4), (33, 16, 500, 1), (70, 3, 2000, 2), (20, 40, 27000, 1)):
            yield Case(
                "hash_groups",
                f"{suite}-shared-{count}x{n}x{d}-{parts}",
                lambda s=suite, c=count, a=(n, d, parts): (s, b"\x00", _tags(c, 32), _several(c, *a)),
            )
        for count, n, capacity, row in ((3, 2, 7, 4), (1, 3, 3, 0), (9, 0, 2, 2), (40, 191, 256, 60)):
            yield Case(
                "hash_groups",
                f"{suite}-into-{count}x{n}-{capacity}-{row}",
                lambda s=suite, c=count, n=n, r=row, size=capacity: (
                    s,
                    b"\x00",
                    _tags(c, 32),
                    _several(c, n, 36, 4),
                    octets(c * size, 32).reshape(c, size, 32),
                    r,
                ),
            )
        for trees, size, capacity in (
            *((2, n, n + n % 3) for n in (1, 2, 3, 4, 5, 7, 8, 9, 31, 33)),
            (1, 511, 512),
            (1, 512, 512),
            (2, 513, 520),
            (1, 1025, 1025),
            (61, 191, 192),  # shared between threads
            (17, 128, 128),
            (1, 6145, 6145),  # level by level
        ):
            yield Case(
                "hash_trees",
                f"{suite}-{trees}x{size}-{capacity}",
                lambda s=suite, t=trees, n=size, c=capacity: (
                    s,
                    b"\x01",
                    octets(t * c, 32).reshape(t, c, 32),
                    n,
                ),
            )
    for label, size, shape, error in (
        ("no-leaves", 0, (2, 3, 32), InputError),
        ("more-than-there-are", 4, (2, 3, 32), InputError),
        ("no-digests", 2, (2, 3, 31), InputError),
        ("one-tree", 2, (3, 32), InputError),
    ):
        yield Case(
            "hash_trees",
            label,
            lambda n=size, shape=shape: ("sha256", b"\x01", np.zeros(shape, np.uint8), n),
            error,
        )
    yield Case(
        "hash_trees", "bytes-only", lambda: ("sha256", b"\x01", np.zeros((1, 2, 32), np.int8), 2), InputError
    )
    yield Case(
        "hash_trees",
        "unknown-suite",
        lambda: ("md5", b"\x01", np.zeros((1, 2, 32), np.uint8), 2),
        UnsupportedError,
    )
    for label, shape, row in (
        ("too-few-rows", (2, 3, 32), 2),
        ("before-the-first", (2, 3, 32), -1),
        ("other-count", (3, 3, 32), 0),
        ("no-digests", (2, 3, 31), 0),
        ("one-group", (3, 32), 0),
    ):
        yield Case(
            "hash_groups",
            f"into-{label}",
            lambda shape=shape, r=row: (
                "sha256",
                b"\x00",
                _tags(2, 32),
                _groups(2, 2, 3),
                np.zeros(shape, np.uint8),
                r,
            ),
            InputError,
        )
    for label, tags, groups in (
        ("no-groups", 0, []),
        ("no-parts", 1, [[]]),
        ("too-few-tags", 1, [[octets(2, 3)], [octets(2, 3)]]),
        ("other-rows", 2, [[octets(2, 3)], [octets(3, 3)]]),
        ("other-widths", 2, [[octets(2, 3)], [octets(2, 4)]]),
        ("other-types", 2, [[octets(2, 3)], [int8s(2, 3)]]),
        ("other-parts", 2, [[octets(2, 3)], [octets(2, 3), octets(2, 3)]]),
        ("parts-of-other-rows", 1, [[octets(2, 3), octets(1, 3)]]),
    ):
        yield Case(
            "hash_groups",
            label,
            lambda t=tags, g=groups: ("sha256", b"\x00", _tags(t, 32), g),
            InputError,
        )
    yield Case(
        "hash_groups",
        "tags-of-other-lengths",
        lambda: ("sha256", b"\x00", [bytes(32), bytes(31)], _groups(2, 2, 3)),
        InputError,
    )
    yield Case(
        "hash_groups",
        "unknown-suite",
        lambda: ("md5", b"\x00", _tags(2, 32), _groups(2, 2, 3)),
        UnsupportedError,
    )
    for n, m, k in ((0, 3, 2), (1, 1, 1), (3, 7, 2), (5, 64, 6), (2, 1001, 2), (1, 40000, 3), (33, 130, 8)):
        yield Case("project", f"int32-{n}x{m}-{k}", lambda a=(n, m), k=k: (int32s(*a), columns(k, a[1])))
        yield Case("project", f"int8-{n}x{m}-{k}", lambda a=(n, m), k=k: (int8s(*a), columns(k, a[1])))
        yield Case("fold", f"{n}x{m}-{k}", lambda a=(m, n), k=k: (int8s(*a), columns(k, a[0])))
    # rows in groups and alone, columns in pairs and alone, whole steps and a rest, sums beyond one block
    for n, m, k in ((4, 32, 1), (6, 97, 3), (11, 4133, 2), (17, 64, 3), (13, 9000, 1)):
        yield Case("project", f"int32-{n}x{m}-{k}", lambda a=(n, m), k=k: (int32s(*a), columns(k, a[1])))
        yield Case("project", f"int8-{n}x{m}-{k}", lambda a=(n, m), k=k: (int8s(*a), columns(k, a[1])))
    for d, m, k in ((64, 16, 1), (1024, 256, 2), (1100, 517, 3), (2049, 800, 2), (4096, 523, 1)):
        yield Case("fold", f"{d}x{m}-{k}", lambda a=(m, d), k=k: (int8s(*a), columns(k, a[0])))
    for kind, n in (("int8", 0), ("int8", 1), ("int8", 9), ("int16", 3), ("int32", 1), ("int32", 9)):
        for place in (0, 95, 96):
            for value in (P31, 2**31, 2**32 - 1):
                yield Case(
                    "project",
                    f"{kind}-{n}-column-{place}-{value}",
                    lambda n=n, d=kind, p=place, v=value: (np.ones((n, 97), d), _with(v, p)),
                    InputError,
                )
    yield Case("fold", "column-too-large", lambda: (np.ones((97, 3), np.int8), _with(P31, 95)), InputError)
    extreme = np.full((2, 9), P31 - 1, dtype=np.uint32)
    most = np.full((3, 4200), P31 - 1, dtype=np.uint32)
    for kind, low, high in (("int8", -(2**7), 2**7 - 1), ("int32", -(2**31), 2**31 - 1)):
        for n in (1, 9):
            for value in (low, high):
                yield Case(
                    "project",
                    f"{kind}-{n}-rows-of-{value}",
                    lambda n=n, d=kind, v=value: (np.full((n, 4200), v, d), most),
                )
    yield Case("fold", "many-128", lambda: (full(-128, 4200, 70), most))
    for value in (-(2**31), 2**31 - 1, -1):
        yield Case("project", f"all{value}", lambda v=value: (np.full((3, 9), v, dtype=np.int32), extreme))
    yield Case("fold", "all-128", lambda: (full(-128, 9, 5), extreme))
    for kind, bits in (("int8", 8), ("int16", 16), ("int32", 32), ("int64", 64)):
        for n, m, k in ((0, 3, 2), (1, 1, 1), (3, 7, 2), (5, 64, 4), (2, 1001, 2), (9, 130, 3)):
            yield Case(
                "project61",
                f"{kind}-{n}x{m}-{k}",
                lambda a=(n, m, bits), d=kind, k=k: (integers(*a).astype(d), _columns61(k, a[1])),
            )
        for value in (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
            yield Case(
                "project61",
                f"{kind}-all{value}",
                lambda v=value, d=kind: (np.full((2, 70), v, dtype=d), np.full((2, 70), P61 - 1, np.uint64)),
            )
    for bits in range(1, 33):
        for count in (0, 1, 7, 8, 9, 32, 33, 63, 64, 65, 95, 160, 231, 1000):
            yield Case("pack", f"{bits}-{count}", lambda b=bits, c=count: (int32s(1, c, b)[0], b))
        if bits < 32:
            for value in (1 << (bits - 1), -(1 << (bits - 1)) - 1):
                yield Case(
                    "pack",
                    f"too-large-{bits}-{value}",
                    lambda b=bits, v=value: (np.array([0, v], dtype=np.int32), b),
                    InputError,
                )
    for bits in (0, 33, -1):
        yield Case("pack", f"bits{bits}", lambda b=bits: (np.zeros(3, np.int32), b), InputError)
    yield Case("pack", "matrix", lambda: (int32s(3, 5, 17), 17))
