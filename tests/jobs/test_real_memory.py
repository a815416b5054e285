"""What NumPy takes while a wide row is computed is what the plan counts, and blocks of a fixed size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.definition import primitives
from proofcompute.arithmetic.primitives import Expression, Term
from proofcompute.arrays import Span
from proofcompute.models.builder import ProgramBuilder, Tensor
from proofcompute.program.liveness import last_uses
from proofcompute.program.operations import Route
from proofcompute.program.operations.fused import fuse
from proofcompute.program.source import ComputeProducts, PlacedWeights, Source

K: Final = synthetic.KERNELS
BLOCKS: Final = 10 << 20
"""The most bytes of the blocks in which NumPy evaluates, whatever the width."""


def chain(b: ProgramBuilder, x: Tensor) -> Tensor:
    y = b.map("erf", b.map("exp", x * 0.5 - 1.0))
    return b.map("tanh", b.map("pow", b.map("abs", y) + 0.5, x))


def broadcast(b: ProgramBuilder, x: Tensor) -> Tensor:
    rows = b.reshape(x, (64, -1, 4))
    return b.map("sin", rows * rows[:, :1] + rows[:1])


def softmax(b: ProgramBuilder, x: Tensor) -> Tensor:
    return b.softmax(b.reshape(x, (-1, 16)))


def routed(b: ProgramBuilder, x: Tensor) -> Tensor:
    numbers, _ = b.apply_all(Route(8, "softmax", 1, 8, 4, 2), x, names=("numbers", "shares"))
    return numbers


def sigmoid(b: ProgramBuilder, x: Tensor) -> Tensor:
    return b.apply_all(Route(8, "sigmoid"), x, names=("numbers", "shares"))[1]


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize(
    ("network", "width", "besides"),
    [
        (chain, 1 << 20, BLOCKS),
        (broadcast, 1 << 20, BLOCKS),
        (softmax, 1 << 20, BLOCKS),
        (routed, 1 << 12, 1 << 15),  # which is not evaluated in blocks
        (sigmoid, 1 << 12, 1 << 15),
    ],
)
def test_a_wide_row_takes_what_the_plan_counts(
    network: Callable[[ProgramBuilder, Tensor], Tensor], width: int, besides: int, joined: bool
) -> None:
    b = ProgramBuilder(device="numpy")
    b.output(network(b, b.input("x", width)))
    model = b.model()
    (plan,) = model.program.plans
    steps = fuse(plan.steps) if joined else plan.steps
    placed = PlacedWeights(model.weights, K)
    values: dict[str, Any] = {"x": np.random.default_rng(1).random((1, width), np.float32)}
    source = Source(None, placed, ComputeProducts(placed.matrix))  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        for step, last in zip(steps, last_uses(steps), strict=True):
            outs = step.op.run([values[n] for n, _ in step.inputs], [Span(0, 0, 1)], source, K)
            values |= dict(zip((n for n, *_ in step.outputs), outs, strict=True))
            del outs
            for name in last:
                values.pop(name, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    own = 4 * width  # the row itself, which was there before
    assert peak + own <= plan.row_memory + besides
    assert peak + own > plan.row_memory // 4  # nor does it count much more than there is


@pytest.mark.parametrize("most", [1, 2, 5, 24, 59, 60, 1000])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5), (2, 1, 9), (1, 1)])
def test_blocks_of_any_size_give_the_same(
    shape: tuple[int, ...], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(4)
    sizes = ((2, *shape), (1, *shape), (2,))
    rows = [draw.standard_normal(size).astype(np.float32) for size in sizes]
    terms = (Term("constant", (), "f32", 0x3F000000), Term("mul", (0, 1), "f32"), Term("add", (4, 2), "f32"))
    e = Expression(("f32",) * 3, (*terms, Term("div", (5, 3), "f32")))
    whole = primitives.evaluate(e, rows, 2, shape)
    monkeypatch.setattr(primitives, "_BLOCK", most)
    assert primitives.evaluate(e, rows, 2, shape).tobytes() == whole.tobytes()
    assert (whole == (rows[0] * rows[1] + rows[2].reshape(2, *(1,) * len(shape))) / np.float32(0.5)).all()
