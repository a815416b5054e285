"""Model files of the networks in examples/, with inputs and cheating copies for tests of the command line."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Network:
    """A network and what a test needs to know of it."""

    model: Model
    rows: Array
    """Rows of the only input."""
    expected: Array
    """What the network gives for them in floats, by the example's own code."""
    cheat: Model
    """The same card with another weight: a node that has it commits to another computation."""
    step: int
    """The step at which a full audit finds the cheat."""


def _altered(model: Model, chosen: Callable[[str], bool]) -> Model:
    """A model whose first chosen weight differs in one place."""
    name = next(w.name for w in model.program.weights if chosen(w.name))
    weight = model.weights[name]
    if isinstance(weight, Matrix):
        q = weight.q.copy()
        q[0, 0, 0] ^= 1
        return replace(model, weights={**model.weights, name: replace(weight, q=q)})
    other = weight.copy()
    other[0] = -other[0]
    return replace(model, weights={**model.weights, name: other})


def network(name: str) -> Network:
    """The network of examples/hand_built_NAME.py."""
    example = runpy.run_path(str(EXAMPLES / f"hand_built_{name}.py"))
    parameters = example["grow"]() if name == "trees" else example["parameters"]()
    model: Model = example["build"](parameters)
    ((_, spec),) = model.program.inputs
    rows = np.random.default_rng(1).standard_normal((5, *spec.shape), np.float32)
    matrices = {w.name for w in model.program.weights if w.kind == "matrix"}
    chosen = (lambda n: n in matrices) if matrices else (lambda n: n.startswith("threshold"))
    expected = example["reference"](parameters, rows)
    return Network(model, rows, expected, _altered(model, chosen), 8 if matrices else 9)


def typed_model() -> Model:
    """A model with an input of every kind: floats, pixels, integers, bools and a single number."""
    b = ProgramBuilder(device="numpy", context=16)
    x = b.input("x", (2, 3))
    n = b.input("n", 4, "i32")
    big = b.input("big", (), "i64")
    flag = b.input("flag", 2, "bool")
    image = b.input("image", (4, 6, 3), "u8")
    total = b.reduce("sum", x, (0, 1)) + b.cast(b.reduce("sum", n, 0), "f32") + b.cast(big, "f32")
    light = b.reduce("sum", b.cast(image, "f32"), (0, 1))
    b.output(b.map("add", b.select(flag[0], total, -total), light, name="y"))
    return b.model()


def pixel_model(shape: tuple[int, ...] = (4, 6, 3)) -> Model:
    """A model that takes a picture and returns the sum of its pixels."""
    b = ProgramBuilder(device="numpy", context=16)
    image = b.input("image", shape, "u8")
    b.output(b.reduce("sum", b.cast(image, "i32"), tuple(range(len(shape))), name="light"))
    return b.model()
