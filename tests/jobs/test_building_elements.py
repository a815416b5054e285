"""Functions of elements, reductions, views, look-ups and updates of a builder give what NumPy says."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from jobs.built import BYTES, INTS, NUMBERS, ROWS, X, made, normal
from proofcompute.arrays import F32, Array
from proofcompute.models.building.tensor import Tensor
from proofcompute.program.operations import Split, View


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda b, x: x + 1, X + 1),
        (lambda b, x: 1 + x, 1 + X),
        (lambda b, x: x - 2.5, X - 2.5),
        (lambda b, x: 2 - x, 2 - X),
        (lambda b, x: 3 * x * x, 3 * X * X),
        (lambda b, x: x / 4, X / 4),
        (lambda b, x: 1 / x, 1 / X),
        (lambda b, x: x % 0.5, np.fmod(X, np.float32(0.5))),
        (lambda b, x: abs(-x), np.abs(X)),
        (lambda b, x: b.map("exp", x), np.exp(X)),
        (lambda b, x: b.map("max", x, 0.25), np.maximum(X, np.float32(0.25))),
        (lambda b, x: x < 0, X < 0),
        (lambda b, x: x <= 0, X <= 0),
        (lambda b, x: x > 0, X > 0),
        (lambda b, x: x >= 0, X >= 0),
        (lambda b, x: ~(x > 0) | (x > 1) ^ (x < -1) & (x < 0), (X <= 0) | (X > 1)),
        (lambda b, x: b.select(x > 0, x, 0.5), np.where(X > 0, X, np.float32(0.5))),
        (lambda b, x: b.cast(x * 10, "i32"), (X * 10).astype(np.int32)),
        (lambda b, x: b.map("eq", x, x), np.ones_like(X, bool)),
        (lambda b, x: x + b.constant(normal(5, 6)), X + normal(5, 6)),
        (lambda b, x: b.add(x, x[:1]), X + X[:, :1]),
        (lambda b, x: b.add(x, x), X + X),
        (lambda b, x: b.add(x, 2), X + 2),
    ],
)
def test_functions_of_elements(f: Callable[..., Tensor], expected: Array) -> None:
    found = made(f, X)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda b, x, y: x + y, INTS + BYTES),
        (lambda b, x, y: (x << 3) >> 1, INTS << 3 >> 1),
        (lambda b, x, y: x & 6 | y ^ 3, INTS & 6 | BYTES ^ 3),
        (lambda b, x, y: ~x % y, np.fmod(~INTS, BYTES)),
        (lambda b, x, y: b.cast(x, "i64") * (1 << 40), INTS.astype(np.int64) << 40),
        (lambda b, x, y: b.position() + 0 * x[0, 0], np.arange(ROWS)),
    ],
)
def test_functions_of_integers(f: Callable[..., Tensor], expected: Array) -> None:
    found = made(lambda b, x, y: f(b, x, b.cast(y, "i32")), INTS, BYTES)
    np.testing.assert_array_equal(found, expected)


def silu(x: F32) -> F32:
    found: F32 = x / (1 + np.exp(-x))
    return found


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    found: Array = e / e.sum(axis, keepdims=True)
    return found


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda b, x: b.reduce("sum", x, (0, 1)), X.sum((1, 2))),
        (lambda b, x: b.reduce("max", x, -1, keep=True), X.max(2, keepdims=True)),
        (lambda b, x: b.reduce("argmax", x, 0), X.argmax(1)),
        (lambda b, x: b.reduce("min", x, 0), X.min(1)),
        (lambda b, x: b.reduce("prod", x, 1), X.prod(2)),
        (lambda b, x: b.mean(x, (0, 1)), X.mean((1, 2))),
        (lambda b, x: b.mean(x, 0, keep=True), X.mean(1, keepdims=True)),
        (lambda b, x: b.cumulate("sum", x, -1), X.cumsum(2)),
        (lambda b, x: b.order(x, 1), X.argsort(2, kind="stable")),
        (lambda b, x: b.relu(x), np.maximum(X, 0)),
        (lambda b, x: b.silu(x), silu(X)),
        (lambda b, x: b.sigmoid(x), 1 / (1 + np.exp(-X))),
        (lambda b, x: b.gate(x), silu(X[..., :3]) * X[..., 3:]),
        (lambda b, x: b.softmax(x), softmax(X, 2)),
        (lambda b, x: b.softmax(x, 0), softmax(X, 1)),
    ],
)
def test_reductions_and_activations(f: Callable[..., Tensor], expected: Array) -> None:
    np.testing.assert_allclose(made(f, X), expected, rtol=2e-6, atol=1e-6)


V = normal(4, ROWS, 2, 3, 4)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda b, x: b.reshape(x, (4, -1)), V.reshape(ROWS, 4, 6)),
        (lambda b, x: b.transpose(x), V.transpose(0, 3, 2, 1)),
        (lambda b, x: b.transpose(x, (1, 2, 0)), V.transpose(0, 2, 3, 1)),
        (lambda b, x: x[1], V[:, 1]),
        (lambda b, x: x[..., 1], V[..., 1]),
        (lambda b, x: x[:, ::-2, 1:3], V[:, :, ::-2, 1:3]),
        (lambda b, x: x[-1, ..., -3:], V[:, -1, :, -3:]),
        (lambda b, x: x[1, 2, 3], V[:, 1, 2, 3]),
        (lambda b, x: b.flip(x, (0, -1)), V[:, ::-1, :, ::-1]),
        (
            lambda b, x: b.pad(x, (1, 0), (2, 1), value=7),
            np.pad(V, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=7),
        ),
        (lambda b, x: b.pad(x, 1), np.pad(V, ((0, 0), (1, 1), (1, 1), (1, 1)))),
        (lambda b, x: b.broadcast(x[:1], (5, 2, 3, 4)), np.broadcast_to(V[:, None, :1], (ROWS, 5, 2, 3, 4))),
        (lambda b, x: b.concat([x, x[:, :1]], 1), np.concatenate([V, V[:, :, :1]], 2)),
        (lambda b, x: b.split(x, (1, 3))[1], V[..., 1:]),
        (lambda b, x: b.view(x, View((3,), (5,), 2)), V.reshape(ROWS, -1)[:, 2:17:5]),
        (
            lambda b, x: b.apply_all(Split((9, 15)), b.reshape(x, (24,)), names=("p", "q"))[1],
            V.reshape(ROWS, -1)[:, 9:],
        ),
    ],
)
def test_views(f: Callable[..., Tensor], expected: Array) -> None:
    np.testing.assert_array_equal(made(f, V), expected)


def test_windows() -> None:
    x = normal(5, ROWS, 7, 6, 2)
    seen = made(lambda b, x: b.windows(x, (3, 2), (2, 1), (1, 3)), x)
    assert seen.shape == (ROWS, 3, 3, 3, 2, 2)
    for i, j, k, m in itertools.product(range(3), range(3), range(3), range(2)):
        np.testing.assert_array_equal(seen[:, i, j, k, m], x[:, 2 * i + k, j + 3 * m])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_look_ups_along_an_axis(axis: int) -> None:
    x = normal(6, ROWS, *(3 if a == axis else 4 + a for a in range(3)))
    found = made(lambda b, x, n: b.take(x, n, axis), x, NUMBERS)
    expected = [np.take(a, n, axis) for a, n in zip(x, NUMBERS, strict=True)]
    np.testing.assert_array_equal(found, np.stack(expected))


def test_updates() -> None:
    x, values = normal(7, ROWS, 3, 2), normal(8, ROWS, 4, 2)
    found = made(lambda b, x, n, v: b.put(x, n, v, "add"), x, NUMBERS, values)
    expected = x.copy()
    for row, numbers, value in zip(expected, NUMBERS, values, strict=True):
        np.add.at(row, numbers, value)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
