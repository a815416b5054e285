"""Chains of elementwise operations become one: the same bytes, no more memory, the same products."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.primitives import MAX_INPUTS, MAX_TERMS
from proofcompute.arrays import Array, Span
from proofcompute.errors import ExecutionError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor
from proofcompute.models.model import Model
from proofcompute.program import interpreter
from proofcompute.program.liveness import last_uses, row_memory
from proofcompute.program.operations import elementwise
from proofcompute.program.operations.elementwise import Elementwise, join_maps
from proofcompute.program.operations.fused import fuse
from proofcompute.program.source import HintProducts, PlacedWeights, Source
from proofcompute.program.types import Reads, Spec, Step

NUMPY, CPU = kernels_for("numpy"), NumbaKernels()
ROWS, WIDTH = 3, 6
UNARY = ["neg", "abs", "exp", "tanh", "rint", "floor"]
BINARY = ["add", "sub", "mul", "div", "min", "max"]


class Rows:
    """Rows of inputs, and of what was written."""

    def __init__(self, inputs: dict[str, Array]) -> None:
        self.values, self.written = dict(inputs), list[str]()

    def read(self, name: str, span: Span) -> Array:
        return self.values[name][span.a : span.b]

    def write(self, name: str, span: Span, rows: Array) -> None:
        self.values[name] = np.asarray(rows)
        self.written.append(name)


def random_model(rng: Random, length: int = 14) -> Model:
    """Maps over two inputs with shared readers, constants, broadcasting, products and cuts in between."""
    b = ProgramBuilder(context=8, device="numpy")
    noise = np.random.default_rng(rng.randrange(1 << 30))
    vectors = [b.constant(noise.standard_normal(WIDTH).astype(np.float32)) for _ in range(2)]
    shapes: list[tuple[int, ...]] = [(WIDTH,), (2, WIDTH)]
    pool: list[Tensor] = [b.input(f"x{i}", s) for i, s in enumerate(shapes)]
    committed = list(pool)
    """What may be used after a cut."""

    def pick() -> Any:
        kind = rng.randrange(8)
        if kind == 0:
            return rng.choice(vectors)
        return rng.choice((0.5, 1, 1, 2)) if kind == 1 else rng.choice(pool[-5:])

    for _ in range(length):
        x = rng.choice(pool[-4:])
        kind = rng.randrange(12)
        if kind < 3:
            pool.append(b.map(rng.choice(UNARY), x))
        elif kind < 8:
            pool.append(b.map(rng.choice(BINARY), *rng.sample([x, pick()], 2)))
        elif kind == 8:
            pool.append(b.select(x > pick(), x, pick()))
        elif kind == 9:
            pool.append(b.map("tanh", b.linear(x, noise.standard_normal((WIDTH, WIDTH)).astype(np.float32))))
        elif kind == 10:
            pool.append(b.cast(b.cast(x, "i8") << 1, "f32"))
        elif pool[-1] not in committed:
            b.cut(pool[-1])
            committed.append(pool[-1])
            pool = list(committed)
    last = b.map("tanh", b.map("max", b.map("min", pool[-1], 1e3), -1e3), name="y")
    b.output(last)
    return b.model()


def given_rows(m: Model) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal((ROWS, *s.shape)).astype(np.float32) for n, s in m.program.inputs}


def outcome(m: Model, k: Kernels, steps: Any) -> object:
    """All that a model writes, the hints of its products in order; or that its arithmetic has no result."""
    rows, hints = Rows(given_rows(m)), list[Any]()
    weights = PlacedWeights(m.weights, k)
    products = HintProducts(weights.matrix, lambda name: (1 << 40,) * len(m.matrix(name).q), hints)
    src = Source(rows, weights, products)  # type: ignore[arg-type]
    for plan in m.program.plans:
        found = steps(plan.steps)
        try:
            with np.errstate(all="ignore"):
                interpreter._run(
                    tuple(zip(found, last_uses(found), strict=True)),
                    [Span(0, 0, ROWS)],
                    [src] * len(found),
                    k,
                )
        except ExecutionError as e:
            return type(e).__name__
    return (
        [(name, rows.values[name].tobytes()) for name in rows.written],
        [[bytes(p) for p in packed] for packed in hints],
    )


def memory(m: Model, steps: Any) -> list[int]:
    """Bytes alive at once for each row of each segment, by the rule of plans."""
    out = []
    for plan in m.program.plans:
        found, specs = steps(plan.steps), dict(m.program.specs)
        for step in plan.steps:
            if isinstance(step.op, Elementwise):
                for name, *_ in step.outputs:
                    dtype = step.op.expression.terms[-1].dtype
                    specs.setdefault(name, Spec(dtype, step.op.shape))
        out.append(row_memory(found, [0] * len(found), specs))
    return out


@settings(max_examples=settings().max_examples // 3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_random_programs_give_the_same_bytes_joined_and_one_by_one(rng: Random) -> None:
    m = random_model(rng)
    plain = outcome(m, NUMPY, tuple)
    assert outcome(m, NUMPY, fuse) == plain
    free = {n for plan in m.program.plans for s in plan.steps if not s.inputs for n, *_ in s.outputs}
    for before, after in zip(memory(m, tuple), memory(m, fuse), strict=True):
        assert after <= before + sum(m.program.specs[n].nbytes for n in free)


@settings(max_examples=settings().max_examples // 8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_random_programs_give_the_same_bytes_compiled(rng: Random) -> None:
    """Fewer than without: each is loops of its own, which take seconds to compile."""
    m = random_model(rng)
    assert outcome(m, CPU, fuse) == outcome(m, NUMPY, tuple)


# -- one by one ------------------------------------------------------------------------------------------
def built(f: Any, shape: Sequence[int] = (WIDTH,)) -> list[Step]:
    """The steps, joined, of what ``f`` makes of a builder and its input."""
    b = ProgramBuilder(context=8, device="numpy")
    made = f(b, b.input("x", shape))
    for y in made if isinstance(made, tuple) else (made,):
        b.output(y)
    return join_maps(b.program().plans[0].steps, frozenset())


def functions(steps: Sequence[Step]) -> list[list[str]]:
    return [
        [t.function for t in s.op.expression.terms]
        if isinstance(s.op, Elementwise)
        else [type(s.op).__name__]
        for s in steps
    ]


def test_a_chain_becomes_one() -> None:
    steps = built(lambda b, x: b.sigmoid(x))
    assert functions(steps) == [["neg", "exp", "constant", "add", "constant", "div"]]
    assert steps[0].inputs == (("x", Reads.SAME),)


def test_what_two_read_stays_and_numbers_go_to_all_readers() -> None:
    steps = built(lambda b, x: b.map("exp", (h := x + 1)) * (h - 1))
    assert functions(steps)[0] == ["constant", "add"]
    assert [f.count("constant") for f in functions(steps)[1:]] == [1]
    assert all(s.inputs for s in steps)


def test_a_number_times_itself_is_joined_once() -> None:
    def f(b: ProgramBuilder, x: Tensor) -> tuple[Tensor, Tensor]:
        two = b.number(2)
        return x + b.map("mul", two, two), b.map("add", b.map("mul", two, two), x)

    for found in functions(built(f)):
        assert found.count("constant") <= 2


def test_what_is_answered_stays() -> None:
    steps = built(lambda b, x: (h := -x, b.map("exp", h)))
    assert functions(steps) == [["neg"], ["exp"]]


def test_a_smaller_result_that_is_broadcast_is_computed_once() -> None:
    steps = built(lambda b, x: x + b.map("exp", b.mean(x, 1, keep=True)), (2, WIDTH))
    assert functions(steps)[-2:] == [["constant", "div"], ["add"]] or functions(steps)[-1] == ["add"]


def test_a_sum_of_many_views_is_not_one_step_that_holds_them_all() -> None:
    """One by one, three rows are alive at once; joined, all 20 views would be."""

    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        total = x[:WIDTH]
        for i in range(1, 20):
            total = total + x[i : i + WIDTH]
        return total

    steps = built(f, (64,))
    assert max(len(s.inputs) for s in steps) <= 3


def test_committed_rows_are_not_all_read_for_one_step() -> None:
    b = ProgramBuilder(context=8, device="numpy")
    x = b.input("x", WIDTH)
    many = [x * i for i in range(2, 12)]
    b.cut(*many)
    total = many[0]
    for y in many[1:]:
        total = total + y
    b.output(total)
    plan = b.program().plans[1]
    joined = join_maps(plan.steps, frozenset())
    assert max(len(s.inputs) for s in joined) <= 3


def test_wider_types_are_not_held_for_narrow_ones() -> None:
    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        bytes_ = [b.cast(b.flip(x, 0), "i8") for _ in range(6)]
        total = bytes_[0]
        for y in bytes_[1:]:
            total = total ^ y
        return total

    steps = built(f)
    assert functions(steps).count(["cast"]) >= 5


def test_what_only_the_second_reads_is_free_to_go_on() -> None:
    steps = built(lambda b, x: b.map("tanh", b.map("mul", x, b.constant(np.ones(WIDTH, np.float32))) + 1))
    assert functions(steps)[-1] == ["constant", "mul", "add", "tanh"]


def test_expressions_stay_within_their_limits() -> None:
    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        for _ in range(MAX_TERMS):
            x = b.map("tanh", x) * 0.5
        return x

    found = [s.op.expression for s in built(f) if isinstance(s.op, Elementwise)]
    assert len(found) == 4
    assert max(len(e.terms) for e in found) <= MAX_TERMS
    assert max(len(e.inputs) for e in found) <= MAX_INPUTS


def test_a_number_that_very_many_read_is_joined_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each join touches what it joins only: as many sets are changed as there are inputs."""
    touched = 0

    class Counting(set[int]):
        def __iter__(self) -> Any:
            nonlocal touched
            touched += 1
            return super().__iter__()

    b = ProgramBuilder(context=8, device="numpy")
    x = b.input("x", 2)
    for _ in range(600):
        x = b.map("tanh", x + 1)
    b.output(x)
    steps = b.program().plans[0].steps
    joining = elementwise._Joining(steps, frozenset())
    joining._readers = {name: Counting(r) for name, r in joining._readers.items()}
    touched = 0
    assert len(joining.joined()) < 50
    assert touched == 0


def test_products_keep_their_order() -> None:
    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        w = np.eye(WIDTH, dtype=np.float32)
        first = b.linear(x, w, name="first")
        second = b.linear(-x, w, name="second")
        third = b.linear(b.map("exp", second), w, name="third")
        return b.add(b.add(first, third), second)

    b = ProgramBuilder(context=8, device="numpy")
    b.output(f(b, b.input("x", WIDTH)))
    plan = b.program().plans[0]
    made = [s.name for s in fuse(plan.steps) if s.op.products]
    assert [next(w for w in ("first", "second", "third") if f"/{w}" in n or f"+{w}" in n) for n in made] == [
        s.weight.removesuffix(".weight") for s in plan.sites
    ]
