"""Views, products and reductions that are joined in a plan give what they give one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, Span
from proofcompute.errors import NonFiniteError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor
from proofcompute.models.model import Model
from proofcompute.program import interpreter
from proofcompute.program.liveness import last_uses
from proofcompute.program.operations import fused, through
from proofcompute.program.operations.elementwise import Elementwise, join_maps
from proofcompute.program.operations.fused import fuse
from proofcompute.program.source import ComputeProducts, PlacedWeights, Source

CPU = kernels_for("cpu")


def normal(seed: int, *shape: int) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(b: ProgramBuilder, x: Tensor) -> Tensor:
    """Blocks as networks over images have them: residual, strided, in groups, depthwise, pooled."""
    h = b.relu(b.conv(x, normal(1, 16, 5, 5, 3), normal(2, 16), strides=2, pads=2, weight_limbs=2))
    h = b.pool("max", h, (3, 3), strides=2, pads=((0, 1), (0, 1)))
    left = b.conv(h, normal(3, 40, 1, 1, 16), normal(4, 40))
    right = b.conv(b.relu(b.conv(h, normal(5, 16, 3, 3, 16), pads=1)), normal(6, 40, 1, 1, 16), normal(7, 40))
    h = b.relu(right + left)
    h = b.relu(h + b.conv(h, normal(8, 40, 3, 3, 20), normal(9, 40), pads=1, groups=2, limbs=1))
    h = b.conv(b.silu(h), normal(10, 40, 3, 3, 1), normal(11, 40), pads=1, groups=40)
    h = b.pool("mean", h, (2, 2), strides=1, pads=((0, 1), 1))
    return b.mean(b.conv(h, normal(12, 8, 1, 1, 40), strides=2) * b.number(0.5), (0, 1))


def model_of(f: Callable[[ProgramBuilder, Tensor], Tensor], *shape: int) -> Model:
    b = ProgramBuilder(context=8, device="cpu")
    y = f(b, b.input("x", shape))
    b.output(y)
    return b.model()


class Rows:
    """The rows of one input, and what is written."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.written: dict[str, Any] = {}

    def read(self, name: str, span: Span) -> Any:
        return self.x[span.a : span.b]

    def write(self, name: str, span: Span, rows: Any) -> None:
        self.written[name] = rows


def run(model: Model, x: F32, k: Kernels) -> bytes:
    placed = PlacedWeights(model.weights, k)
    source = Source(Rows(x), placed, ComputeProducts(placed.matrix))  # type: ignore[arg-type]
    found = interpreter.run(model.program, 0, [Span(0, 0, len(x))], source, k)
    return b"".join(found[name].tobytes() for name in model.program.outputs)


def test_joined_steps_give_what_single_ones_give(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(20, 3, 21, 18, 3)
    model = model_of(network, 21, 18, 3)
    steps = fuse(model.program.plans[0].steps)
    assert sum(isinstance(s.op, through.Product) for s in steps) == len(model.program.plans[0].sites)
    found = run(model, x, CPU)
    assert found == run(model, x, NumpyKernels())
    monkeypatch.setattr(fused, "join_views", lambda steps, results: list(steps))
    monkeypatch.setattr(fused, "join_maps", lambda steps, results: list(steps))
    alone = model_of(network, 21, 18, 3)
    assert alone.model_id == model.model_id
    assert len(fuse(alone.program.plans[0].steps)) > len(steps) + 20
    assert run(alone, x, NumpyKernels()) == found


def kinds(f: Callable[[ProgramBuilder, Tensor], Tensor], *shape: int) -> list[str]:
    """The steps of a plan that are no constants."""
    steps = fuse(model_of(f, *shape).program.plans[0].steps)
    return [type(s.op).__name__ for s in steps if s.inputs]


def test_what_is_joined() -> None:
    w = normal(1, 40, 3, 3, 16)

    def residual(b: ProgramBuilder, x: Tensor) -> Tensor:
        return b.relu(b.conv(x, w[:16], pads=1) + x)

    def read_twice(b: ProgramBuilder, x: Tensor) -> Tensor:
        y = b.conv(x, w[:16], pads=1)
        return b.concat([b.relu(y), y])

    def reshaped(b: ProgramBuilder, x: Tensor) -> Tensor:
        """What reads the product has an axis more, as in imported networks."""
        return b.relu(b.reshape(b.conv(x, w[:16], pads=1), (1, 6, 6, 16)))

    def other_channels(b: ProgramBuilder, x: Tensor) -> Tensor:
        """Another last axis is none of rows of the product."""
        return b.relu(b.reshape(b.conv(x, w[:16], pads=1), (6, 12, 8)))

    def later(b: ProgramBuilder, x: Tensor) -> Tensor:
        """What the product is added to is made after it."""
        y = b.conv(x, w[:16], pads=1)
        return y + b.cumulate("sum", x, 0)

    def windows_twice(b: ProgramBuilder, x: Tensor) -> Tensor:
        """What is seen of the row is read by others too, so it is written out."""
        seen = b.reshape(b.windows(x, (3, 3)), (4, 4, 144))
        return b.linear(seen, w.reshape(40, 144)) + b.reduce("sum", seen, 2, keep=True)

    def depthwise(b: ProgramBuilder, x: Tensor) -> Tensor:
        return b.conv(x, w[:16, :, :, :1], groups=16)

    assert kinds(residual, 6, 6, 16) == ["Product"]
    assert kinds(read_twice, 6, 6, 16) == ["Product", "Elementwise", "Concat"]
    assert kinds(reshaped, 6, 6, 16) == ["Product"]
    assert kinds(other_channels, 6, 6, 16) == ["Product", "Seen", "Elementwise"]
    assert kinds(later, 6, 6, 16) == ["Product", "Cumulate", "Elementwise"]
    assert kinds(windows_twice, 6, 6, 16) == ["Seen", "Seen", "Product", "Reduction", "Seen", "Elementwise"]
    assert kinds(depthwise, 6, 6, 16) == ["Seen", "Seen", "Reduction", "Seen"]


def test_a_row_does_not_live_on_instead_of_a_small_part_of_it() -> None:
    def part(b: ProgramBuilder, x: Tensor) -> Tensor:
        return b.linear(b.windows(x, (1, 1), 8)[:, :, 0, 0], normal(1, 99, 4))

    def windows(b: ProgramBuilder, x: Tensor) -> Tensor:
        return b.linear(b.reshape(b.windows(x, (3, 3)), (14, 14, 36)), normal(1, 9, 36))

    assert kinds(part, 16, 16, 4)[:1] == ["Seen"]
    assert kinds(windows, 16, 16, 4) == ["Product"]


@pytest.mark.parametrize("joined", [True, False])
def test_no_more_is_alive_than_the_plan_counts(joined: bool) -> None:
    """With nothing for what a step holds inside; the bytes of one row."""
    x, model = normal(20, 1, 21, 18, 3), model_of(network, 21, 18, 3)
    plan = model.program.plans[0]
    steps = fuse(plan.steps) if joined else plan.steps
    placed = PlacedWeights(model.weights, CPU)
    source = Source(Rows(x), placed, ComputeProducts(placed.matrix))  # type: ignore[arg-type]
    values: dict[str, Any] = {"x": x}
    most = 0
    for step, last in zip(steps, last_uses(steps), strict=True):
        outs = step.op.run([values[n] for n, _ in step.inputs], [Span(0, 0, 1)], source, CPU)
        values |= dict(zip((n for n, *_ in step.outputs), outs, strict=True))
        most = max(most, sum(v.nbytes for v in values.values()))
        for name in last:
            values.pop(name, None)
    assert plan.row_memory // 20 < most <= plan.row_memory


def test_an_error_names_the_joined_steps() -> None:
    def product(b: ProgramBuilder, x: Tensor) -> Tensor:
        return b.relu(b.conv(x, normal(1, 4, 3, 3, 8), pads=1, name="second"), name="third")

    x = normal(2, 1, 5, 5, 8)
    x[0, 2, 2, 3] = np.inf
    for k in (CPU, NumpyKernels()):
        with pytest.raises(NonFiniteError, match=r"linear|second\+third"):
            run(model_of(product, 5, 5, 8), x, k)


def test_maps_are_still_joined() -> None:
    """The chain behind a product is one expression before it becomes a part of the product."""
    plan = model_of(network, 21, 18, 3).program.plans[0]
    chains = [s.op for s in join_maps(plan.steps, frozenset()) if isinstance(s.op, Elementwise)]
    assert any(len(op.expression.terms) > 3 for op in chains)
