"""Cases: Hashing, the field and packing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernel_cases.data import Case, floats, full, int8s, rng_of, scales
from proofcompute import field, freivalds
from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.hint import Claim
from proofcompute.numerics import NumpyKernels, bitpack
from proofcompute.program import Site

P31 = 2**31 - 1
P61 = 2**61 - 1


def _bytes(n: int, w: int) -> npt.NDArray[np.uint8]:
    return rng_of("bytes", n, w).integers(0, 256, (n, w)).astype(np.uint8)


def _tags(count: int, size: int) -> list[bytes]:
    return [bytes([i + 1]) * size for i in range(count)]


def _groups(count: int, n: int, d: int) -> list[list[Any]]:
    """Groups of ``n`` rows: bytes, int8 and float32 side by side."""
    rows = _bytes(count * n, d), int8s(count * n, d), floats("wide", count * n, 3)
    return [[part[i * n : (i + 1) * n] for part in rows] for i in range(count)]


def _several(count: int, n: int, d: int, parts: int) -> list[list[Any]]:
    """Groups of ``n`` rows of several parts: bytes, int8 and float32."""
    floating = floats("wide", n, d), floats("mixed", n, 1)
    made = [[_bytes(n, d), int8s(n, d, key=i), *floating] for i in range(count)]
    return [(group * 2)[:parts] for group in made]


def _columns(k: int, m: int) -> npt.NDArray[np.uint32]:
    rng = rng_of("columns", k, m)
    s = rng.integers(0, P31, (k, m))
    pick = rng.integers(0, 6, (k, m))
    return np.where(pick == 0, P31 - 1, np.where(pick == 1, 0, s)).astype(np.uint32)


def _with(value: int, place: int) -> npt.NDArray[np.uint32]:
    """Columns [3, 97] of which one element has a value."""
    s = _columns(3, 97)
    s[1, place] = value
    return s


def _columns61(k: int, m: int) -> npt.NDArray[np.uint64]:
    rng = rng_of("columns61", k, m)
    s = rng.integers(0, P61, (k, m), dtype=np.uint64)
    return np.where(rng.integers(0, 6, (k, m)) == 0, np.uint64(P61 - 1), s)


def _integers(n: int, m: int, bits: int) -> npt.NDArray[np.int64]:
    rng = rng_of("integers", n, m, bits)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    pick = rng.integers(0, 6, (n, m))
    y = rng.integers(low, high, (n, m), endpoint=True)
    return np.where(pick == 0, low, np.where(pick == 1, high, y))


def _int32s(n: int, m: int, bits: int = 32) -> npt.NDArray[np.int32]:
    return _integers(n, m, bits).astype(np.int32)


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
                    lambda s=suite, a=(n, width), p=prefix: (s, bytes(range(p)), _bytes(*a)),
                )
        yield Case("hash_rows", f"{suite}-no-rows", lambda s=suite: (s, b"\x00", _bytes(0, 7)))
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
        for count, n, capacity, row in ((3, 2, 7, 4), (1, 3, 3, 0), (9, 0, 2, 2)):
            yield Case(
                "hash_groups",
                f"{suite}-into-{count}x{n}-{capacity}-{row}",
                lambda s=suite, c=count, n=n, r=row, size=capacity: (
                    s,
                    b"\x00",
                    _tags(c, 32),
                    _several(c, n, 36, 4),
                    _bytes(c * size, 32).reshape(c, size, 32),
                    r,
                ),
            )
        for trees, size, capacity in (
            *((2, n, n + n % 3) for n in (1, 2, 3, 4, 5, 7, 8, 9, 31, 33)),
            (1, 511, 512),
            (1, 512, 512),
            (2, 513, 520),
            (1, 1025, 1025),
        ):
            yield Case(
                "hash_trees",
                f"{suite}-{trees}x{size}-{capacity}",
                lambda s=suite, t=trees, n=size, c=capacity: (
                    s,
                    b"\x01",
                    _bytes(t * c, 32).reshape(t, c, 32),
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
        ("too-few-tags", 1, [[_bytes(2, 3)], [_bytes(2, 3)]]),
        ("other-rows", 2, [[_bytes(2, 3)], [_bytes(3, 3)]]),
        ("other-widths", 2, [[_bytes(2, 3)], [_bytes(2, 4)]]),
        ("other-types", 2, [[_bytes(2, 3)], [int8s(2, 3)]]),
        ("other-parts", 2, [[_bytes(2, 3)], [_bytes(2, 3), _bytes(2, 3)]]),
        ("parts-of-other-rows", 1, [[_bytes(2, 3), _bytes(1, 3)]]),
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
        yield Case("project", f"int32-{n}x{m}-{k}", lambda a=(n, m), k=k: (_int32s(*a), _columns(k, a[1])))
        yield Case("project", f"int8-{n}x{m}-{k}", lambda a=(n, m), k=k: (int8s(*a), _columns(k, a[1])))
        yield Case("fold", f"{n}x{m}-{k}", lambda a=(m, n), k=k: (int8s(*a), _columns(k, a[0])))
    # rows in groups and alone, columns in pairs and alone, whole steps and a rest, sums beyond one block
    for n, m, k in ((4, 32, 1), (6, 97, 3), (11, 4133, 2), (17, 64, 3), (13, 9000, 1)):
        yield Case("project", f"int32-{n}x{m}-{k}", lambda a=(n, m), k=k: (_int32s(*a), _columns(k, a[1])))
        yield Case("project", f"int8-{n}x{m}-{k}", lambda a=(n, m), k=k: (int8s(*a), _columns(k, a[1])))
    for d, m, k in ((64, 16, 1), (1024, 256, 2), (1100, 517, 3), (2049, 800, 2), (4096, 523, 1)):
        yield Case("fold", f"{d}x{m}-{k}", lambda a=(m, d), k=k: (int8s(*a), _columns(k, a[0])))
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
                lambda a=(n, m, bits), d=kind, k=k: (_integers(*a).astype(d), _columns61(k, a[1])),
            )
        for value in (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
            yield Case(
                "project61",
                f"{kind}-all{value}",
                lambda v=value, d=kind: (np.full((2, 70), v, dtype=d), np.full((2, 70), P61 - 1, np.uint64)),
            )
    for bits in range(1, 33):
        for count in (0, 1, 7, 8, 9, 1000):
            yield Case("pack", f"{bits}-{count}", lambda b=bits, c=count: (_int32s(1, c, b)[0], b))
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
        yield Case("check_hint", f"bits{bits}", lambda b=bits: _hint([(b, b"")], 1, 1), InputError)
    yield Case("pack", "matrix", lambda: (_int32s(3, 5, 17), 17))


def hints() -> Iterator[Case]:
    for bits in range(1, 33):
        for n, m in ((1, 1), (1, 7), (3, 8), (2, 33), (5, 211)):
            size = (bits * n * m + 7) // 8
            yield Case(
                "check_hint",
                f"{bits}-{n}x{m}",
                lambda b=bits, n=n, m=m, z=size: _hint([(b, _stream(b, n * m, z))], n, m),
            )
            if bits * n * m % 8:
                yield Case(
                    "check_hint",
                    f"padding-{bits}-{n}x{m}",
                    lambda b=bits, n=n, m=m, z=size: _hint([(b, b"\xff" * z)], n, m),
                    FormatError,
                )
            for name, extra in (("long", 1), ("short", -1)):
                yield Case(
                    "check_hint",
                    f"{name}-{bits}-{n}x{m}",
                    lambda b=bits, n=n, m=m, z=size + extra: _hint([(b, bytes(z))], n, m),
                    FormatError,
                )
    for n, m, k in ((1, 1023, 1), (2, 1024, 2), (3, 1025, 3), (2, 2500, 8), (9, 64, 5), (35, 1100, 2)):
        for widths in ((21,), (23,), (24,), (13, 31), (32, 1, 9, 26)):
            for wrong in (None, (0, 0, 0), (len(widths) - 1, n - 1, k - 1)):
                yield Case(
                    "check_hint",
                    f"sets{widths}-{n}x{m}-{k}-{wrong}",
                    lambda w=widths, n=n, m=m, k=k, x=wrong: _sets(w, n, m, k, x),
                )
    for n, d, w_limbs in ((1, 5, 1), (2, 65, 2), (7, 300, 1), (8, 33, 2), (3, 32769, 1), (9, 33000, 2)):
        for limbs, together in ((1, False), (2, True), (2, False)):
            for false in (False, True):
                yield Case(
                    "check_hint",
                    f"product-{n}x{d}-{limbs}{together}-{w_limbs}-{false}",
                    lambda a=(n, d, limbs, w_limbs, together, false): _product(*a),
                )
    yield Case("check_hint", "claims", lambda: _changed(claims=[]), InputError)
    for start, stop, which, limb in ((0, 4, (0,), 0), (2, 2, (0,), 0), (0, 3, (1,), 0), (0, 3, (0,), 1),
                                     (0, 3, (0, 1), 0), (-1, 3, (0,), 0), (0, 3, (0,), -1)):  # fmt: skip
        claim = Claim(start, stop, which, limb, 0, 9)
        yield Case("check_hint", f"{claim}", lambda c=claim: _changed(claims=[c]), InputError)
    for name, array in (("s", _columns(2, 5)), ("s", _columns(1, 4)), ("v", _columns(2, 3)),
                        ("v", np.zeros((1, 2, 4), np.uint32)), ("v", np.zeros((1, 3, 3), np.uint32)),
                        ("v", np.full((1, 2, 3), P31, np.uint32)), ("s", np.full((2, 4), P31, np.uint32)),
                        ("sx", scales(2)), ("sw", scales(5)), ("bias", scales(3))):  # fmt: skip
        label = f"{name}{list(array.shape)}"
        yield Case("check_hint", label, lambda n=name, x=array: _changed(**{n: x}), InputError)
    for n, m in ((0, 3), (3, 0)):
        yield Case("check_hint", f"empty-{n}x{m}", lambda n=n, m=m: _hint([(4, b"")], n, m), InputError)
    yield Case("check_hint", "no-sets", lambda: _hint([], 2, 3), InputError)
    for limbs, n, d in ((1, 0, 3), (1, 1, 1), (2, 3, 700), (1, 5, 4097), (2, 70, 33)):
        yield Case("row_squares", f"{limbs}-{n}x{d}", lambda a=(limbs, n, d): (int8s(*a),))
    for value in (-128, 127):
        yield Case("row_squares", f"all{value}", lambda v=value: (full(v, 2, 3, 1000),))
    yield Case("row_squares", "three-limbs", lambda: (int8s(3, 2, 5),), InputError)


def true_hint(sets: list[tuple[int, bytes]], n: int, m: int, k: int = 2, bias: bool = False) -> list[Any]:
    """Arguments of ``check_hint`` by which sets of any values hold: row t of X V is then column t of V."""
    d = max(n, 1)
    shifts = [8 * (len(sets) - 1 - i) for i in range(len(sets))]
    s, v = _columns(k, m), np.zeros((max(1, len(sets)), k, d), np.uint32)
    for i, (bits, data) in enumerate(sets):
        if 0 < bits <= 32 and n and len(data) == (bits * n * m + 7) // 8:
            spare = 8 * len(data) - bits * n * m
            cut = data[:-1] + bytes([data[-1] & 255 >> spare]) if data else data
            v[i] = field.project31(bitpack.unpack(cut, bits, n * m).reshape(n, m), s).T
    q = np.zeros((1, n, d), np.int8)
    q[0, range(n), range(n)] = 1
    claims = [Claim(0, d, (0,), i, shift, 0) for i, shift in enumerate(shifts)]
    return [q, claims, sets, s, v, scales(n), scales(m), floats("mixed", m) if bias else None]


def _hint(sets: list[tuple[int, bytes]], n: int, m: int) -> tuple[Any, ...]:
    return tuple(true_hint(sets, n, m))


def _sets(
    widths: tuple[int, ...], n: int, m: int, k: int, wrong: tuple[int, int, int] | None
) -> tuple[Any, ...]:
    sets = [(b, _stream(b, n * m, (b * n * m + 7) // 8)) for b in widths]
    made = true_hint(sets, n, m, k, bias=k % 2 == 0)
    if wrong is not None:
        i, t, c = wrong
        made[4][i, c, t] = (int(made[4][i, c, t]) + 1) % P31
    return tuple(made)


def _changed(**changes: Any) -> tuple[Any, ...]:
    names = ("q", "claims", "sets", "s", "v", "sx", "sw", "bias")
    made = dict(zip(names, true_hint([(7, _stream(7, 12, 11))], 3, 4), strict=True))
    return tuple((made | changes).values())


def _product(n: int, d: int, limbs: int, w_limbs: int, together: bool, wrong: bool) -> tuple[Any, ...]:
    """A product of m = 37 channels."""
    q, w = int8s(limbs, n, d), int8s(w_limbs, 37, d)
    squares = [1 if together else 1 << 60] * w_limbs
    claims = freivalds.claims(Site("w", 37, d, limbs, w_limbs), q, squares, NumpyKernels())
    s = _columns(2, 37)
    sets = []
    for c in claims:
        rows = sum(q[i].astype(np.int64) << 8 * (c.limbs[-1] - i) for i in c.limbs)
        y = rows[:, c.start : c.stop] @ w[c.w_limb, :, c.start : c.stop].T.astype(np.int64)
        y[-1, -1] += wrong and c is claims[-1]
        bits = max(int(y.max()).bit_length(), int(~y.min()).bit_length()) + 1
        sets.append((bits, bitpack.pack(y.astype(np.int32), bits)))
    v = np.stack([field.fold31(limb, s) for limb in w])
    return q, claims, sets, s, v, scales(n), scales(37), None


def _stream(bits: int, count: int, size: int) -> bytes:
    data = int.from_bytes(_bytes(1, size).tobytes(), "little") & ((1 << bits * count) - 1)
    return data.to_bytes(size, "little")
