"""Cases: Attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kernel_cases.data import Args, Case, floats, int8s, scales
from proofcompute.errors import ExecutionError, NonFiniteError, ProofcomputeError


def _attend(
    h: int, hk: int, dh: int, n: int, first: int, window: int = 0, spare: int = 0, scale: float = 0.25
) -> Args:
    """The arguments of ``attention``; rows behind the last one are not visible and hold nonsense."""
    t = first + n + spare
    key = (h, hk, dh, n, first)
    ks, vs = scales(t, hk, key="k"), scales(t, hk, key="v")
    ks[first + n :], vs[first + n :] = np.nan, -1
    if window:
        ks[: max(0, first + 1 - window)], vs[: max(0, first + 1 - window)] = np.inf, np.nan
    kq, vq = int8s(t, hk, dh, key=(key, "k")), int8s(t, hk, dh, key=(key, "v"))
    return floats("normal", n, h * dh), kq, ks, vq, vs, first, np.float32(scale), window


def _attend_with(change: Callable[[list[Any]], None], *shape: int) -> Args:
    args = list(_attend(*shape))
    change(args)
    return tuple(args)


def _set(position: int, value: float, at: object = ...) -> Callable[[list[Any]], None]:
    def change(args: list[Any]) -> None:
        args[position][at] = value

    return change


def _multiply(position: int, by: float) -> Callable[[list[Any]], None]:
    def change(args: list[Any]) -> None:
        args[position] = args[position] * np.float32(by)

    return change


def _replace(position: int, kind: str) -> Callable[[list[Any]], None]:
    def change(args: list[Any]) -> None:
        args[position] = (
            np.abs(floats(kind, *args[position].shape)) if position else floats(kind, *args[0].shape)
        )

    return change


Q, KS, VQ, VS, SCALE = 0, 2, 3, 4, 6


def cases() -> Iterator[Case]:
    heads = [(1, 1, 1), (1, 1, 4), (4, 2, 8), (3, 3, 5), (6, 1, 33), (9, 3, 64)]
    places = [(0, 0), (0, 7), (1, 0), (5, 0), (3, 10), (1, 63), (1, 64), (17, 48), (2, 300)]
    for (h, hk, dh), (n, first) in itertools.product(heads, places):
        yield Case("attention", f"{h}-{hk}-{dh}-{n}at{first}", lambda a=(h, hk, dh, n, first): _attend(*a))
    for window, (n, first) in itertools.product((1, 2, 5, 16, 1000), places):
        yield Case(
            "attention",
            f"window{window}-{n}at{first}",
            lambda n=n, f=first, w=window: _attend(4, 2, 8, n, f, w),
        )
    for spare in (1, 9):
        yield Case("attention", f"spare{spare}", lambda s=spare: _attend(4, 2, 8, 3, 10, 0, s))
        yield Case("attention", f"spare{spare}-window", lambda s=spare: _attend(4, 2, 8, 3, 10, 4, s))
    yield Case("attention", "long", lambda: _attend(2, 1, 4, 2, 33000))
    yield Case("attention", "long-window", lambda: _attend(2, 1, 4, 3, 33000, 100))
    shape = (4, 2, 8, 5, 6)
    changes: dict[str, Callable[[list[Any]], None]] = {
        "q-zero": _set(Q, 0),
        "q-minus-zero": _set(Q, -0.0),
        "q-subnormal": _replace(Q, "subnormal"),
        "q-wide": _replace(Q, "wide"),
        "k-scale-zero": _set(KS, 0),
        "v-scale-zero": _set(VS, 0),
        "v-scale-minus-zero": _set(VS, -0.0),
        "v-scale-some-zero": _set(VS, 0, slice(0, 8)),
        "v-scale-subnormal": _replace(VS, "subnormal"),
        "v-scale-wide": _replace(VS, "wide"),
        "v-scale-huge": _replace(VS, "huge"),
        "v-zero": _set(VQ, 0),
        "sharp": _multiply(SCALE, 1000.0),
        "flat": _multiply(SCALE, 1e-30),
        "falling": _multiply(SCALE, -3.0),
    }
    for name, change in changes.items():
        yield Case("attention", name, lambda c=change: _attend_with(c, *shape))
    bad: dict[str, tuple[Callable[[list[Any]], None], type[ProofcomputeError]]] = {
        "q-nan": (_set(Q, np.nan, (4, 31)), NonFiniteError),
        "q-infinite": (_set(Q, np.inf, (0, 0)), NonFiniteError),
        "k-scale-nan": (_set(KS, np.nan, (10, 1)), NonFiniteError),
        "k-scale-infinite": (_set(KS, np.inf, (0, 0)), NonFiniteError),
        "v-scale-nan": (_set(VS, np.nan, (10, 1)), NonFiniteError),
        "v-scale-infinite": (_set(VS, np.inf, (0, 0)), NonFiniteError),
        "k-scale-negative": (_set(KS, -1e-3, (3, 1)), ExecutionError),
        "v-scale-negative": (_set(VS, -1e-45, (3, 0)), ExecutionError),
        "score-infinite": (_multiply(SCALE, 3e38), NonFiniteError),
        "scale-nan": (_multiply(SCALE, np.nan), NonFiniteError),
    }
    for name, (change, error) in bad.items():
        yield Case("attention", name, lambda c=change: _attend_with(c, *shape), error)
    # visible to the last row only, and an error for the batch
    yield Case(
        "attention", "late-nan", lambda: _attend_with(_set(KS, np.nan, (9, 0)), 4, 2, 8, 4, 6), NonFiniteError
    )
