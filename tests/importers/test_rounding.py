"""Rounding that compensates errors: its algebra, that it is canonical, and statistics that say little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import synthetic
from proofcompute.arithmetic.definition import NumpyKernels, lattice
from proofcompute.arithmetic.definition.products import quantise
from proofcompute.errors import NonFiniteError
from proofcompute.importers.compiling import rounding
from proofcompute.importers.compiling.rounding import blocks, compensated, factor, gram

F64 = npt.NDArray[np.float64]
CPU = synthetic.KERNELS


def matrix(m: int, d: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(8).standard_normal((m, d)).astype(np.float32)


def activations(n: int, d: int, rank: int | None = None) -> npt.NDArray[np.float32]:
    """Rows whose columns depend on each other and differ in size."""
    inner, rng = rank or d, np.random.default_rng(7)
    mixed = rng.standard_normal((n, inner)) @ rng.standard_normal((inner, d))
    return np.asarray(mixed * np.exp(-3 * np.arange(d) / d), np.float32)


def errors(w: npt.NDArray[np.float32], q: npt.NDArray[np.int8], s: npt.NDArray[np.float32], h: F64) -> float:
    e = w - q[0] * s[:, np.newaxis].astype(np.float64)
    return float(((e @ h) * e).sum())


@pytest.mark.parametrize("d", [1, 2, 17, 300])
def test_a_factor_gives_h_back(d: int) -> None:
    h = gram(activations(2 * d, d))
    f = factor(h, CPU)
    m = np.triu(f.mix.astype(np.float64), 1).T + np.eye(d)
    ordered = h[np.ix_(f.order, f.order)] + rounding.DAMPING * np.diagonal(h).mean() * np.eye(d)
    back = m.T @ np.diag(f.pivots[f.order]) @ m
    assert np.abs(back - ordered).max() <= 1e-6 * np.abs(ordered).max()
    assert list(np.diagonal(h)[f.order]) == sorted(np.diagonal(h), reverse=True)


def test_h_is_exact_whatever_the_order_of_the_rows() -> None:
    x = activations(500, 40) * np.float32(1e12)
    shift = 20 - int(np.frexp(np.abs(x).max())[1])
    whole = [[int(v) for v in row] for row in np.rint(np.ldexp(x.astype(np.float64), shift))]
    exact = [[sum(row[i] * row[j] for row in whole) for j in range(3)] for i in range(3)]
    h = gram(x)
    assert np.ldexp(h[:3, :3], 2 * shift).tolist() == exact
    assert h.tobytes() == gram(np.ascontiguousarray(x[::-1])).tobytes()


def test_many_rows_are_summed_up_in_exact_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = activations(50, 6)
    whole = gram(x)
    monkeypatch.setattr(rounding, "ROWS", 7)
    assert gram(x).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda: activations(600, 96), 0.8),
        (lambda: activations(600, 96, rank=1), 0.1),
        (lambda: activations(1, 96), 0.1),
        (lambda: activations(600, 96) * (np.arange(96) % 3 == 0), 0.8),
        (lambda: activations(600, 96) * np.float32(1e-30), 0.8),
        (lambda: activations(600, 96) * np.exp(np.linspace(-40, 40, 96)).astype(np.float32), 1.0),
    ],
    ids=["full", "rank 1", "one row", "zero columns", "tiny", "wide range"],
)
def test_errors_are_smaller_than_with_the_nearest(
    make: Callable[[], npt.NDArray[np.float32]], share: float
) -> None:
    x = np.asarray(make(), np.float32)
    h = gram(x)
    w = matrix(300, 96)
    w[3] = 0
    nearest, s = quantise(w, 1)
    q = compensated(w, s, [factor(h, CPU)], CPU)
    assert q.shape == nearest.shape
    assert q.min() >= -127
    assert not q[0, 3].any()
    assert errors(w, q, s, h) <= share * errors(w, nearest, s, h)


def test_without_activations_the_nearest_is_taken() -> None:
    w = matrix(9, 20)
    nearest, s = quantise(w, 1)
    f = factor(gram(np.zeros((5, 20), np.float32)), CPU)
    assert not f.pivots.any()
    assert compensated(w, s, [f], CPU).tobytes() == nearest.tobytes()


def test_independent_columns_are_rounded_to_the_nearest() -> None:
    w = matrix(9, 20)
    nearest, s = quantise(w, 1)
    assert compensated(w, s, [factor(np.diag(np.arange(20.0)), CPU)], CPU).tobytes() == nearest.tobytes()


def test_each_column_is_rounded_with_the_errors_before_it_in_mind() -> None:
    """The sum of the module's docstring, written out for one row at a time."""
    h = gram(activations(80, 12))
    f = factor(h, CPU)
    w = matrix(4, 12)
    _, s = quantise(w, 1)
    q = compensated(w, s, [f], CPU)[0]
    for row, found in zip(w, q, strict=True):
        steps = row * (np.float32(127) / np.abs(row).max())
        errors: list[np.float32] = []
        for j, column in enumerate(f.order):
            wanted = steps[column]
            for i, e in enumerate(errors):
                wanted = wanted + f.mix[i, j] * e
            whole = np.clip(np.rint(wanted), -127, 127)
            assert whole == found[column]
            errors.append(steps[column] - whole)


def test_backends_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = activations(200, 64), matrix(301, 64)
    _, s = quantise(w, 1)
    f = factor(gram(x), CPU)
    whole = compensated(w, s, [f], CPU)
    monkeypatch.setattr(lattice, "_AT_ONCE", 10)
    slow = NumpyKernels()
    again = factor(gram(x), slow)
    assert again.mix.tobytes() == f.mix.tobytes()
    assert again.pivots.tobytes() == f.pivots.tobytes()
    assert compensated(w, s, [again], slow).tobytes() == whole.tobytes()


def test_wide_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blocks(1024) == [slice(0, 1024)]
    assert blocks(1536) == [slice(0, 768), slice(768, 1536)]
    monkeypatch.setattr(rounding, "WIDEST", 30)
    x, w = activations(300, 64), matrix(50, 64)
    _, s = quantise(w, 1)
    factors = [factor(gram(x[:, b]), CPU) for b in blocks(64)]
    whole = compensated(w, s, factors, CPU)
    for b, f in zip(blocks(64), factors, strict=True):
        steps = (w[:, b] * (127 / np.abs(w).max(axis=1, keepdims=True))).T[f.order]
        apart = CPU.nearest_plane(np.ascontiguousarray(steps), f.mix)
        assert whole[0][:, b.start + f.order].tolist() == apart.T.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    x = activations(5, 4)
    x[2, 1] = value
    with pytest.raises(NonFiniteError, match="calibration text"):
        gram(x)
