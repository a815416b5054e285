"""Cases: Row-wise operations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from kernel_cases.data import KINDS, SHAPES, Case, floats, int8s, spoilt
from proofcompute.arrays import F32
from proofcompute.errors import InputError, NonFiniteError

ROW_KINDS = (*KINDS, "unbounded")


def cases() -> Iterator[Case]:
    for n, d in SHAPES:
        yield Case("embed", f"{n}x{d}", lambda n=n, d=d: (int8s(n, d), floats("mixed", n)))
        for kind in ROW_KINDS:
            label, a = f"{kind}-{n}x{d}", (kind, n, d)
            yield Case("add", label, lambda a=a: (floats(*a), np.ascontiguousarray(floats(*a)[::-1])))
            yield Case("relu", label, lambda a=a: (floats(*a),))
            yield Case("gelu", label, lambda a=a: (floats(*a),))
            yield Case("gate", label, lambda a=a: (floats(a[0], a[1], 2 * a[2]),))
            yield Case("settle", label, lambda a=a: (floats(*a),), NonFiniteError if _spoils(a) else None)
            for eps in (1e-5, 0.0):
                yield Case(
                    "rms_norm",
                    f"{label}-{eps}",
                    lambda a=a, e=eps: (floats(*a), floats("normal", a[2]), np.float32(e)),
                )
                yield Case(
                    "layer_norm",
                    f"{label}-{eps}",
                    lambda a=a, e=eps: (
                        floats(*a),
                        floats("normal", a[2]),
                        floats("mixed", a[2]),
                        np.float32(e),
                    ),
                )
    for special in ("gelu", "relu"):
        yield Case(special, "line", lambda: (np.linspace(-8, 8, 2001, dtype=np.float32)[np.newaxis],))
    yield Case("gate", "line", lambda: (np.linspace(-110, 110, 2002, dtype=np.float32)[np.newaxis],))
    yield Case("gate", "flat", lambda: (np.linspace(-1e-3, 1e-3, 2002, dtype=np.float32)[np.newaxis],))
    for bad in (np.nan, np.inf, -np.inf):
        yield Case("settle", f"{bad}", lambda v=bad: (spoilt((3, 70), (2, 69), v),), NonFiniteError)
    for n, heads, kv_heads, dh, r in (
        (0, 2, 1, 4, 2),
        (1, 1, 1, 2, 1),
        (1, 9, 3, 64, 32),
        (3, 4, 2, 7, 3),
        (5, 3, 3, 16, 5),
        (9, 2, 1, 130, 65),
    ):
        for interleaved, kind in itertools.product((False, True), ("normal", "mixed", "subnormal", "zeros")):
            yield Case(
                "heads",
                f"{kind}-{n}x{heads}+{kv_heads}x{dh}-{r}-{interleaved}",
                lambda n=n, h=heads, g=kv_heads, d=dh, r=r, i=interleaved, k=kind: (
                    floats(k, n, (h + 2 * g) * d),
                    floats("normal", n, r),
                    floats("normal", n, r)[::-1].copy(),
                    h,
                    g,
                    i,
                ),
            )
    for at in (4, 11):  # a key, a value
        yield Case(
            "heads",
            f"nan-{at}",
            lambda at=at: (spoilt((2, 12), (1, at), np.nan), *_angles(2, 1), 1, 1, False),
            NonFiniteError,
        )
    yield Case("heads", "uneven", lambda: (floats("normal", 2, 13), *_angles(2, 1), 2, 1, False), InputError)
    yield Case("heads", "wide", lambda: (floats("normal", 2, 8), *_angles(2, 2), 2, 1, False), InputError)
    for n, heads, dh, r in (
        (0, 2, 4, 2),
        (1, 1, 2, 1),
        (3, 3, 8, 4),
        (2, 2, 10, 3),
        (4, 9, 64, 32),
        (2, 1, 7, 3),
        (2, 2, 5, 0),
    ):
        for interleaved, kind in itertools.product((False, True), ("normal", "wide", "zeros", "unbounded")):
            yield Case(
                "rope",
                f"{kind}-{n}-{heads}x{dh}-{r}-{interleaved}",
                lambda a=(n, heads, dh, r), k=kind, i=interleaved: (
                    floats(k, a[0], a[1] * a[2]),
                    *_table(a[0], a[3]),
                    a[1],
                    i,
                ),
            )


def _spoils(a: tuple[str, int, int]) -> bool:
    return not np.isfinite(floats(*a)).all()


def _table(n: int, r: int) -> tuple[F32, F32]:
    return floats("normal", n, r), floats("mixed", n, r)


def _angles(n: int, r: int) -> tuple[F32, F32]:
    return floats("normal", n, r), floats("wide", n, r)
