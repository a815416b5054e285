"""Convolutions and other products that a builder offers give what NumPy says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from jobs.built import DEVICE, INTS, NUMBERS, ROWS, convolved, ends, made, normal, rows_of
from proofcompute.errors import ExecutionError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.moving import Margin
from proofcompute.models.building.products import FLOAT_CONTRACTION


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
