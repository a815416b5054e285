"""Programs from strangers that ask for too much, or for what is not there, are refused when decoded.

Each is refused with an error of the kinds that a reader expects, and takes no more memory than the allowance
of the fuzz tests for so many bytes: nothing is computed, and nothing is made that a later check would refuse.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fuzz.harness import TEXT, allowed, peak
from proofcompute.arithmetic.primitives import MAX_STRIDE, check_view
from proofcompute.arithmetic.primitives import View as Viewed
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import (
    MAX_CELL_MEMORY,
    MAX_CONSTANTS,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_OPERANDS,
    MAX_OPERATIONS,
    MAX_SCAN,
    MAX_SEGMENT_WORK,
    MAX_WIDTH,
)
from proofcompute.program import lowering
from proofcompute.program import operations as ops
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Segment, Spec, WeightSpec

FLOATS, NUMBERS = Spec("f32", (4,)), Spec("i32", (4,))
HUGE = 1 << 62
OVER = f"over {MAX_SEGMENT_WORK} elements for one row"


def unchecked(cls: type, *values: Any) -> Any:
    """An operation as its bytes say it, without the checks of its constructor."""
    op: Any = object.__new__(cls)
    for field, value in zip(fields(cls), values, strict=True):
        object.__setattr__(op, field.name, value)
    return op


def spec(dtype: str, *shape: int) -> Any:
    return SimpleNamespace(dtype=dtype, shape=shape)


def nodes(*steps: tuple[Any, str, str]) -> tuple[Node, ...]:
    """Operations; the names of inputs and outputs are separated by spaces."""
    return tuple(
        Node(f"n{i}", op, tuple(ins.split()), tuple(outs.split())) for i, (op, ins, outs) in enumerate(steps)
    )


def encoded(
    steps: tuple[Node, ...],
    *,
    x: Any = FLOATS,
    weights: tuple[Any, ...] = (),
    committed: tuple[Committed, ...] = (),
    outputs: tuple[str, ...] = ("y",),
    before: tuple[Segment, ...] = (),
) -> bytes:
    """The bytes of a program with inputs x and i, in which anything may be wrong."""
    program: Any = SimpleNamespace(
        inputs=(("x", x), ("i", NUMBERS)),
        outputs=outputs,
        feedback=False,
        pooled=False,
        context=64,
        weights=weights,
        committed=committed,
        segments=(*before, Segment("s", steps)),
    )
    return encode_program(program)


def one(op: Any, ins: str = "x", **given: Any) -> bytes:
    return encoded(nodes((op, ins, "y")), **given)


def refuse(data: bytes, error: type[InputError], match: str, *, measured: bool = True) -> None:
    with pytest.raises(error, match=match) as caught:
        decode_program(data)
    assert len(str(caught.value)) < TEXT
    assert not measured or peak(lambda: decode_program(data)) <= allowed(len(data))


def matrix(name: str, *shape: int, limbs: int = 1) -> WeightSpec:
    return WeightSpec(name, "matrix", shape, limbs=limbs)


def test_the_programs_below_are_refused_for_what_is_wrong_with_them_only() -> None:
    p = decode_program(one(ops.View((2,), (2,))))
    assert p.specs["y"] == Spec("f32", (2,))


# -- views -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("view", "error", "match"),
    [
        (ops.View((5,), (1,)), FormatError, r"elements 0\.\.4 of a row of 4"),
        (ops.View((4,), (1,), 1), FormatError, r"elements 1\.\.4"),
        (ops.View((4,), (-1,), 2), FormatError, r"elements -1\.\.2"),
        (ops.View((2, 2), (2, 3)), FormatError, r"elements 0\.\.5"),
        (ops.View((8,), (1,), -1, (1,), (6,)), FormatError, r"elements 0\.\.4"),
        (ops.View((2,), (HUGE,), -HUGE, (1,), (2,)), FormatError, "strides are at most"),
        (ops.View((1,), (HUGE,)), FormatError, "strides are at most"),
        (ops.View((1,), (-HUGE,)), FormatError, "strides are at most"),
        (ops.View((2,), (1,), 1 << 63, (1,), (1,)), FormatError, "strides are at most"),
        (ops.View((4,), (1,), 0, (3,), (2,)), FormatError, "margins"),
        (ops.View((4,), (1,), 0, (0,), (5,)), FormatError, "margins"),
        (ops.View((4,), (1,), 0, (-1,), (4,)), FormatError, "margins"),
        (ops.View((4,), (1, 1)), FormatError, "for each axis"),
        (ops.View((4,), (1,), 0, (0, 0), (4, 4)), FormatError, "for each axis"),
        (ops.View((4,), (1,), 0, (0,), (2,), 1 << 32), FormatError, "bit pattern"),
        (ops.View((4,), (1,), 0, (0,), (2,), -1), FormatError, "bit pattern"),
        (ops.View((MAX_WIDTH, 2), (0, 0)), LimitError, "row shape"),
        (ops.View((HUGE, HUGE), (0, 0)), LimitError, "row shape"),
        (ops.View((0,), (1,)), LimitError, "row shape"),
        (ops.View((1,) * 9, (0,) * 9), LimitError, "row shape"),
        (ops.View((1,) * 50_000, (0,) * 50_000), LimitError, "row shape"),
    ],
)
def test_views_that_leave_the_row_or_have_no_end(view: ops.View, error: Any, match: str) -> None:
    refuse(one(view), error, match)


def test_every_view_that_passes_fits_the_integers_of_backends() -> None:
    for strides, offset in (((MAX_STRIDE,), 0), ((-MAX_STRIDE,), 0), ((0,), 8 * MAX_STRIDE**2)):
        check_view(Viewed((1,), strides, offset, (0,), (0,)), "f32", 4)
    for strides, offset in (((MAX_STRIDE + 1,), 0), ((0,), 8 * MAX_STRIDE**2 + 1), ((0,), -(1 << 63))):
        with pytest.raises(FormatError):
            check_view(Viewed((1,), strides, offset, (0,), (0,)), "f32", 4)


# -- attributes ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "ins", "error", "match"),
    [
        (unchecked(ops.Concat, 0, 1 << 40), "x", FormatError, "concat: 1099511627776 inputs"),
        (unchecked(ops.Concat, 0, (1 << 64) - 1), "x", FormatError, "concat: "),
        (unchecked(ops.Concat, 0, -1), "x", FormatError, "concat: "),
        (unchecked(ops.Concat, 0, MAX_OPERANDS + 1), "x", FormatError, "concat"),
        (ops.Concat(1, 2), "x x", FormatError, "no axis 1"),
        (ops.Concat(-1, 2), "x x", FormatError, "no axis -1"),
        (ops.Concat(0, 2), "x i", FormatError, "differ in type"),
        (ops.Concat(0, 2), "x", FormatError, "1 inputs where 2 are read"),
        (ops.Map("nothing"), "", FormatError, "no function"),
        (ops.Map("add", "f32"), "x x", FormatError, "type"),
        (ops.Map("add"), "x i", FormatError, "no function"),
        (ops.Map("cast", "f64"), "x", FormatError, "no function"),
        (ops.Map("bitcast", "i8"), "x", FormatError, "no function"),
        (ops.Map("constant", "u8", 256), "", FormatError, "bit pattern"),
        (ops.Map("neg", "", 1), "x", FormatError, "takes no bits"),
        (ops.Reduce("median", (0,)), "x", FormatError, "no reduction"),
        (ops.Reduce("sum", ()), "x", FormatError, "axes"),
        (ops.Reduce("sum", (0, 0)), "x", FormatError, "axes"),
        (ops.Reduce("sum", (HUGE,)), "x", FormatError, "axes"),
        (ops.Reduce("sum", tuple(range(40_000))), "x", FormatError, "axes"),
        (ops.Cumulate("sum", 1), "x", FormatError, "no axis"),
        (ops.Order(-1), "x", FormatError, "no axis"),
        (ops.Take(), "x x", FormatError, "int32 or int64"),
        (ops.Put("none"), "x i i", FormatError, "values do not fit"),
        (ops.Put("xor"), "i i i", FormatError, "cannot be put"),
        (ops.Contract(1), "x x", FormatError, "two stacks"),
        (ops.Contract(3), "x x", FormatError, "3 limbs"),
        (ops.Split((1,) * 50_000), "x", FormatError, "split of 4"),
        (ops.Split((-1, 5)), "x", FormatError, "split of 4"),
        (ops.Softmax(1), "x", FormatError, "no axis"),
        (ops.Pool("max", (HUGE,), (1,), (0,)), "x", FormatError, "windows larger"),
        (ops.Pool("max", (1,), (0,), (0,)), "x", FormatError, "windows"),
        (ops.Pool("max", (HUGE,), (1,), (HUGE - 1,)), "x", LimitError, "row shape"),
        (ops.Pool("max", (1,) * 9, (1,) * 9, (0,) * 9), "x", FormatError, "a size"),
        (ops.Pool("median", (1,), (1,), (0,)), "x", FormatError, "no kind"),
    ],
)  # fmt: skip
def test_attributes_that_fit_nothing(op: Any, ins: str, error: Any, match: str) -> None:
    refuse(one(op, ins), error, match)


@pytest.mark.parametrize("dtype", ["f64", "", "F32", "\0", "object"])
def test_types_that_do_not_exist(dtype: str) -> None:
    refuse(one(ops.Relu(), x=spec(dtype, 4)), FormatError, "element type")
    constant = SimpleNamespace(name="w", kind="constant", shape=(4,), dtype=dtype, limbs=1, bias=False)
    refuse(one(ops.Constant("w"), "", weights=(constant,)), FormatError, "neither a matrix nor")


@pytest.mark.parametrize("shape", [(1,) * 9, (MAX_WIDTH, 2), (MAX_WIDTH,) * 8, (1,) * 30_000])
def test_ranks_and_sizes_that_no_row_has(shape: tuple[int, ...]) -> None:
    refuse(one(ops.Relu(), x=spec("f32", *shape)), InputError, "row shape")


# -- work, memory and products ---------------------------------------------------------------------------
def wide(op: Any, count: int, width: int, arity: int = 1) -> bytes:
    """As many operations, each on the result of the one before."""
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    steps = [(op, " ".join([names[i]] * arity), names[i + 1]) for i in range(count)]
    return encoded(nodes(*steps), x=Spec("f32", (width,)))


def test_2_16_operations_on_rows_of_2_24_elements() -> None:
    refuse(
        wide(ops.Relu(), MAX_OPERATIONS, MAX_WIDTH), LimitError, "over 17179869184 elements", measured=False
    )
    refuse(wide(ops.Relu(), MAX_OPERATIONS + 1, 1), LimitError, "operations, more than", measured=False)
    refuse(wide(ops.Relu(), 2000, MAX_WIDTH), LimitError, OVER)
    refuse(wide(ops.LayerNorm("w", "b", 0), 2, MAX_WIDTH), FormatError, "no constant of this name")


def test_expansions_count_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each softmax is seven steps."""
    monkeypatch.setattr(lowering, "MAX_OPERATIONS", 700)
    assert len(decode_program(wide(ops.Softmax(0), 100, 2)).plans[0].steps) == 700
    refuse(wide(ops.Softmax(0), 101, 2), LimitError, "over 700 steps")
    monkeypatch.undo()
    refuse(wide(ops.Softmax(0), 1000, 1 << 22), LimitError, OVER)


def test_sorting_and_products_of_activations_count_what_they_compute() -> None:
    orders = [(ops.Order(0), "x", f"o{i}") for i in range(60)]
    data = encoded(nodes(*orders, (ops.Relu(), "x", "y")), x=Spec("f32", (MAX_WIDTH,)))
    refuse(data, LimitError, f"n40: over {MAX_SEGMENT_WORK} elements")
    square = ops.View((1 << 12, 1 << 12), (0, 0))
    steps = nodes((square, "x", "a"), (ops.Contract(2), "a a", "b"), (ops.View((4,), (1,)), "b", "y"))
    refuse(encoded(steps), LimitError, OVER)


def test_memory_counts_what_operations_take_besides() -> None:
    def memory(*steps: tuple[Any, str, str], weights: tuple[Any, ...] = ()) -> int:
        p = decode_program(encoded(nodes(*steps), weights=weights))
        return p.plans[0].row_memory

    assert memory((ops.Reduce("sum", (0,)), "x", "y")) == 16 + 4 + 16
    assert memory((ops.Order(0), "x", "y")) == 16 + 16 + 32
    assert memory((ops.Take(), "x i", "y")) == 16 + 16 + 16 + 32
    assert memory((ops.Put("add"), "x i x", "y")) == 16 + 16 + 16 + 32
    grid = ops.View((2, 2), (2, 1))
    assert memory((grid, "x", "a"), (ops.Contract(1), "a a", "y")) == 16 + 16 + 8 * 8 + 16 * 4
    row = ops.View((4,), (1,))
    experts = memory(
        (row, "x", "a"), (ops.Experts("w", 2), "a i", "y"), weights=(matrix("w", 3, 5, 4),)
    )  # fmt: skip
    assert experts == (16 + 16 + 80) + 4 * (2 * 4 + 4 * 2 * 5) + 4 * 4 * 4 + 2 * 80


def test_experts_of_one_row_that_many_numbers_choose() -> None:
    """A gathered row for each number would take more than a cell may."""
    count, d = 1 << 20, 1 << 10
    many = nodes(
        (ops.View((count,), (0,)), "i", "n"),
        (ops.View((d,), (0,)), "x", "a"),
        (ops.Experts("w", 1), "a n", "e"),
        (ops.View((4,), (1,)), "e", "y"),
    )
    data = encoded(many, weights=(matrix("w", 2, 1, d),))
    refuse(data, LimitError, f"more than {MAX_CELL_MEMORY}")


def test_more_sets_of_hints_than_a_frame_may_hold() -> None:
    count = MAX_ITEMS
    many = nodes(
        (ops.View((count,), (0,)), "i", "n"),
        (ops.Experts("w", 1), "x n", "e"),
        (ops.View((4,), (1,)), "e", "y"),
    )
    refuse(encoded(many, weights=(matrix("w", count, 1, 4),)), LimitError, "sets, more than")


def test_a_matrix_with_more_rows_than_a_tree_has() -> None:
    for shape in ((MAX_WIDTH, 2, 4), (2, MAX_WIDTH, 4), (MAX_WIDTH, 1, 1, 1)):
        w = SimpleNamespace(name="w", kind="matrix", shape=shape, dtype="i8", limbs=1, bias=False)
        refuse(one(ops.Experts("w", 1), "x i", weights=(w,)), InputError, "weight w")


def test_constants_that_a_key_cannot_hold() -> None:
    count = MAX_CONSTANTS // (8 * MAX_WIDTH)
    whole = tuple(WeightSpec(f"a{i}", "constant", (MAX_WIDTH,), "i64") for i in range(count))
    assert sum(w.nbytes for w in whole) == MAX_CONSTANTS
    Program(
        inputs=(("x", FLOATS),), outputs=("y",), feedback=False, context=1, committed=(), weights=whole,
        segments=(Segment("s", nodes((ops.Relu(), "x", "y"))),),
    )  # fmt: skip
    too_much = (*whole, WeightSpec("b", "constant", (1,), "i8"))
    refuse(one(ops.Relu(), weights=too_much), LimitError, "constants of")
    many = tuple(WeightSpec(f"c{i}", "constant", (MAX_WIDTH,), "i64") for i in range(1000))
    refuse(one(ops.Relu(), weights=many), LimitError, "constants of")


def test_many_segments_and_tensors_cost_what_their_bytes_cost() -> None:
    """Nothing is copied once for each segment that is as large as the whole program."""
    count = 500
    segments = tuple(
        Segment(f"s{i}", nodes((ops.Relu(), f"t{i}", f"t{i + 1}"))) for i in range(count)
    )  # fmt: skip
    p = Program(
        inputs=(("t0", FLOATS),),
        outputs=(f"t{count}",),
        feedback=False,
        context=4,
        weights=(),
        committed=tuple(Committed(f"g{i}", (f"t{i}",)) for i in range(1, count)),
        segments=segments,
    )
    assert all(plan.row_memory == 32 for plan in p.plans)
    assert peak(lambda: decode_program(encode_program(p))) <= allowed(len(encode_program(p)))


# -- loops -----------------------------------------------------------------------------------------------
def loop(count: int, body: tuple[Node, ...], result: str, carried: int = 1) -> Any:
    return ops.Scan(count, carried, 0, 0, body, (result,))


STEP = nodes((ops.Relu(), "in.0", "r"))
TWO = nodes((ops.Relu(), "in.0", "a"), (ops.Relu(), "a", "r"))


def nested(depth: int, times: int, inner: tuple[Node, ...] = STEP) -> tuple[Node, ...]:
    """A loop in a loop, and so on."""
    body = inner
    for _ in range(depth):
        body = nodes((loop(times, body, "r"), "in.0", "r"))
    return body


@pytest.mark.parametrize(
    ("scan", "error", "match"),
    [
        (loop(MAX_SCAN + 1, STEP, "r"), FormatError, "steps"),
        (loop(0, STEP, "r"), FormatError, "steps"),
        (loop(-1, STEP, "r"), FormatError, "steps"),
        (loop(1 << 63, STEP, "r"), FormatError, "steps"),
        (loop(MAX_SCAN // 2 + 1, TWO, "r"), LimitError, "loop"),
        (loop(2, nested(1, MAX_SCAN), "r"), LimitError, "loop"),
        (loop(1 << 7, nested(2, 1 << 7), "r"), LimitError, "loop"),
        (unchecked(ops.Scan, 2, 1 << 50, 0, 0, STEP, ("r",)), FormatError, "scan: "),
        (unchecked(ops.Scan, 2, 1, 1 << 50, 0, STEP, ("r",)), FormatError, "scan: "),
        (unchecked(ops.Scan, 2, -1, 1, 1, STEP, ("r",)), FormatError, "scan: "),
        (ops.Scan(2, 1, 0, 0, STEP, ()), FormatError, "too few results"),
        (loop(2, STEP, "q"), FormatError, "not made"),
        (loop(2, STEP, "x"), FormatError, "not made"),
        (loop(2, nodes((ops.Relu(), "x", "r")), "r"), FormatError, "not made before it"),
        (loop(2, nodes((ops.Relu(), "in.1", "r")), "r"), FormatError, "not made before it"),
        (loop(2, tuple(reversed(TWO)), "r"), FormatError, "not made before it"),
        (loop(2, nodes((ops.Relu(), "in.0 in.0", "r")), "r"), FormatError, "too much"),
        (loop(2, (*STEP, *STEP), "r"), FormatError, "defined twice"),
        (loop(2, nodes((ops.Relu(), "in.0", "in.0")), "in.0"), FormatError, "defined twice"),
        (loop(2, nodes((ops.Relu(), "in.0", "a b")), "a"), FormatError, "2 outputs where 1"),
        (loop(2, nodes((ops.Relu(), "in.0", "\1")), "a"), FormatError, "unprintable"),
        (loop(2, nodes((ops.Map("eq"), "in.0 in.0", "r")), "r"), FormatError, "changes its type"),
        (loop(2, nodes((ops.View((2,), (1,)), "in.0", "r")), "r"), FormatError, "changes its type"),
        (loop(2, nodes((ops.Embed("w"), "in.0", "r")), "r"), FormatError, "more than the row"),
        (loop(2, nodes((ops.Sample(), "in.0 in.0", "r")), "r"), FormatError, "more than the row"),
        (loop(2, nodes((ops.Linear("w", 2), "in.0", "r")), "r"), FormatError, "no weight matrix"),
        (loop(2, STEP, "r", carried=2), FormatError, "1 inputs where 2"),
    ],
)  # fmt: skip
def test_loops(scan: Any, error: Any, match: str) -> None:
    refuse(one(scan), error, match)


def test_a_loop_over_what_has_other_steps() -> None:
    scan = ops.Scan(3, 0, 1, 0, STEP, ("r",))
    refuse(one(scan), FormatError, "another number of steps")


def test_loops_without_products_count_their_elements() -> None:
    steps = nodes((ops.View((1 << 20,), (0,)), "x", "a"), (loop(1 << 15, STEP, "r"), "a", "b"),
                  (ops.View((4,), (1,)), "b", "y"))  # fmt: skip
    refuse(encoded(steps), LimitError, OVER)


def test_what_a_loop_collects_is_counted_twice_and_must_fit() -> None:
    collect = ops.Scan(1000, 1, 0, 0, STEP, ("r", "r"))
    steps = nodes(
        (ops.View((1000,), (0,)), "x", "a"), (collect, "a", "b c"), (ops.View((4,), (1,)), "c", "y")
    )
    (plan,) = decode_program(encoded(steps)).plans
    assert plan.row_memory >= 2 * 4_000_000
    wider = nodes(
        (ops.View((1 << 15,), (0,)), "x", "a"), (collect, "a", "b c"), (ops.View((4,), (1,)), "c", "y")
    )
    refuse(encoded(wider), LimitError, "row shape")


def test_products_of_loops_are_counted_each_time() -> None:
    """Without the count, a plan would list 2^31 products."""
    body = nodes((ops.Linear("w", 1), "in.0", "r"))
    names = ["x", *(f"t{i}" for i in range(1 << 10)), "y"]
    steps = [(loop(MAX_SCAN, body, "r"), a, b) for a, b in pairwise(names)]
    refuse(encoded(nodes(*steps), weights=(matrix("w", 4, 4),)), LimitError, "products")
    fine = decode_program(encoded(nodes((loop(100, body, "r"), "x", "y")), weights=(matrix("w", 4, 4),)))
    assert len(fine.plans[0].sites) == 100


def test_composites_in_loops_count_as_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "MAX_OPERATIONS", 700)
    body = nodes(*[(ops.Softmax(0), "in.0" if i == 0 else f"s{i - 1}", f"s{i}") for i in range(101)])
    refuse(one(loop(2, body, "s100")), LimitError, "over 700 steps")


def test_loops_inside_each_other_end_at_the_depth_of_encodings() -> None:
    """As many as the encoding allows cost no more than their bytes; one more is not decoded."""
    with pytest.raises(LimitError, match="deep"):
        one(loop(1, nested(20, 1), "r"))
    deepest = max(n for n in range(1, 9) if _decodes(n))
    assert 3 * deepest < MAX_DEPTH
    many = nodes(*[(ops.Relu(), "in.0" if i == 0 else f"s{i - 1}", f"s{i}") for i in range(1000)])
    innermost = (*many, *nodes((ops.Relu(), "s999", "r")))
    data = one(loop(1, nested(deepest, 1, innermost), "r"))
    assert peak(lambda: decode_program(data)) <= allowed(len(data))


def _decodes(depth: int) -> bool:
    try:
        decode_program(one(loop(1, nested(depth, 1), "r")))
    except LimitError:
        return False
    return True


def test_deep_arrays_are_no_programs() -> None:
    tree: Any = ()
    for _ in range(MAX_DEPTH + 1):
        tree = (tree,)
    with pytest.raises(LimitError):
        wire.encode(tree)
    refuse(b"\x81" * 1000, InputError, "deep")


# -- numbers that choose ---------------------------------------------------------------------------------
@pytest.mark.parametrize("op", [ops.Linear("w", 1), ops.Embed("w"), ops.Constant("w"), ops.RmsNorm("w", 0)])
def test_weights_of_another_kind(op: Any) -> None:
    with pytest.raises(FormatError):
        decode_program(
            one(op, weights=(matrix("w", 2, 3, 4),), ins="" if isinstance(op, ops.Constant) else "x")
        )


def test_tables_are_looked_up_by_public_numbers_only() -> None:
    made = nodes((ops.Map("neg"), "n", "m"), (ops.Embed("w"), "m", "y"))
    program: Any = SimpleNamespace(
        inputs=(("n", Spec("i32", ())),), outputs=("y",), feedback=False, pooled=False, context=4,
        weights=(matrix("w", 4, 4),), committed=(), segments=(Segment("s", made),),
    )  # fmt: skip
    refuse(encode_program(program), FormatError, "not public")


def test_experts_are_chosen_by_int32_numbers_of_one_axis() -> None:
    w = (matrix("w", 3, 5, 4),)
    for ins, match in (("x x", "int32 numbers"), ("x", "1 inputs"), ("i i", "experts: needs one float32")):
        refuse(one(ops.Experts("w", 1), ins, weights=w), FormatError, match)
    refuse(one(ops.Experts("w", 3), "x i", weights=w), FormatError, "3 limbs")
    refuse(one(ops.Experts("w", 1), "x i", weights=(matrix("w", 5, 4),)), FormatError, "no groups")


# -- bytes of rows ---------------------------------------------------------------------------------------
def test_bytes_that_are_no_bool_are_refused() -> None:
    from proofcompute.protocol.statement import rows_from_bytes

    assert rows_from_bytes(Spec("bool", (3,)), b"\0\1\1", "x").tolist() == [[False, True, True]]
    for data in (b"\0\2\1", b"\xff\0\0"):
        with pytest.raises(FormatError, match="no bool"):
            rows_from_bytes(Spec("bool", (3,)), data, "x")
    assert rows_from_bytes(Spec("u8", (3,)), b"\0\2\1", "x").dtype == np.uint8
