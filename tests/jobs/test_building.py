"""Every method of a builder gives what NumPy says, and its result is audited."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import F32, Array
from proofcompute.errors import ExecutionError, FormatError, InputError, LimitError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.moving import Margin, Moving
from proofcompute.models.building.products import FLOAT_CONTRACTION
from proofcompute.models.building.tensor import Tensor
from proofcompute.models.model import Model
from proofcompute.program.operations import Split, View, decode_program, encode_program
from proofcompute.program.operations.codec import OPERATIONS
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor

DEVICE = "numpy"
KERNELS = kernels_for(DEVICE)
ROWS = 3


def normal(seed: int, *shape: int) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rows_of(model: Model, given: dict[str, Array]) -> dict[str, Array]:
    """The outputs of a model, all of whose cells an auditor with a key accepts."""
    inputs = tuple((n, np.ascontiguousarray(given[n]).tobytes()) for n, _ in model.program.inputs)
    request = Request(model.model_id, inputs, bytes(32))
    node = Node(model, device=DEVICE)
    auditor = Auditor(keygen(model, KERNELS, seed=bytes(32)), device=DEVICE)
    answer = node.answer(request)
    result = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert result.complete
    assert decode_program(encode_program(model.program)) == model.program
    return dict(answer.outputs)


def made(f: Callable[..., Tensor], *xs: Array) -> Array:
    """What ``f``, called with a builder and an input for each array of rows, gives."""
    b = ProgramBuilder(context=16, device=DEVICE)
    kinds = {d: name for name, d in ELEMENTS.items()}
    tensors = [b.input(f"x{i}", x.shape[1:], kinds[x.dtype]) for i, x in enumerate(xs)]
    y = f(b, *tensors)
    b.output(y)
    found = rows_of(b.model(), {f"x{i}": x for i, x in enumerate(xs)})[y.name]
    assert found.shape[1:] == y.shape
    assert found.dtype == ELEMENTS[y.dtype]
    return found


X = normal(1, ROWS, 4, 6)
POSITIVE = np.abs(X) + np.float32(0.5)
INTS = np.random.default_rng(2).integers(-9, 9, (ROWS, 4, 6)).astype(np.int32)
BYTES = np.random.default_rng(3).integers(1, 9, (ROWS, 4, 6)).astype(np.uint8)


# -- elements --------------------------------------------------------------------------------------------
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


# -- moving ----------------------------------------------------------------------------------------------
V = normal(4, ROWS, 2, 3, 4)
NUMBERS = np.array([[2, 0, 1, 2]] * ROWS, np.int32)


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


# -- products --------------------------------------------------------------------------------------------
def ends(pads: Any, count: int) -> list[tuple[int, int]]:
    """Elements before and after each axis."""
    return [(p, p) if isinstance(p, int) else p for p in ((pads,) * count if isinstance(pads, int) else pads)]


def convolved(x: Array, w: Array, strides: Sequence[int], pads: Any, dilation: int, groups: int) -> Array:
    """A convolution of [n, places ..., channels] with [out, window ..., channels / groups] in binary64."""
    x = np.pad(x.astype(np.float64), ((0, 0), *ends(pads, w.ndim - 2), (0, 0)))
    out, *size, inner = w.shape
    axes = zip(x.shape[1:], size, strides, strict=False)
    places = [(n - dilation * (k - 1) - 1) // s + 1 for n, k, s in axes]
    y = np.zeros((len(x), *places, out))
    for at in itertools.product(*map(range, size)):
        here: Any = (slice(None), *at)
        cut = tuple(
            slice(a * dilation, a * dilation + (p - 1) * s + 1, s)
            for a, p, s in zip(at, places, strides, strict=True)
        )
        seen = x[(slice(None), *cut)]
        for g in range(groups):
            o = slice(g * out // groups, (g + 1) * out // groups)
            y[..., o] += seen[..., g * inner : (g + 1) * inner] @ w[o][here].T
    return y


@pytest.mark.parametrize(
    ("places", "weight", "strides", "pads", "dilation", "groups"),
    [
        ((7, 6), (5, 3, 3, 4), (1, 1), 1, 1, 1),
        ((7, 6), (5, 3, 3, 4), (2, 1), 0, 2, 1),
        ((5, 5), (6, 1, 1, 40), (1, 1), 0, 1, 1),
        ((5, 6), (6, 1, 1, 40), (2, 2), 0, 1, 1),
        ((6, 6), (4, 3, 3, 1), (1, 1), 1, 1, 4),
        ((6, 6), (8, 3, 3, 1), (2, 2), 1, 1, 4),
        ((5, 5), (6, 3, 3, 8), (1, 1), 1, 1, 2),
        ((9,), (3, 5, 8), (2,), 2, 1, 1),
        ((4, 4, 3), (2, 2, 2, 2, 3), (1, 1, 1), 0, 1, 1),
        ((6, 5), (4, 3, 3, 4), (2, 1), ((0, 1), (2, 1)), 1, 1),
        ((9,), (3, 5, 8), (2,), ((3, 0),), 1, 1),
        ((5,), (4, 3, 2), (1,), ((2, 1),), 1, 2),
        ((5, 5), (8, 1, 1, 4), (1, 1), 0, 1, 2),
        ((4, 3, 4), (4, 2, 2, 2, 2), (1, 1, 1), ((1, 0), 1, 0), 1, 2),
        ((4, 3, 4), (4, 2, 2, 2, 1), (2, 1, 1), 1, 1, 4),
        ((6, 6), (1, 3, 3, 1), (1, 1), 1, 1, 1),
    ],
)
def test_convolutions(
    places: tuple[int, ...],
    weight: tuple[int, ...],
    strides: tuple[int, ...],
    pads: Margin,
    dilation: int,
    groups: int,
) -> None:
    x, w, bias = normal(1, 2, *places, weight[-1] * groups), normal(2, *weight), normal(3, weight[0])
    b = ProgramBuilder(context=4, device=DEVICE)
    y = b.conv(
        b.input("x", x.shape[1:]),
        w,
        bias,
        strides=strides,
        pads=pads,
        dilation=dilation,
        groups=groups,
        weight_limbs=2,
    )
    b.output(y)
    model = b.model()
    products = int(np.prod(weight[1:]))
    quantised = [s for plan in model.program.plans for s in plan.sites]
    assert len(quantised) == (0 if products <= FLOAT_CONTRACTION else groups)
    for site in quantised:
        assert (site.rows, site.d) == (int(np.prod(y.shape[:-1])), products)
    found = rows_of(model, {"x": x})[y.name]
    expected = convolved(x, w, strides, pads, dilation, groups) + bias
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("places", "weight", "strides", "pads", "more", "dilation", "groups"),
    [
        ((4, 5), (6, 3, 3, 5), (2, 2), 1, (1, 0), 1, 1),
        ((4, 3), (40, 2, 2, 3), (2, 1), 0, 0, 1, 1),
        ((5,), (4, 4, 3), (3,), ((1, 0),), 0, 1, 2),
        ((3, 3), (8, 3, 2, 2), (1, 2), ((2, 1), (0, 1)), 0, (2, 1), 4),
        ((3, 2, 2), (4, 2, 2, 2, 3), (2, 1, 2), 0, (1, 0, 0), 1, 1),
        ((4,), (5, 3, 2), (1,), 2, 0, 1, 1),
        ((4,), (5, 1, 2), (2,), 1, 0, 1, 1),
    ],
)
def test_transposed_convolutions(
    places: tuple[int, ...], weight: tuple[int, ...], strides: tuple[int, ...], pads: Margin, more: Any,
    dilation: Any, groups: int,
) -> None:  # fmt: skip
    channels, *size, outs = weight
    x, w, bias = normal(1, 2, *places, channels), normal(2, *weight), normal(3, outs * groups)
    apart = dilation if isinstance(dilation, tuple) else (dilation,) * len(size)
    longer = more if isinstance(more, tuple) else (more,) * len(size)
    full = [(n - 1) * s + a * (k - 1) + 1 for n, s, a, k in zip(places, strides, apart, size, strict=True)]
    y = np.zeros((2, *(n + m for n, m in zip(full, longer, strict=True)), groups, outs), np.float64)
    parted = x.reshape(2, *places, groups, channels // groups)
    for tap in itertools.product(*map(range, size)):
        here: Any = (slice(None), *tap)
        part = np.einsum("n...gc,gco->n...go", parted, w[here].reshape(groups, -1, outs))
        cut = [
            slice(t * a, t * a + (n - 1) * s + 1, s)
            for t, a, n, s in zip(tap, apart, places, strides, strict=True)
        ]
        y[(slice(None), *cut)] += part
    kept = tuple(slice(a, n - b) for (a, b), n in zip(ends(pads, len(size)), y.shape[1:-2], strict=True))
    expected = y[(slice(None), *kept)].reshape(2, *(s.stop - s.start for s in kept), -1) + bias
    found = made(
        lambda b, x: b.conv_transpose(
            x,
            w,
            bias,
            strides=strides,
            pads=pads,
            more=more,
            dilation=dilation,
            groups=groups,
            weight_limbs=2,
        ),
        x,
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_linear_over_the_last_axis_of_any_row() -> None:
    x, w = normal(1, ROWS, 2, 3, 5), normal(2, 4, 5)
    found = made(lambda b, x: b.linear(x, w, weight_limbs=2), x)
    np.testing.assert_allclose(found, x @ w.T, atol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_experts(shared: bool) -> None:
    x, w, bias = normal(1, ROWS, *(() if shared else (4,)), 6), normal(2, 3, 5, 6), normal(3, 3, 5)
    found = made(lambda b, x, n: b.experts(x, n, w, bias, weight_limbs=2), x, NUMBERS)
    seen = np.broadcast_to(x[:, None] if shared else x, (ROWS, 4, 6))
    expected = np.einsum("nrd,nrmd->nrm", seen, w[NUMBERS]) + bias[NUMBERS]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_number_without_an_expert_is_an_error() -> None:
    with pytest.raises(ExecutionError, match=r"a number is outside 0\.\.1"):
        made(lambda b, x, n: b.experts(x, n, normal(2, 2, 5, 6)), normal(1, ROWS, 6), NUMBERS)


def test_tables() -> None:
    table = normal(1, 9, 4)
    found = made(lambda b, n: b.embed(n, table, weight_limbs=2), np.array([3, 0, 8], np.int32))
    np.testing.assert_allclose(found, table[[3, 0, 8]], atol=1e-3)


def test_products_of_activations() -> None:
    x, y = normal(1, ROWS, 2, 3, 5), normal(2, ROWS, 5, 4)
    np.testing.assert_allclose(made(lambda b, x, y: b.contract(x, y), x, y), x @ y[:, None], atol=1e-3)
    found = made(lambda b, x: b.contract(x, b.transpose(x, (1, 0)), limbs=0), INTS)
    np.testing.assert_array_equal(found, INTS.astype(np.int64) @ INTS.astype(np.int64).swapaxes(1, 2))


# -- layers ----------------------------------------------------------------------------------------------
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


# -- loops -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"divisor": 1.0, "mean": (104.0, 117.0, 123.0), "reverse": True},
        {"mean": 0.5, "std": 0.5, "channels_first": True},
        {
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "reverse": True,
            "channels_first": True,
        },
    ],
)
def test_pixels_become_what_a_network_takes(how: dict[str, Any]) -> None:
    b = ProgramBuilder(context=16, device=DEVICE)
    y = b.pixels("image", (4, 5, 3), **how)
    b.output(y)
    x = np.random.default_rng(4).integers(0, 256, (ROWS, 4, 5, 3)).astype(np.uint8)
    found = rows_of(b.model(), {"image": x})[y.name]
    given = x[..., ::-1] if how.get("reverse") else x
    right: Array = given.astype(np.float32) / np.float32(how.get("divisor", 255.0))
    right = (right - np.float32(how.get("mean", 0.0))) / np.float32(how.get("std", 1.0))
    right = right.transpose(0, 3, 1, 2) if how.get("channels_first") else right
    assert np.array_equal(found, right)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mean": (1.0, 2.0)}, "or 3 of them"),
        ({"std": (1.0, 1.0, 1.0, 1.0)}, "or 3 of them"),
        ({"std": ((1.0, 1.0, 1.0),)}, "std is a tuple"),
        ({"divisor": 0.0}, "only the mean"),
        ({"std": (1.0, 0.0, 1.0)}, "only the mean"),
        ({"mean": float("nan")}, "finite"),
    ],
)
def test_pixels_that_become_nothing(how: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ProgramBuilder(device=DEVICE).pixels("image", (4, 5, 3), **how)


def test_loops_carry_scan_and_collect() -> None:
    x, w = normal(1, ROWS, 5, 3), normal(2, 3, 3)

    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        factor = b.constant(normal(3, 3))

        def step(h: Tensor, xt: Tensor, first: Tensor) -> Any:
            h = b.map("tanh", b.linear(h, w, weight_limbs=2) + xt * factor)
            return [h], [h + first, h * 2]

        (h,), (sums, doubles) = b.scan(step, [x[0]], [x], [x[0]])
        return b.concat([h, b.reshape(sums, (-1,)), b.reshape(doubles, (-1,))])

    found = made(f, x)
    h, hs = x[:, 0], []
    for t in range(5):
        h = np.tanh(h @ w.T + x[:, t] * normal(3, 3))
        hs.append(h)
    all_ = np.stack(hs, 1)
    parts = [h, (all_ + x[:, :1]).reshape(ROWS, -1), (all_ * 2).reshape(ROWS, -1)]
    np.testing.assert_allclose(found, np.concatenate(parts, 1), atol=2e-3)


def test_loops_inside_loops() -> None:
    x = normal(1, ROWS, 2, 3)

    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        def outer(total: Tensor, line: Tensor) -> Any:
            (inner,), _ = b.scan(lambda s, e: ([s * 0.5 + e], []), [total], [line])
            return [inner], []

        (total,), _ = b.scan(outer, [b.reduce("sum", x, (0, 1)) * 0], [x])
        return total

    found = made(f, x)
    expected = np.zeros(ROWS, np.float32)
    for e in x.reshape(ROWS, -1).T:
        expected = expected * np.float32(0.5) + e
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_experts_are_chosen_in_each_step_of_a_loop() -> None:
    """Each step has a hint of its own, with sets for the matrices that its rows choose."""
    x, w = normal(1, ROWS, 4), normal(2, 3, 4, 4) / 2
    numbers = np.random.default_rng(3).integers(0, 3, (ROWS, 5, 2)).astype(np.int32)

    def f(b: ProgramBuilder, x: Tensor, numbers: Tensor) -> Tensor:
        def step(h: Tensor, chosen: Tensor) -> Any:
            return [b.map("tanh", b.reduce("sum", b.experts(h, chosen, w, weight_limbs=2), 0))], []

        (h,), _ = b.scan(step, [x], [numbers])
        assert h.shape == (4,)
        return h

    found, h = made(f, x, numbers), x
    for t in range(5):
        h = np.tanh(np.einsum("nd,nrmd->nm", h, w[numbers[:, t]]))
    np.testing.assert_allclose(found, h, atol=5e-3)


def test_a_body_sees_only_what_is_given_to_it() -> None:
    b = ProgramBuilder(device=DEVICE)
    x = b.input("x", (4, 2))
    bodies: list[tuple[str, Any]] = [
        ("neither an input nor made in this body", lambda h: ([h + x[0]], [])),
        ("carried value changes", lambda h: ([h > 0], [])),
        ("1 are carried", lambda h: ([], [h])),
        ("has not a cut", lambda h: b.cut(h)),
        ("has not an output", lambda h: b.output(h)),
        ("has not an input", lambda h: b.input("y", 2)),
    ]
    for error, body in bodies:
        with pytest.raises(InputError, match=error):
            b.scan(body, [x[0]], count=3)
    with pytest.raises(InputError, match="needs a count"):
        b.scan(lambda h: ([h], []), [x[0]])
    with pytest.raises(FormatError, match="scan: 0 steps"):
        b.scan(lambda h: ([h], []), [x[0]], count=0)
    (y,), _ = b.scan(lambda h: ([h + 1], []), [x[0]], count=3, name="y")
    b.output(y)
    assert y.name == "y"
    assert len(b.program().segments) == 1


# -- what is common --------------------------------------------------------------------------------------
def test_constants_and_numbers_serve_all_segments_and_loops() -> None:
    b = ProgramBuilder(context=4, device=DEVICE)
    x, c, n = b.input("x", 3), b.constant(normal(1, 3), name="c"), b.number(2)
    h = x * c + n
    b.cut(h)
    (g,), _ = b.scan(lambda h: ([h * c], []), [h], count=2)
    b.output(b.add(g + c * n, 0, name="y"))
    model = b.model()
    assert [w.name for w in model.program.weights] == ["c.value"]
    assert b.number(2.0) is n
    rows = normal(2, 2, 3)
    h2 = rows * normal(1, 3) + 2
    found = rows_of(model, {"x": rows})["y"]
    np.testing.assert_allclose(found, h2 * normal(1, 3) ** 2 + normal(1, 3) * 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_rows_of_every_type_are_inputs_constants_and_outputs(dtype: str) -> None:
    rows = np.array([[0, 1, 1], [1, 0, 1]], ELEMENTS[dtype])
    b = ProgramBuilder(context=4, device=DEVICE)
    x, c = b.input("x", 3, dtype), b.constant(np.array([1, 1, 0], ELEMENTS[dtype]))
    h = b.map("eq", x, c)
    b.cut(h)
    b.output(b.map("select", h, x, c, name="y"))
    found = rows_of(b.model(), {"x": rows})["y"]
    np.testing.assert_array_equal(found, np.where(rows == [1, 1, 0], rows, [1, 1, 0]))
    assert found.dtype == ELEMENTS[dtype]


def test_tensors_of_another_builder_are_refused() -> None:
    b, other = ProgramBuilder(device=DEVICE), ProgramBuilder(device=DEVICE)
    x, y = b.input("x", 3), other.input("x", 3)
    with pytest.raises(InputError, match="x is neither"):
        _ = x + y


def test_mistakes_are_named() -> None:
    b = ProgramBuilder(device=DEVICE)
    x, i = b.input("x", (4, 6)), b.input("i", (4, 6), "i32")
    w = normal(1, 3, 6)
    for error, f in (
        ("no function", lambda: x + i),
        ("is no i32", lambda: i + 1.5),
        ("is no i32", lambda: i + (1 << 31)),
        ("is no f32", lambda: x + True),
        ("do not broadcast", lambda: x + x[:, :4]),
        ("needs a tensor", lambda: b.map("add", 1, 2)),
        ("no axis 2", lambda: b.reduce("sum", x, 2)),
        ("no axis -3", lambda: b.softmax(x, -3)),
        ("has no shape", lambda: b.reshape(x, (5, -1))),
        ("has no shape", lambda: b.reshape(x, (-1, -1))),
        ("no order", lambda: b.transpose(x, (0, 0))),
        ("at most one ellipsis", lambda: x[..., 0, ...]),
        ("2 axes has no", lambda: x[0, 0, 0]),
        ("no axis 4", lambda: x[4]),
        ("index is a str", lambda: x["a"]),  # type: ignore[index]
        ("is empty", lambda: x[2:2]),
        ("pieces of", lambda: b.split(x, (1, 2))),
        ("margins", lambda: b.pad(x, (1, 1, 1))),
        ("margins", lambda: b.pad(x, -1)),
        ("2 numbers for 1 axes", lambda: b.windows(x, (2,), (1, 1))),
        ("does not broadcast to", lambda: b.broadcast(x, (4, 5))),
        ("larger than a row", lambda: b.windows(x, (5,))),
        ("windows of", lambda: b.windows(x, (2, 2, 2))),
        ("needs a tensor", lambda: b.concat([])),
        ("differ in type", lambda: b.concat([x, i])),
        ("int32 or int64", lambda: b.take(x, x)),
        ("do not fit rows", lambda: b.conv(x, normal(1, 3, 2, 5))),
        ("do not fit rows", lambda: b.conv(x, normal(1, 3, 2, 3), groups=2)),
        ("do not fit rows", lambda: b.conv(i, normal(1, 3, 2, 6))),
        ("are not 4 groups", lambda: b.group_norm(x, 4, normal(1, 6), normal(2, 6))),
        ("pool: no kind", lambda: b.pool("min", x, (2,))),
        ("pool: windows", lambda: b.pool("max", x, (5,))),
        ("pool: windows", lambda: b.pool("max", x, (2,), pads=2)),
        ("pool: windows", lambda: b.pool("max", x, (0,), dilation=2)),
        ("pool: no kind", lambda: b.pool("min", x, (2,), dilation=2)),
        ("without an element", lambda: b.pool("max", x, (2,), pads=((2, 0),))),
        ("pads is a tuple", lambda: b.conv(x, normal(1, 3, 2, 6), pads=((1, 2, 3),))),  # type: ignore[arg-type]
        ("no margins", lambda: b.conv(x, normal(1, 3, 2, 6), pads=-1)),
        ("do not fit rows", lambda: b.conv_transpose(x, normal(1, 5, 2, 3))),
        ("no strides", lambda: b.conv_transpose(x, normal(1, 6, 2, 3), strides=0)),
        ("no strides", lambda: b.spread(x, (1, 0))),
        ("pool: a size", lambda: b.pool("max", x, (2, 2, 2))),
        ("matrices do not fit", lambda: b.lstm(x, normal(1, 8, 5), normal(2, 8, 2))),
        ("matrices do not fit", lambda: b.gru(x, normal(1, 8, 6), normal(2, 6, 2))),
        ("states are", lambda: b.lstm(x, normal(1, 8, 6), normal(2, 8, 2), start=(x[0], x[0]))),
        ("has no groups", lambda: b.apply(OPERATIONS["Experts"](b.matrix_weight("m", w), 2), x[0], i[0])),
        ("has groups", lambda: b.apply(OPERATIONS["Linear"](b.matrix_weight("g", w[None]), 2), x)),
        ("already a weight", lambda: b.matrix_weight("m", w)),
        ("already a tensor", lambda: b.constant_weight("k", w) and b.map("neg", x, name="x")),
        ("takes 1 tensors, not 2", lambda: b.apply(OPERATIONS["Relu"](), x, x)),
        ("has 2 results, not 1", lambda: b.apply(Split((2, 4)), x[0])),
        ("not a NumPy array", lambda: b.constant([1.0])),  # type: ignore[arg-type]
        ("no elements of type float64", lambda: b.constant(np.zeros(3))),
        ("is empty", lambda: b.constant(np.zeros((0,), np.float32))),
    ):
        with pytest.raises(InputError, match=error):
            f()
    with pytest.raises(LimitError):
        b.broadcast(x, (1 << 20, 4, 6))
    with pytest.raises(TypeError, match="cannot be a condition"):
        bool(x > 0)
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)


def test_every_operation_that_a_program_may_name_is_offered() -> None:
    """By a method or by apply; those of decoders need committed rows before them, and come by apply."""
    assert issubclass(ProgramBuilder, Moving)
    b = ProgramBuilder(device=DEVICE)
    x = b.input("x", 4)
    assert b.apply(OPERATIONS["Relu"](), x).shape == (4,)
    scale = b.constant_weight("scale", normal(1, 4))
    assert b.apply(OPERATIONS["RmsNorm"](scale, 0), x).shape == (4,)
