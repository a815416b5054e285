"""A composite that backends have as it is gives what its expansion into primitives gives, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba import NumbaKernels, mapping
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, Array, Span
from proofcompute.encoding.wire import f32_bits
from proofcompute.program.operations import (
    Add,
    Gate,
    Gelu,
    LayerNorm,
    Lstm,
    Pool,
    Relu,
    RmsNorm,
    Silu,
    Softmax,
)
from proofcompute.program.operations.base import Pointwise
from proofcompute.program.operations.codec import OPERATIONS
from proofcompute.program.operations.elementwise import repeated
from proofcompute.program.operations.fused import fuse
from proofcompute.program.program import Program
from proofcompute.program.source import PlacedWeights, Source
from proofcompute.program.types import Node, Segment, Spec, Step, WeightSpec

BACKENDS: list[Kernels] = [NumpyKernels(), NumbaKernels()]
SHAPES: list[tuple[int, ...]] = [(1,), (7,), (64,), (130,), (3, 5), (1, 6), (2, 1, 2, 9)]
COMPILED = [(7,), (3, 5)]
"""Shapes for which everything is compiled; else what is used a little is left to the definition."""
ROWS = 5
EPS = f32_bits(1e-5)
COMPOSITES: dict[str, Any] = {
    "Add": lambda: Add(),
    "Gate": lambda: Gate(),
    "Gelu": lambda: Gelu(),
    "LayerNorm": lambda: LayerNorm("w", "b", EPS),
    "Relu": lambda: Relu(),
    "RmsNorm": lambda: RmsNorm("w", EPS),
}
EXTREMES = np.array(
    [0, -0.0, 1e-45, -1e-45, 1.2e-38, 3e38, -3e38, np.inf, -np.inf, np.nan, 1, -1, 88.8, -104, 1e-20, 1e20],
    np.float32,
)


def values(kind: str, seed: int, shape: Sequence[int]) -> F32:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, *shape)).astype(np.float32)
    if kind == "wide":
        with np.errstate(over="ignore"):
            x = (x * np.exp(30 * rng.standard_normal(x.shape))).astype(np.float32)
    if kind == "extreme":
        x = rng.choice(EXTREMES, x.shape)
    return x


def program(op: Any, shape: tuple[int, ...]) -> Program:
    inputs = tuple(f"x{i}" for i in range(len(op.reads())))
    vector = (shape[-1],)
    return Program(
        inputs=tuple((n, Spec("f32", shape)) for n in inputs),
        outputs=("y",),
        feedback=False,
        context=8,
        weights=tuple(WeightSpec(n, "constant", vector, "f32") for n in ("w", "b")),
        committed=(),
        segments=(Segment("s", (Node("n", op, inputs, ("y",)),)),),
    )


def run(steps: Sequence[Step], given: dict[str, Array], src: Any, k: Kernels) -> Array:
    """What the steps make; results are not settled."""
    found = dict(given)
    for step in steps:
        ins = [found[n] for n, _ in step.inputs]
        ins = ins if step.op.broadcasts else [repeated(x, ROWS, k) for x in ins]
        with np.errstate(all="ignore"):
            made = step.op.run(ins, [Span(0, 0, ROWS)], src, k)
        found |= dict(zip((n for n, *_ in step.outputs), made, strict=True))
    return np.asarray(repeated(found["y"], ROWS, k))


def plain(x: Array) -> tuple[str, tuple[int, ...], bytes]:
    """Type, shape and bytes; a NaN has no sign and no payload."""
    return x.dtype.str, x.shape, np.where(np.isnan(x), np.float32(np.nan), x).tobytes()


@pytest.mark.parametrize("kind", ["normal", "wide", "extreme"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", COMPOSITES)
def test_native_equals_expanded(
    name: str, shape: tuple[int, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "Gate" and shape[-1] % 2:
        shape = (*shape[:-1], shape[-1] + 1)
    op = COMPOSITES[name]()
    native = program(op, shape).plans[0].steps
    monkeypatch.setattr(type(op), "native", False)
    expanded = program(op, shape).plans[0].steps
    assert len(native) == 1
    assert not any(isinstance(s.op, type(op)) for s in expanded)
    if shape in COMPILED:
        monkeypatch.setitem(vars(mapping), "_WORTH", 0)
    given = {f"x{i}": values(kind, i, shape) for i in range(len(op.reads()))}
    weights = {"w": values("normal", 8, shape[-1:])[0], "b": values("normal", 9, shape[-1:])[0]}
    made = []
    for k in BACKENDS:
        src: Any = Source(None, PlacedWeights(weights, k), None)  # type: ignore[arg-type]
        made += [plain(run(steps, given, src, k)) for steps in (native, expanded, fuse(expanded))]
    assert made == [made[0]] * len(made)


def test_all_native_composites_are_compared() -> None:
    """A composite that a backend has as it is needs a case above; routers have theirs in test_routing.py."""
    ins = [Spec("f32", (4,)), Spec("f32", (4,))]
    native = {name for name, cls in OPERATIONS.items() if cls.native and (cls.expand is not Pointwise.expand)}
    assert native == {*COMPOSITES, "Mix", "Route"}
    for name, make in COMPOSITES.items():
        assert make().expand(ins, {}) is not None, name


@pytest.mark.parametrize(
    "op",
    [
        LayerNorm("w", "b", EPS), RmsNorm("w", EPS), Lstm("m", "r", 2), Softmax(0), Silu(),
        Pool("mean", (2,), (1,), (1,)),
    ],
)  # fmt: skip
def test_an_expansion_uses_the_weights_that_its_composite_names(op: Any) -> None:
    """Weights are placed, and put into keys, by what the composite says."""
    specs = [Spec("f32", (3, 4)), Spec("f32", (5,)), Spec("f32", (5,))][: len(op.reads())]
    weights = {"m": WeightSpec("m", "matrix", (20, 4)), "r": WeightSpec("r", "matrix", (20, 5))}
    expansion = op.expand(specs, weights)
    assert expansion is not None
    assert {w for node in expansion.nodes for w in node.op.weights()} == set(op.weights())
