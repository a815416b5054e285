"""Cases: Row-wise operations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from kernel_cases.data import KINDS, SHAPES, Case, floats, int8s, spoilt
from proofcompute.errors import NonFiniteError
from proofcompute.kernels import F32

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
