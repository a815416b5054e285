"""Routers and weighted sums: what a backend computes at once is what the expansion says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pytest

from kernel_cases import CASES
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels, Routing
from proofcompute.arrays import Array, Span
from proofcompute.errors import FormatError, NonFiniteError
from proofcompute.program.interpreter import run
from proofcompute.program.operations import Mix, Route
from proofcompute.program.program import Program
from proofcompute.program.source import PlacedWeights, Source
from proofcompute.program.types import Node, Op, Segment, Spec, WeightSpec


@dataclass(frozen=True)
class ExpandedRoute(Route):
    native = False


@dataclass(frozen=True)
class ExpandedMix(Mix):
    native = False


class Rows:
    """A RowReader of what is given."""

    def __init__(self, given: dict[str, Array]) -> None:
        self.given = given

    def read(self, name: str, span: Span) -> Array:
        return self.given[name][span.a : span.b]

    def write(self, name: str, span: Span, rows: Array) -> None:
        pass


KERNELS: Final[list[Kernels]] = [NumpyKernels(), NumbaKernels()]


def made(op: Op, k: Kernels, inputs: Sequence[Array], correction: Array | None) -> object:
    """What an operation makes of rows, in a program: bytes, or the name of the error."""
    names = [f"x{i}" for i in range(len(inputs))]
    outputs = ("numbers", "shares") if isinstance(op, Route) else ("y",)
    program = Program(
        inputs=tuple((name, Spec("f32", x.shape[1:])) for name, x in zip(names, inputs, strict=True)),
        outputs=outputs,
        feedback=False,
        context=64,
        weights=() if correction is None else (WeightSpec("c", "constant", correction.shape, "f32"),),
        committed=(),
        segments=(Segment("all", (Node("op", op, tuple(names), outputs),)),),
    )
    rows: Any = Rows(dict(zip(names, inputs, strict=True)))
    products: Any = None
    source = Source(rows, PlacedWeights({} if correction is None else {"c": correction}, k), products)
    try:
        found = run(program, 0, [Span(0, 0, len(inputs[0]))], source, k)
    except NonFiniteError:
        return "not finite"
    return [(found[name].shape, found[name].tobytes()) for name in outputs]


ROUTES = [case for case in CASES if case.method == "route" and case.raises in (None, NonFiniteError)]


@pytest.mark.parametrize("kind", range(7))
def test_a_route_is_its_expansion(kind: int) -> None:
    for case in ROUTES[kind::7]:
        x, how, correction = case.build()
        options = (how.top_k, how.score, int(how.normalise), how.groups, how.top_groups, how.best)
        name = "" if correction is None else "c"
        expected = made(ExpandedRoute(*options, name), KERNELS[0], [x], correction)
        for k in KERNELS:
            assert made(Route(*options, name), k, [x], correction) == expected, case


def test_a_mix_is_its_expansion() -> None:
    for case in CASES:
        if case.method == "mix" and case.raises is None:
            expected = made(ExpandedMix(), KERNELS[0], case.build(), None)
            for k in KERNELS:
                assert made(Mix(), k, case.build(), None) == expected, case


def test_a_route_chooses_the_first_of_equal_scores() -> None:
    numbers, shares = KERNELS[0].route(
        np.array([[1, 3, 3, 2, 3]], np.float32), Routing(2, "chosen", False, 1, 1, 1), None
    )
    assert numbers.tolist() == [[1, 2]]
    assert shares.tolist() == [[0.5, 0.5]]


def test_groups_are_chosen_by_their_two_best_scores() -> None:
    x = np.array([[5, -9, -9, 3, 3, 0, 4, 0, 0]], np.float32)  # groups count for -4, 6 and 4
    one, two = (Routing(3, "chosen", False, 3, 2, best) for best in (1, 2))
    assert KERNELS[0].route(x, one, None)[0].tolist() == [[0, 6, 7]]
    assert KERNELS[0].route(x, two, None)[0].tolist() == [[6, 3, 4]]


@pytest.mark.parametrize(
    "wrong",
    [
        Route(0),
        Route(7),
        Route(1, "tanh"),
        Route(1, normalise=2),
        Route(1, groups=4),
        Route(1, groups=3, top_groups=0),
        Route(1, groups=3, top_groups=4),
        Route(3, groups=3, top_groups=1),
        Route(1, best=3),
        Route(1, correction="none"),
    ],
)
def test_a_route_that_does_not_fit_is_refused(wrong: Route) -> None:
    with pytest.raises(FormatError):
        wrong.infer([Spec("f32", (6,))], {})


def test_other_types_are_refused() -> None:
    for spec in (Spec("i32", (6,)), Spec("f32", (2, 3)), Spec("f32", ())):
        with pytest.raises(FormatError):
            Route(1).infer([spec], {})
    x, shares = Spec("f32", (3, 4)), Spec("f32", (3,))
    assert Mix().infer([x, shares], {}) == (Spec("f32", (4,)),)
    for ins in (
        [x],
        [x, Spec("f32", (4,))],
        [x, Spec("i32", (3,))],
        [shares, shares],
        [Spec("i32", (3, 4)), shares],
    ):
        with pytest.raises(FormatError):
            Mix().infer(ins, {})
