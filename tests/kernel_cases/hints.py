"""Cases for hints of products and their checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kernel_cases.data import Case, columns, floats, full, int8s, octets, scales
from proofcompute.arithmetic.definition import NumpyKernels, bitpack
from proofcompute.errors import FormatError, InputError
from proofcompute.freivalds import field
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.hint import Hint, HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import hint_sets


def cases() -> Iterator[Case]:
    for bits in (0, 33, -1):
        yield Case("check_hint", f"bits{bits}", lambda b=bits: _hint([(b, b"")], 1, 1), InputError)
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
            for wrong in dict.fromkeys((None, (0, 0, 0), (len(widths) - 1, n - 1, k - 1))):
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
    yield Case("check_hint", "claims", lambda: _changed(sets=[]), InputError)
    for start, stop, which, limb in ((0, 4, (0,), 0), (2, 2, (0,), 0), (0, 3, (1,), 0), (0, 3, (0,), 1),
                                     (0, 3, (0, 1), 0), (-1, 3, (0,), 0), (0, 3, (0,), -1)):  # fmt: skip
        claim = HintSet(start, stop, which, limb, 0, 9)
        yield Case("check_hint", f"{claim}", lambda c=claim: _changed(sets=[c]), InputError)
    yield Case("check_hint", "shift", lambda: _changed(sets=[HintSet(0, 3, (0,), 0, 8, 9)]), InputError)
    for name, array in (("s", columns(2, 5)), ("s", columns(1, 4)), ("v", columns(2, 3)),
                        ("v", np.zeros((1, 2, 4), np.uint32)), ("v", np.zeros((1, 3, 3), np.uint32)),
                        ("v", np.full((1, 2, 3), P31, np.uint32)), ("s", np.full((2, 4), P31, np.uint32)),
                        ("sx", scales(2)), ("sw", scales(5)), ("bias", scales(3)), ("bias", scales(0)),
                        ("residual", scales(15).reshape(3, 5)),
                        ("residual", scales(0).reshape(0, 0))):  # fmt: skip
        label = f"{name}{list(array.shape)}"
        yield Case("check_hint", label, lambda n=name, x=array: _changed(**{n: x}), InputError)
    for n, m in ((0, 3), (3, 0)):
        yield Case("check_hint", f"empty-{n}x{m}", lambda n=n, m=m: _hint([(4, b"")], n, m), InputError)
    yield Case(
        "check_hint",
        "no-columns",
        lambda: _changed(s=columns(0, 4), v=columns(0, 3).reshape(1, 0, 3)),
        InputError,
    )
    yield Case("check_hint", "no-sets", lambda: _hint([], 2, 3), InputError)
    for limbs, n, d in ((1, 0, 3), (1, 1, 1), (2, 3, 700), (1, 5, 4097), (2, 70, 33)):
        yield Case("largest_square", f"{limbs}-{n}x{d}", lambda a=(limbs, n, d): (int8s(*a),))
    for value in (-128, 127):
        yield Case("largest_square", f"all{value}", lambda v=value: (full(v, 2, 3, 1000),))
    yield Case("largest_square", "three-limbs", lambda: (int8s(3, 2, 5),), InputError)


def true_hint(sets: list[tuple[int, bytes]], n: int, m: int, k: int = 2, bias: bool = False) -> Hint:
    """A hint by which sets of any values hold: row t of X V is then column t of V."""
    d = max(n, 1)
    shifts = [8 * (len(sets) - 1 - i) for i in range(len(sets))]
    s, v = columns(k, m), np.zeros((max(1, len(sets)), k, d), np.uint32)
    for i, (bits, data) in enumerate(sets):
        if 0 < bits <= 32 and n and len(data) == (bits * n * m + 7) // 8:
            spare = 8 * len(data) - bits * n * m
            cut = data[:-1] + bytes([data[-1] & 255 >> spare]) if data else data
            v[i] = field.project31(bitpack.unpack(cut, bits, n * m).reshape(n, m), s).T
    q = np.zeros((1, n, d), np.int8)
    q[0, range(n), range(n)] = 1
    claims = [HintSet(0, d, (0,), i, shift, 0) for i, shift in enumerate(shifts)]
    residual = floats("mixed", n, m) if len(sets) % 2 == 0 else None
    return Hint(q, claims, sets, s, v, scales(n), scales(m), floats("mixed", m) if bias else None, residual)


def _hint(sets: list[tuple[int, bytes]], n: int, m: int) -> tuple[Hint]:
    return (true_hint(sets, n, m),)


def _sets(widths: tuple[int, ...], n: int, m: int, k: int, wrong: tuple[int, int, int] | None) -> tuple[Hint]:
    sets = [(b, _stream(b, n * m, (b * n * m + 7) // 8)) for b in widths]
    made = true_hint(sets, n, m, k, bias=k % 2 == 0)
    if wrong is not None:
        i, t, c = wrong
        made.v[i, c, t] = (int(made.v[i, c, t]) + 1) % P31
    return (made,)


def _changed(**changes: Any) -> tuple[Hint]:
    return (true_hint([(7, _stream(7, 12, 11))], 3, 4)._replace(**changes),)


def _product(n: int, d: int, limbs: int, w_limbs: int, together: bool, wrong: bool) -> tuple[Hint]:
    """A product of m = 37 channels."""
    q, w = int8s(limbs, n, d), int8s(w_limbs, 37, d)
    squares = [1 if together else 1 << 60] * w_limbs
    claims = hint_sets(Site("w", 37, d, limbs, w_limbs), q, squares, NumpyKernels())
    s = columns(2, 37)
    sets = []
    for c in claims:
        rows = sum(q[i].astype(np.int64) << 8 * (c.limbs[-1] - i) for i in c.limbs)
        y = rows[:, c.start : c.stop] @ w[c.w_limb, :, c.start : c.stop].T.astype(np.int64)
        y[-1, -1] += wrong and c is claims[-1]
        bits = max(int(y.max()).bit_length(), int(~y.min()).bit_length()) + 1
        sets.append((bits, bitpack.pack(y.astype(np.int32), bits)))
    v = np.stack([field.fold31(limb, s) for limb in w])
    residual = floats("mixed", n, 37) if limbs == 1 else None
    return (Hint(q, claims, sets, s, v, scales(n), scales(37), None, residual),)


def _stream(bits: int, count: int, size: int) -> bytes:
    data = int.from_bytes(octets(1, size).tobytes(), "little") & ((1 << bits * count) - 1)
    return data.to_bytes(size, "little")
