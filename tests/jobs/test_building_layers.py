"""Norms, pools and recurrent layers that a builder offers give what NumPy says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from jobs.built import ROWS, X, convolved, ends, made, normal
from proofcompute.arrays import F32, Array
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norm(groups: int) -> None:
    w, bias = normal(8, 6), normal(9, 6)
    found = made(lambda b, x: b.group_norm(x, groups, w, bias), X)
    rows = X.astype(np.float64).reshape(ROWS, 4, groups, 6 // groups)
    c = rows - rows.mean((1, 3), keepdims=True)
    normed = (c / np.sqrt((c * c).mean((1, 3), keepdims=True) + 1e-5)).reshape(X.shape)
    np.testing.assert_allclose(found, normed * w + bias, atol=1e-5)


def test_a_batch_norm_is_folded_into_the_layer_before_it() -> None:
    w, bias, gamma, beta, mean = normal(1, 5, 3, 3, 4), *(normal(i, 5) for i in range(4))
    variance = np.abs(normal(7, 5))
    x = normal(8, 2, 6, 6, 4)
    folded = ProgramBuilder.fold_batch_norm(w, bias, gamma, beta, mean, variance)
    plain = convolved(x, w, (1, 1), 0, 1, 1) + bias
    expected = (plain - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(convolved(x, folded[0], (1, 1), 0, 1, 1) + folded[1], expected, atol=1e-5)
    assert not ProgramBuilder.fold_batch_norm(w, None, gamma, beta * 0, mean * 0, variance)[1].any()


@pytest.mark.parametrize("kind", ["max", "sum", "mean"])
@pytest.mark.parametrize(("strides", "pads"), [(None, 0), ((2, 1), (1, 0)), (1, 1)])
def test_pools(kind: str, strides: Any, pads: Any) -> None:
    x = normal(1, ROWS, 7, 5, 3)
    found = made(lambda b, x: b.pool(kind, x, (3, 2), strides=strides, pads=pads), x)
    margin = [(p, p) for p in ((pads,) * 2 if isinstance(pads, int) else pads)]
    by = strides if isinstance(strides, tuple) else (3, 2) if strides is None else (strides,) * 2
    padded = np.pad(x, ((0, 0), *margin, (0, 0)), constant_values=np.nan)
    places = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:], (3, 2), by, strict=False)]
    assert found.shape == (ROWS, *places, 3)
    reduce: Any = {"max": np.nanmax, "sum": np.nansum, "mean": np.nanmean}[kind]
    for i, j in itertools.product(*map(range, places)):
        window = padded[:, i * by[0] : i * by[0] + 3, j * by[1] : j * by[1] + 2]
        np.testing.assert_allclose(found[:, i, j], reduce(window, (1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["max", "sum", "mean", "whole"])
@pytest.mark.parametrize(
    ("strides", "pads", "dilation"), [((2, 1), ((0, 1), 1), 1), (1, ((2, 0), 0), (2, 1)), ((3, 2), 0, 1)]
)
def test_pools_with_other_margins(kind: str, strides: Any, pads: Any, dilation: Any) -> None:
    x = normal(1, ROWS, 7, 5, 3)
    whole = kind == "whole"
    found = made(
        lambda b, x: b.pool(
            "mean" if whole else kind, x, (3, 2), strides=strides, pads=pads, dilation=dilation, whole=whole
        ),
        x,
    )
    by = strides if isinstance(strides, tuple) else (strides,) * 2
    apart = dilation if isinstance(dilation, tuple) else (dilation,) * 2
    padded = np.pad(x, ((0, 0), *ends(pads, 2), (0, 0)), constant_values=0 if whole else np.nan)
    spans = [(k - 1) * a + 1 for k, a in zip((3, 2), apart, strict=True)]
    places = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:], spans, by, strict=False)]
    assert found.shape == (ROWS, *places, 3)
    reduce: Any = {"max": np.nanmax, "sum": np.nansum, "mean": np.nanmean, "whole": np.mean}[kind]
    for i, j in itertools.product(*map(range, places)):
        a, b = i * by[0], j * by[1]
        window = padded[:, a : a + spans[0] : apart[0], b : b + spans[1] : apart[1]]
        np.testing.assert_allclose(found[:, i, j], reduce(window, (1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strides", [2, (3, 1), (1, 1), (2,)])
def test_rows_spread_with_zeros(strides: Any) -> None:
    x = normal(1, ROWS, 3, 4, 2)
    by = strides if isinstance(strides, tuple) else (strides,) * 3
    by = (*by, *(1,) * (3 - len(by)))
    expected = np.zeros((ROWS, 3 * by[0], 4 * by[1], 2 * by[2]), np.float32)
    expected[:, :: by[0], :: by[1], :: by[2]] = x
    np.testing.assert_array_equal(made(lambda b, x: b.spread(x, strides), x), expected)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


STEPS, D, H = 5, 3, 4


def recurrent(gates: int) -> tuple[F32, F32, F32, F32, F32]:
    n = gates * H
    return normal(1, ROWS, STEPS, D), normal(2, n, D), normal(3, n, H), normal(4, n), normal(5, n)


@pytest.mark.parametrize("given", [True, False])
def test_lstm(given: bool) -> None:
    x, w, r, a, bias = recurrent(4)
    start = (normal(8, ROWS, H), normal(9, ROWS, H)) if given else ()

    def f(b: ProgramBuilder, x: Tensor, *s: Tensor) -> Tensor:
        y, h, c = b.lstm(x, w, r, a, bias, start=(s[0], s[1]) if s else None, weight_limbs=2)
        return b.concat([b.reshape(y, (-1,)), h, c])

    found = made(f, x, *start)
    h, c = start or (np.zeros((ROWS, H)),) * 2
    outs = []
    for t in range(STEPS):
        i, forget, g, o = np.split(x[:, t] @ w.T + a + h @ r.T + bias, 4, axis=1)
        c = sigmoid(forget) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outs.append(h)
    expected = np.concatenate([np.stack(outs, 1).reshape(ROWS, -1), h, c], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("given", [True, False])
def test_gru(given: bool) -> None:
    x, w, r, a, bias = recurrent(3)
    start = (normal(8, ROWS, H),) if given else ()

    def f(b: ProgramBuilder, x: Tensor, *s: Tensor) -> Tensor:
        y, h = b.gru(x, w, r, a, bias, start=s[0] if s else None, weight_limbs=2)
        return b.concat([b.reshape(y, (-1,)), h])

    found = made(f, x, *start)
    h = start[0] if start else np.zeros((ROWS, H))
    outs = []
    for t in range(STEPS):
        (ar, au, an), (br, bu, bn) = (np.split(v, 3, axis=1) for v in (x[:, t] @ w.T + a, h @ r.T + bias))
        u = sigmoid(au + bu)
        h = (1 - u) * np.tanh(an + sigmoid(ar + br) * bn) + u * h
        outs.append(h)
    expected = np.concatenate([np.stack(outs, 1).reshape(ROWS, -1), h], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)
