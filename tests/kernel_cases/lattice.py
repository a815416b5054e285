"""Cases: factors of symmetric matrices, and rows that are rounded with each other's errors in mind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernel_cases.data import Args, Case, floats, rng_of
from proofcompute.errors import InputError


def _gram(d: int, rank: int) -> Args:
    rng = rng_of("gram", d, rank)
    x = rng.standard_normal((3 * d + 1, rank)) @ rng.standard_normal((rank, d))
    h = x.T @ (x * np.exp(-np.arange(d) / 7))
    return h + h.T, 1e-3


def _plain(d: int) -> Args:
    """A matrix that is no sum of squares, with the extremes of the type."""
    h = rng_of("plain", d).standard_normal((d, d))
    h[-1, 0], h[d // 2, d // 2] = 1e308, -1e308
    return h, 0.5


def _steps(d: int, n: int, kind: str) -> Args:
    rng = rng_of("steps", d, n)
    mix = np.triu(rng.standard_normal((d, d)), 1).astype(np.float32)
    if kind == "near":
        return (rng.standard_normal((d, n)) * 90).astype(np.float32), mix
    if kind == "ties":
        halves = rng.integers(-256, 257, (d, n)).astype(np.float32) / np.float32(2)
        return halves, np.sign(mix)
    return floats(kind, d, n), mix * np.float32(1e30)


def cases() -> Iterator[Case]:
    for d in (0, 1, 2, 4, 5, 8, 31, 130, 300):
        yield Case("factor", f"{d}", lambda d=d: _gram(d, max(1, d)))
        yield Case("factor", f"{d}-rank-1", lambda d=d: _gram(d, 1))
    for d in (3, 40):
        yield Case("factor", f"{d}-wild", lambda d=d: _plain(d))
    h = np.eye(3)
    matrices: dict[str, Args] = {
        "not-square": (h[:2], 1.0),
        "type": (h.astype(np.float32), 1.0),
        "no-pivot": (h, 0.0),
        "pivot-not-a-number": (h, np.nan),
    }
    for name, wrong in matrices.items():
        yield Case("factor", f"wrong-{name}", lambda a=wrong: a, InputError)
    for d, n in ((0, 3), (1, 1), (2, 0), (3, 63), (5, 64), (9, 65), (70, 300), (257, 130)):
        for kind in ("near", "ties", "wide"):
            yield Case("nearest_plane", f"{d}x{n}-{kind}", lambda a=(d, n, kind): _steps(*a))
    yield Case("nearest_plane", "unbounded", lambda: _steps(6, 50, "unbounded"))
    x = np.zeros((3, 4), np.float32)
    steps: dict[str, Args] = {
        "shape": (x, np.zeros((4, 4), np.float32)),
        "type": (x.astype(np.float64), np.zeros((3, 3), np.float32)),
        "mix-type": (x, np.zeros((3, 3))),
        "axes": (x[0], np.zeros((3, 3), np.float32)),
    }
    for name, wrong in steps.items():
        yield Case("nearest_plane", f"wrong-{name}", lambda a=wrong: a, InputError)
