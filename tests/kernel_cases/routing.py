"""Cases: routers, weighted sums, and products of rows with matrices of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernel_cases.data import Case, floats, int8s, rng_of, scales, spoilt
from proofcompute.arithmetic.kernels import Matrix, Routing
from proofcompute.errors import ExecutionError, InputError, NonFiniteError

SIZES = [(1, 1, 1, 1), (5, 2, 1, 1), (7, 7, 1, 1), (12, 3, 4, 2), (12, 4, 4, 2), (9, 3, 3, 1), (4, 2, 4, 2)]
"""Experts, the chosen, groups, and those chosen."""
SCORES = ("softmax", "sigmoid", "chosen")


def cases() -> Iterator[Case]:
    yield from _routes()
    yield from _mixes()
    yield from _experts()


def _routes() -> Iterator[Case]:
    for (e, k, groups, top), score, normal, best, corrected in itertools.product(
        SIZES, SCORES, (False, True), (1, 2), (False, True)
    ):
        how = Routing(k, score, normal, groups, top, best)
        for n, kind in ((3, "normal"), (1, "mixed"), (2, "zeros")):
            yield Case(
                "route",
                f"{kind}-{n}x{e}-{k}-{groups}-{top}-{score}-{normal}-{best}-{corrected}",
                lambda n=n, e=e, kind=kind, how=how, c=corrected: (
                    floats(kind, n, e),
                    how,
                    floats("normal", e) if c else None,
                ),
            )
    for kind, score, row in itertools.product(("wide", "huge"), SCORES, range(6)):
        how = Routing(2, score, False, 3, 2, 2)
        yield Case("route", f"{kind}-{score}-{row}", lambda a=(kind, row, how): _one_row(*a))
    for score, value in itertools.product(SCORES, (np.inf, -np.inf)):
        for groups in (1, 3):
            nothing = score == "softmax" and value > 0
            how = Routing(2, score, True, groups, 1, 1)
            yield Case(
                "route",
                f"{value}-{score}-{groups}",
                lambda v=value, how=how: (spoilt((2, 9), (1, 4), v), how, None),
                NonFiniteError if nothing else None,
            )
    how = Routing(3, "sigmoid", True, 1, 1, 1)
    yield Case("route", "none", lambda: (floats("normal", 0, 5), how, None))
    yield Case("route", "ties", lambda: (np.zeros((2, 5), np.float32), how, None))
    yield Case(
        "route",
        "tied-groups",
        lambda: (np.zeros((1, 6), np.float32), Routing(2, "chosen", False, 3, 2, 2), None),
    )
    yield Case("route", "nan", lambda: (spoilt((2, 5), (1, 3), np.nan), how, None), NonFiniteError)
    yield Case("route", "too-many", lambda: (floats("normal", 2, 2), how, None), InputError)
    yield Case(
        "route",
        "groups",
        lambda: (floats("normal", 2, 5), Routing(1, "softmax", False, 2, 1, 1), None),
        InputError,
    )
    yield Case(
        "route",
        "too-many-in-groups",
        lambda: (floats("normal", 2, 6), Routing(3, "softmax", False, 3, 1, 1), None),
        InputError,
    )
    yield Case(
        "route",
        "score",
        lambda: (floats("normal", 2, 6), Routing(1, "tanh", False, 1, 1, 1), None),
        InputError,
    )
    yield Case("route", "correction", lambda: (floats("normal", 2, 6), how, floats("normal", 5)), InputError)
    yield Case("route", "one-dimension", lambda: (floats("normal", 6), how, None), InputError)


def _one_row(kind: str, row: int, how: Routing) -> tuple[Any, ...]:
    return np.ascontiguousarray(floats(kind, 6, 9)[row : row + 1]), how, None


def _mixes() -> Iterator[Case]:
    for (n, k, d), kind in itertools.product(
        [(0, 2, 3), (1, 1, 5), (3, 2, 7), (2, 3, 64), (4, 8, 130), (1, 13, 33)],
        ("normal", "mixed", "zeros", "subnormal", "huge", "unbounded"),
    ):
        yield Case("mix", f"{kind}-{n}x{k}x{d}", lambda a=(kind, n, k, d): (floats(*a), floats(*a[:3])))
    yield Case("mix", "shares", lambda: (floats("normal", 2, 3, 4), floats("normal", 2, 4)), InputError)
    yield Case("mix", "nothing", lambda: (floats("normal", 2, 0, 4), floats("normal", 2, 0)), InputError)


def _matrices(groups: int, limbs: int, m: int, d: int, *, bias: bool) -> Matrix:
    own = floats("normal", groups, m) if bias else None
    return Matrix(int8s(groups, limbs, m, d), scales(groups, m), own)


def _experts() -> Iterator[Case]:
    for (n, r, groups, m, d), limbs, w_limbs, shared in itertools.product(
        [(1, 1, 1, 1, 1), (1, 3, 5, 7, 9), (1, 4, 4, 33, 64), (3, 2, 4, 6, 10), (8, 2, 3, 5, 33)],
        (1, 2),
        (1, 2),
        (False, True),
    ):

        def build(n=n, r=r, g=groups, m=m, d=d, limbs=limbs, w=w_limbs, shared=shared):  # type: ignore[no-untyped-def]
            numbers = rng_of(n, r, g).integers(0, g, (n, r)).astype(np.int32)
            x = floats("normal", n if shared else n * r, d)
            return x, _matrices(g, w, m, d, bias=shared), numbers, limbs

        yield Case("experts", f"{n}x{r}-{groups}x{m}x{d}-{limbs}-{w_limbs}-{shared}", build)
    wrong = {
        "below": ([[0, -1]], ExecutionError),
        "above": ([[0, 4]], ExecutionError),
        "rows": ([[0, 1, 2]], InputError),
    }
    for name, (numbers, error) in wrong.items():
        yield Case(
            "experts",
            name,
            lambda v=numbers: (
                floats("normal", 2, 5),
                _matrices(4, 1, 3, 5, bias=False),
                np.array(v, np.int32),
                2,
            ),
            error,
        )
    yield Case(
        "experts",
        "nan",
        lambda: (
            spoilt((1, 5), (0, 3), np.nan),
            _matrices(4, 1, 3, 5, bias=False),
            np.zeros((1, 2), np.int32),
            2,
        ),
        NonFiniteError,
    )
    yield Case(
        "experts",
        "one-matrix",
        lambda: (
            floats("normal", 1, 5),
            _matrices(4, 1, 3, 5, bias=False).group(1),
            np.zeros((1, 2), np.int32),
            2,
        ),
        InputError,
    )
