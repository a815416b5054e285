"""Measures ours as CommitLLM publishes: product checks of one token at shapes of Llama 8B, 70B and 405B.

Random hints, columns and rows of the shapes, as theirs: a check costs the same whatever comes of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.cost.shapes import LARGER, MODELS
from benchmarks.scale.bandwidth import LayerChecks
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.timing import in_turn, spread
from proofcompute.freivalds.soundness import shown, soundness_bits
from proofcompute.testing.models import Shape

SHAPES = {
    "8B": MODELS["Llama-3.1-8B"],
    "70B": MODELS["Llama-3.1-70B"],
    "405B": LARGER["Llama-3.1-405B"],
}
COLUMNS, SOME, ROUNDS = (1, 2), 10, 15


def run(_case: str) -> list[dict[str, Any]]:
    """Measure some layers and all, without and with the gate, for each shape and number of columns."""
    kernels = kernels_for("cpu")
    return [
        row(name, shape, columns, kernels, ROUNDS) for name, shape in SHAPES.items() for columns in COLUMNS
    ]


def row(name: str, shape: Shape, columns: int, kernels: Kernels, rounds: int) -> dict[str, Any]:
    """Measure one shape, without its embedding and head."""
    few = LayerChecks(replace(shape, layers=min(SOME, shape.layers)), 1, columns, kernels)
    every = LayerChecks(shape, 1, columns, kernels)
    actions = [few.check, every.check, few.check_and_gate, every.check_and_gate]
    for action in actions:
        action()
    names = ("ten", "all", "ten_gate", "all_gate")
    times = dict(zip(names, in_turn(actions, rounds), strict=True))
    return {
        "system": "ours",
        "model": f"{name}, {shape.layers} layers",
        "columns": columns,
        "passes": "2^-" + shown(soundness_bits(columns, 1)).removesuffix(" bits"),
        **{f"{what}_seconds": spread(found)["median"] for what, found in times.items()},
        "rounds": times,
    }
