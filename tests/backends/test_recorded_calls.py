"""Every call that is recorded gives the bytes of its definition when it is repeated, for any rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from backends.recorded_steps import Compute, plain, repeated
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps import crew, repeating
from proofcompute.arithmetic.kernels import Matrix, Routing
from proofcompute.arithmetic.primitives import Expression, Term, View
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError

Inputs = Mapping[str, Array]
ROWS = 9
EPS = np.float32(1e-6)


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How each repeated step ended. Loops are compiled for the first."""
    found: list[bool] = []

    def lead(*arguments: Any) -> bool:
        found.append(original(*arguments))
        return found[-1]

    original = crew.lead
    monkeypatch.setattr(crew, "lead", lead)
    monkeypatch.setattr(repeating, "_COMPILED", 0)
    return found


def floats(seed: int, *shape: int) -> Array:
    """Numbers of all sizes, some zeros of either sign among them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)
    x[rng.random(shape) < 0.1] = -0.0
    x[rng.random(shape) < 0.05] = 1e-40
    return x.astype(np.float32)


def simple(call: Callable[..., Any], *constants: Array) -> Callable[[Any], Compute]:
    """A step of one call, which gets the backend, the inputs in order, and placed constants."""

    def make(k: Any) -> Compute:
        placed = [k.array(x) for x in constants]

        def compute(k: Any, rows: Inputs, _: Any) -> list[Array]:
            y = call(k, *rows.values(), *placed)
            return [*y] if isinstance(y, tuple) else [y]

        return compute

    return make


def matrix(seed: int, groups: int, limbs: int, m: int, d: int, bias: bool) -> Matrix:
    rng = np.random.default_rng(seed)
    q = rng.integers(-128, 128, (groups, limbs, m, d)).astype(np.int8)
    scale = rng.random((groups, m)).astype(np.float32)
    return Matrix(q, scale, rng.standard_normal((groups, m)).astype(np.float32) if bias else None)


def chosen(limbs: int, w: Matrix) -> Callable[[Any], Compute]:
    def make(k: Any) -> Compute:
        placed = k.weight(w)

        def compute(k: Any, rows: Inputs, _: Any) -> list[Array]:
            x, numbers = rows["x"], rows["numbers"]
            y = k.experts(x.reshape(-1, x.shape[-1]), placed, numbers, limbs)
            return [y.reshape(1, *y.shape)]

        return compute

    return make


SWISH = Expression(
    ("f32", "f32"),
    (
        Term("constant", (), "f32", 0x3F800000),
        Term("neg", (0,), "f32"),
        Term("exp", (3,), "f32"),
        Term("add", (2, 4), "f32"),
        Term("div", (0, 5), "f32"),
        Term("add", (6, 1), "f32"),
    ),
)
"""x / (1 + exp(-x)) + y."""
LONG = Expression(
    ("f32", "f32"), tuple(Term(("add", "mul", "sub")[i % 3], (i + 1, i % 5), "f32") for i in range(60))
)
"""More than one loop computes, each reading some of what the one before it wrote."""
WHOLE = Expression(
    ("i32", "f32", "bool"),
    (Term("cast", (1,), "i32"), Term("mul", (0, 3), "i32"), Term("select", (2, 4, 0), "i32")),
)
NUMBERS = np.random.default_rng(5)
CASES: dict[str, tuple[Callable[[Any], Compute], Inputs]] = {}


def _case(name: str, make: Callable[[Any], Compute], **inputs: Array) -> None:
    CASES[name] = make, inputs


for h, d in ((1, 1), (1, 577), (5, 7), (12, 64), (3, 1030)):
    x, w = floats(h, ROWS, h, d), floats(d, d)
    _case(f"rms norm {h} {d}", simple(lambda k, x, w: k.rms_norm(x[0], w, EPS)[None], w), x=x)
    _case(
        f"layer norm {h} {d}",
        simple(lambda k, x, w, b: k.layer_norm(x[0], w, b, EPS)[None], w, w[::-1].copy()),
        x=x,
    )
    _case(f"gate {h} {d}", simple(lambda k, x: k.gate(x[0])[None]), x=floats(h, ROWS, h, 2 * d))
    _case(f"mix {h} {d}", simple(lambda k, x, s: k.mix(x, s)), x=x, s=floats(d, ROWS, h))
for size in (1, 7, 4096, 24576):
    x, y = floats(size, ROWS, size), floats(size + 1, ROWS, size)
    _case(f"gelu {size}", simple(lambda k, x: k.gelu(x)), x=x)
    _case(f"relu {size}", simple(lambda k, x: k.relu(x)), x=x)
    _case(f"add {size}", simple(lambda k, x, y: k.add(x, y)), x=x, y=y)
    _case(f"settled {size}", simple(lambda k, x: k.settle(x)), x=x)
    _case(f"one loop {size}", simple(lambda k, x, y: k.evaluate(SWISH, (x, y), 1, x.shape[1:])), x=x, y=y)
    _case(f"loops {size}", simple(lambda k, x, y: k.evaluate(LONG, (x, y), 1, x.shape[1:])), x=x, y=y)
x = floats(2, ROWS, 3, 5, 70)
_case("constants", simple(lambda k, x, y: k.evaluate(SWISH, (x, y), 1, (3, 5, 70)), floats(7, 1, 5, 1)), x=x)
_case(
    "a column",
    simple(lambda k, x, y: k.evaluate(SWISH, (x, y), 1, (3, 5, 70))),
    x=x,
    y=floats(7, ROWS, 3, 1, 1),
)
_case(
    "whole numbers",
    simple(lambda k, i, x, b: k.evaluate(WHOLE, (i, x, b), 1, (41,))),
    i=NUMBERS.integers(-(1 << 31), 1 << 31, (ROWS, 41)).astype(np.int32),
    x=floats(8, ROWS, 41),
    b=NUMBERS.random((ROWS, 1)) < 0.5,
)
_case("a scalar", simple(lambda k, x, y: k.evaluate(SWISH, (x, y), 1, ())), x=x[:, 0, 0, 0], y=x[:, 1, 1, 1])
_case("join 0", simple(lambda k, x, y: k.join((x, y, x), 0)), x=x, y=floats(3, ROWS, 1, 5, 70))
_case("join 1", simple(lambda k, x, y: k.join((x, y), 1), floats(3, 1, 3, 2, 70)), x=x)
_case("join 2", simple(lambda k, x, y: k.join((x, y, y), 2)), x=x, y=floats(3, ROWS, 3, 5, 9))
for name, v in {
    "rows": View((3, 70), (350, 1), 70, (0, 0), (3, 70)),
    "turned": View((70, 5, 3), (1, 70, 350), 0, (0, 0, 0), (70, 5, 3)),
    "backwards": View((3, 5, 70), (-350, 70, -1), 769, (0, 0, 0), (3, 5, 70)),
    "again": View((4, 2), (0, 2), 3, (0, 0), (4, 2)),
    "one": View((), (), 5, (), ()),
    "whole": View((1050,), (1,), 0, (0,), (1050,)),
}.items():
    _case(f"view {name}", simple(lambda k, x, v=v: k.view(x, v)), x=x)
table = floats(4, 1, 13, 5)
ids = NUMBERS.integers(0, 13, (ROWS, 2, 3)).astype(np.int32)
_case("take", simple(lambda k, i, t: k.take(t, i), table), i=ids)
_case("take of own", simple(lambda k, t, i: k.take(t, i)), t=floats(4, ROWS, 13, 5), i=ids)
_case("columns", simple(lambda k, x: k.slice_columns(x[0].reshape(1, 1050), 3, 9)), x=x)
for limbs, w_limbs, each, d, m in (
    (1, 1, False, 33, 7),
    (2, 1, True, 64, 40),
    (2, 2, False, 129, 70),
    (1, 2, True, 7, 1),
):
    experts = matrix(d, 5, w_limbs, m, d, each)
    x = floats(d, ROWS, *((3,) if each else ()), d)
    numbers = NUMBERS.integers(0, 5, (ROWS, 3)).astype(np.int32)  # also the same one twice
    _case(f"experts {d} {m}", chosen(limbs, experts), x=x, numbers=numbers)
for how in (
    Routing(2, "softmax", True, 1, 1, 1),
    Routing(8, "chosen", False, 1, 1, 1),
    Routing(3, "sigmoid", True, 4, 2, 2),
):
    logits = np.round(floats(3, ROWS, 8))  # some are equal
    _case(f"route {how.score}", simple(lambda k, x, how=how: k.route(x, how, None)), x=logits)
    _case(
        f"route {how.score}, corrected",
        simple(lambda k, x, c, how=how: k.route(x, how, c), floats(6, 8)),
        x=logits,
    )


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_repeated_call_gives_the_bytes_of_its_definition(
    name: str, size: int, led: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "size", lambda: size)
    make, inputs = CASES[name]
    expected = plain(make, inputs)
    for rows in (1, 2, ROWS):
        some = {k: x[-rows:] for k, x in inputs.items()}
        found = repeated(make, some, expected[0], NumbaKernels())
        assert led.pop() is True
        for ours, theirs in zip(found, expected[-rows:], strict=True):
            for y, z in zip(ours, theirs, strict=True):
                assert (y.dtype, y.shape, y.tobytes()) == (z.dtype, z.shape, z.tobytes())
    assert not led


def test_positions_are_those_of_each_row(led: list[bool]) -> None:
    def make(k: Any) -> Compute:
        return lambda k, rows, span: [k.positions([span])]

    x = {"x": np.zeros((ROWS, 1), np.float32)}
    found = repeated(make, x, [np.zeros(1, np.int32)], NumbaKernels())
    assert [int(y[0]) for (y,) in found] == [*range(1, ROWS + 1)]
    assert led == [True]


@pytest.mark.parametrize("what", ["experts", "take", "division"])
@pytest.mark.parametrize("bad", [-1, 5, 1 << 30])
def test_a_number_without_an_entry_is_the_error_of_the_plain_call(
    what: str, bad: int, led: list[bool]
) -> None:
    """Numbers of later rows are not those that were recorded."""
    numbers = np.zeros((3, 2), np.int32)
    numbers[2, 1] = bad
    if what == "experts":
        make, inputs = chosen(1, matrix(1, 5, 1, 4, 6, False)), {"x": floats(1, 3, 6), "numbers": numbers}
    elif what == "take":
        make, inputs = simple(lambda k, i, t: k.take(t, i), floats(1, 1, 5, 2)), {"i": numbers}
    else:
        half = Expression(("i32", "i32"), (Term("div", (0, 1), "i32"),))
        make = simple(lambda k, x, y: k.evaluate(half, (x, y), 1, (2,)))
        inputs = {"x": numbers, "y": (numbers != bad).astype(np.int32)}
    first = {k: x[:1] for k, x in inputs.items()}
    (like,) = plain(make, first)
    with pytest.raises(ExecutionError):
        repeated(make, inputs, like, NumbaKernels())
    assert led == [False]


def test_a_call_of_another_kind_is_not_recorded(led: list[bool]) -> None:
    """What NumPy does in between is found where it is used, and nothing is repeated."""
    make = simple(lambda k, x: k.add(x * np.float32(2), x))
    x = {"x": floats(1, 3, 4)}
    expected = plain(make, x)
    found = repeated(make, x, expected[0], NumbaKernels())
    assert [y[0].tobytes() for y in found] == [y[0].tobytes() for y in expected]
    assert not led
