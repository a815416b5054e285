"""Attention at sizes that end inside a tile, a strip or a panel, and what its rows are made of."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.kernels.row import blocks, tree
from proofcompute.arithmetic.backends.scalar.functions import exp, exp_below
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.definition.trees import tree_sum
from proofcompute.errors import NonFiniteError

FAST, SLOW = NumbaKernels(), NumpyKernels()


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def arguments(h: int, hk: int, dh: int, n: int, first: int, window: int = 0) -> list[Any]:
    random, t = rng(h, hk, dh, n, first), first + n
    keys, values = (random.integers(-128, 128, (t, hk, dh)).astype(np.int8) for _ in range(2))
    ks, vs = (random.random((t, hk), dtype=np.float32) / np.float32(9) for _ in range(2))
    q = random.standard_normal((n, h * dh)).astype(np.float32)
    return [q, keys, ks, values, vs, first, np.float32(0.2), window]


def same(args: list[Any]) -> bool:
    return FAST.attention(*args).tobytes() == SLOW.attention(*args).tobytes()


@pytest.mark.parametrize("window", [0, 1, 40, 530])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 64, 13, 20),  # a strip and a row
        (1, 1, 33, 200, 0),  # two units
        (5, 1, 8, 30, 5),  # strips that begin between two positions
        (9, 3, 64, 70, 0),
        (3, 1, 40, 9, 500),  # over the end of a panel of values, panels kept
        (2, 1, 64, 3, 1022),  # the same, one strip
        (13, 1, 16, 2, 70),
        (26, 2, 4, 5, 0),
    ],
)
def test_strips_and_panels(shape: tuple[int, int, int, int, int], window: int) -> None:
    assert same(arguments(*shape, window))


@pytest.mark.parametrize("dh", [1, 3, 32, 64, 100, 520])
def test_largest_products(dh: int) -> None:
    """Queries of +-127, keys and values of -128 and 127: the largest sums that int32 lanes see."""
    for n, first in ((1, 40), (20, 600)):
        args = arguments(2, 1, dh, n, first)
        args[0] = np.where(rng(dh).random(args[0].shape) < 0.5, np.float32(-1), np.float32(1))
        args[1][:], args[3][:] = -128, -128
        args[1][::3] = 127
        args[2][:], args[4][:] = 1e-9, 1
        assert same(args)
        args[0][:] = 1
        assert same(args)


def test_scores_are_looked_at_where_their_bound_is_not_finite() -> None:
    args = arguments(3, 1, 16, 20, 30)
    args[2][35] = 3e38  # a bound of the later rows, though its key is zero
    args[1][35] = 0
    assert same(args)
    args[1][35] = 1
    with pytest.raises(NonFiniteError):
        FAST.attention(*args)
    with pytest.raises(NonFiniteError):
        SLOW.attention(*args)


def test_trees_of_every_length() -> None:
    @numba.njit  # type: ignore[untyped-decorator]
    def total(x: Any) -> Any:
        level = np.full(blocks(x.size), np.float32(7))
        level[: x.size] = x
        return tree(level, x.size)

    for n in (*range(1, 200), 255, 256, 257, 511, 513, 576, 1000, 1536):
        for x in (rng(n).standard_normal(n).astype(np.float32), np.full(n, -0.0, np.float32)):
            assert np.float32(total(x)).tobytes() == tree_sum(x[np.newaxis]).tobytes()


def test_exponentials_of_a_restricted_range() -> None:
    """:func:`exp_below` up to 0, and the gate, whose own begins at -40, at every exponent and sign."""

    @numba.njit  # type: ignore[untyped-decorator]
    def both(x: Any, a: Any, b: Any) -> None:
        for i in range(x.size):
            a[i], b[i] = exp(x[i]), exp_below(x[i])

    bits = np.arange(0, 1 << 32, 9973, dtype=np.int64).astype(np.uint32).view(np.float32)
    edges = np.array([0, -0.0, -np.inf, np.inf, 40, 89, 104, 88.72284, 87.33655], np.float32)
    x = np.concatenate([bits[~np.isnan(bits)], edges, -edges, rng(1).uniform(-110, 110, 300_000)])
    x = x.astype(np.float32)
    low = x[x <= 0]
    a, b = np.empty_like(low), np.empty_like(low)
    both(low, a, b)
    assert a.tobytes() == b.tobytes()
    finite = x[np.isfinite(x)]
    gates = np.stack([finite, np.ones_like(finite)]).T.copy()
    assert FAST.gate(gates).tobytes() == SLOW.gate(gates).tobytes()
