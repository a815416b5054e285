"""Cases: Choosing the next token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kernel_cases.data import Args, Case, draws, floats, rng_of, spoilt
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32
from proofcompute.errors import InputError, NonFiniteError


def _logits(v: int, kind: str = "spread") -> F32:
    rng = rng_of("logits", v, kind)
    if kind == "ties":
        return rng.integers(-2, 3, v).astype(np.float32)
    if kind == "zeros":
        return floats("zeros", v)
    if kind == "wide":
        return floats("wide", v)
    if kind == "equal":
        return np.full(v, 1.5, dtype=np.float32)
    return (rng.standard_normal(v) * 4).astype(np.float32)


def _history(v: int, t: int) -> npt.NDArray[np.int32]:
    return rng_of("history", v, t).integers(0, v, t).astype(np.int32)


def _one(logits: F32, history: npt.NDArray[np.int32], how: Sampling, draw: int) -> Args:
    """The arguments of ``sample`` for one row that has seen all of history."""
    return logits[None], history, len(history) - 1, how, draws(draw)


def _rows(v: int, n: int, first: int, how: Sampling) -> Args:
    """The arguments for rows first..first+n, with more history behind them that no row has seen."""
    rng = rng_of("rows", v, n)
    logits = (rng.standard_normal((n, v)) * 4).astype(np.float32)
    history = np.concatenate([_history(v, first + n), np.full(3, v, np.int32)])
    return logits, history, first, how, rng.integers(0, 1 << 64, (n, 2), dtype=np.uint64)


MAX_DRAW = (1 << 128) - 1


def _f(x: float) -> float:
    return float(np.float32(x))


def cases() -> Iterator[Case]:
    hows = [
        Sampling(),
        Sampling(repetition_penalty=_f(1.3)),
        Sampling(1.0),
        Sampling(_f(0.7), 5),
        Sampling(_f(0.7), 0, _f(0.9)),
        Sampling(_f(1.3), 40, _f(0.95), _f(1.1)),
        Sampling(_f(0.2), 3, 0.5, 0.5),
        Sampling(100.0, 1),
        Sampling(1.0, 0, _f(1e-30)),
        Sampling(_f(1e-45), 2),
        Sampling(_f(3e38), 10**9, 1.0, 2.0),
    ]
    numbers = [0, 1, MAX_DRAW, MAX_DRAW // 2, MAX_DRAW // 3, 0x0123456789ABCDEF0123456789ABCDEF]
    for v, kind in itertools.product((1, 2, 7, 1000), ("spread", "ties", "zeros", "wide", "equal")):
        for number, how in enumerate(hows):
            if kind == "wide" and how.repetition_penalty != 1:
                continue  # may overflow: see below
            for draw in numbers if v == 7 else numbers[-2:]:
                yield Case(
                    "sample",
                    f"{v}-{kind}-{number}-{draw % 997}",
                    lambda a=(v, kind), s=how, d=draw: _one(_logits(*a), _history(a[0], 5), s, d),
                )
    for number, how in enumerate(hows):
        yield Case(
            "sample",
            f"49152-{number}",
            lambda s=how: _one(_logits(49152), _history(49152, 300), s, MAX_DRAW // 7),
        )
    plain, warm = Sampling(), Sampling(1.0)
    few: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
    yield Case("sample", "no-history", lambda: _one(_logits(9), few, Sampling(1.0, 0, 1.0, 2.0), 5))
    for value in (np.nan, np.inf, -np.inf):
        for how in (plain, warm):
            yield Case(
                "sample",
                f"{value}-{how.temperature}",
                lambda v=value, s=how: _one(spoilt((9,), (4,), v), few, s, 5),
                NonFiniteError,
            )
    penalty = Sampling(0.0, 0, 1.0, 4.0)
    overflow = np.array([-3e38, 1.0], dtype=np.float32)
    yield Case(
        "sample",
        "penalty-overflow",
        lambda: _one(overflow, np.zeros(1, np.int32), penalty, 0),
        NonFiniteError,
    )
    nothing = np.zeros(0, dtype=np.float32)
    yield Case("sample", "no-logits", lambda: _one(nothing, few, plain, 0), InputError)
    for token in (-1, 9, 2**31 - 1):
        yield Case(
            "sample",
            f"history-{token}",
            lambda t=token: _one(_logits(9), np.array([1, t], np.int32), warm, 0),
            InputError,
        )
    for n, first in ((0, 0), (1, 0), (3, 0), (2, 7), (4, -1)):
        for number in (1, 5):
            how = hows[number]
            yield Case("sample", f"rows{n}at{first}-{number}", lambda a=(30, n, first, how): _rows(*a))
    shapes: dict[str, Args] = {
        "first": (_logits(9)[None], few, -2, warm, draws(0)),
        "too-short": (_logits(9)[None], few, 0, warm, draws(0)),
        "one-dimension": (_logits(9), few, -1, warm, draws(0)),
        "draws": (_logits(9)[None], few, -1, warm, draws(0)[:0]),
    }
    for name, args in shapes.items():
        yield Case("sample", name, lambda a=args: a, InputError)
    refused = [
        Sampling(-1.0),
        Sampling(float("nan")),
        Sampling(1e39),  # no binary32 number
        Sampling(1.0, -1),
        Sampling(1.0, 0, 0.0),
        Sampling(1.0, 0, 1.5),
        Sampling(1.0, 0, 1.0, 0.0),
        Sampling(1.0, 0, 1.0, float("inf")),
    ]
    for how in refused:
        yield Case("sample", f"refused-{how}", lambda s=how: _one(_logits(9), few, s, 0), InputError)
