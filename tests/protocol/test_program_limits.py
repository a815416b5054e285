"""What a program may take is known, and bounded, before anything of it runs."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import Cell, FormatError, LimitError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.limits import MAX_CELL_MEMORY, MAX_CELL_OPENING, MAX_CELL_ROWS, MAX_CONTRACTION, MIB
from proofcompute.program import interpreter, liveness
from proofcompute.program.operations import Add, Attention, Linear, QuantiseHeads, Relu
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec
from proofcompute.protocol.openable import most_bytes
from proofcompute.protocol.statement import Statement
from proofcompute.testing.models import TINY, random_checkpoint

ONE = f32_bits(1.0)
Nodes = list[tuple[Op, tuple[str, ...], tuple[str, ...]]]


def chain(width: int, nodes: Nodes, *outputs: str) -> Program:
    return Program(
        inputs=(("x", Spec("f32", (width,))),),
        outputs=outputs,
        feedback=False,
        context=MAX_CELL_ROWS * 4,
        weights=(),
        committed=(),
        segments=(
            Segment("s", tuple(Node(f"n{i}", op, ins, outs) for i, (op, ins, outs) in enumerate(nodes))),
        ),
    )


def relus(width: int, count: int) -> Program:
    names = ["x", *(f"y{i}" for i in range(count))]
    return chain(width, [(Relu(), (a,), (b,)) for a, b in pairwise(names)], names[-1])


def attending(heads: int, width: int, context: int) -> Program:
    """Attention over keys and values of an input quantised."""
    quantise = QuantiseHeads(heads)
    return Program(
        inputs=(("x", Spec("f32", (width,))),),
        outputs=("y",),
        feedback=False,
        context=context,
        weights=(),
        committed=(Committed("kv", ("k", "ks", "v", "vs")),),
        segments=(
            Segment(
                "s",
                (
                    Node("keys", quantise, ("x",), ("k", "ks")),
                    Node("values", quantise, ("x",), ("v", "vs")),
                    Node("mix", Attention(heads, ONE, 0), ("x", "k", "ks", "v", "vs"), ("y",)),
                ),
            ),
        ),
    )


# -- heads -----------------------------------------------------------------------------------------------
def test_a_head_fits_one_accumulator() -> None:
    attending(1, MAX_CONTRACTION, 8)
    attending(2, 2 * MAX_CONTRACTION, 8)
    with pytest.raises(FormatError, match="attention: heads of 32769"):
        attending(1, MAX_CONTRACTION + 1, 8)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_what_passes_the_check_runs(device: str) -> None:
    k = pc.kernels_for(device)
    x = np.ones((2, MAX_CONTRACTION), np.float32)
    q, s = k.quantise_heads(x, 1)
    y = k.attention(x, q, s, q, s, 0, np.float32(1e-4), 0)
    assert k.host(y).shape == x.shape


# -- memory ----------------------------------------------------------------------------------------------
def test_memory_is_that_of_what_is_alive() -> None:
    for count in (1, 2, 50):
        (plan,) = relus(1000, count).plans
        assert plan.row_memory == 2 * 4000  # each needs what is before it only
        assert plan.cell_rows == MAX_CELL_ROWS


def test_a_tensor_is_alive_until_its_last_use() -> None:
    nodes: Nodes = [(Relu(), ("x",), ("a",)), (Relu(), ("a",), ("b",)), (Add(), ("b", "x"), ("c",))]
    (plan,) = chain(10, nodes, "c").plans
    assert plan.row_memory == 3 * 40  # x, a and b; then x, b and c
    (plan,) = chain(10, [*nodes, (Add(), ("c", "a"), ("d",))], "d").plans
    assert plan.row_memory == 4 * 40


def test_what_is_committed_or_answered_stays() -> None:
    names = ["x", *(f"y{i}" for i in range(9))]
    nodes: Nodes = [(Relu(), (a,), (b,)) for a, b in pairwise(names)]
    (plan,) = chain(10, nodes, *names[1:]).plans
    assert plan.row_memory == 9 * 40
    (plan,) = chain(10, nodes, names[1], names[-1]).plans
    assert plan.row_memory == 3 * 40


def test_a_product_has_limbs_and_accumulators() -> None:
    program = Program(
        inputs=(("x", Spec("f32", (8,))),),
        outputs=("y",),
        feedback=False,
        context=8,
        weights=(WeightSpec("w", "matrix", (5, 8), limbs=2),),
        committed=(),
        segments=(Segment("s", (Node("n", Linear("w", 2), ("x",), ("y",)),)),),
    )
    assert program.plans[0].row_memory == 4 * 8 + 4 * 5 + 2 * 8 + 4 * 4 * 5


def test_a_segment_that_takes_too_much_is_refused() -> None:
    wide = 1 << 24

    def fan(count: int) -> Program:
        names = [f"y{i}" for i in range(count)]
        return chain(wide, [(Relu(), ("x",), (name,)) for name in names], *names)

    assert fan(63).plans[0].row_memory == 64 * 64 * MIB == MAX_CELL_MEMORY
    with pytest.raises(LimitError, match="a row takes 4362076160 bytes of memory"):
        fan(64)


def test_many_operations_on_wide_rows_are_refused_without_delay() -> None:
    count = 1 << 14
    nodes: Nodes = [(Relu(), ("x" if i == 0 else f"y{i - 1}",), (f"y{i}",)) for i in range(count)]
    assert chain(1 << 16, nodes, f"y{count - 1}").plans[0].row_memory == MIB // 2
    total = [(Add(), (f"y{i}", f"y{count - 1}"), (f"z{i}",)) for i in range(count - 1)]
    with pytest.raises(LimitError, match="bytes of memory"):
        chain(1 << 16, [*nodes, *total], f"z{count - 2}")
    with pytest.raises(LimitError, match="over 17179869184 elements for one row"):
        chain(1 << 24, nodes, f"y{count - 1}")


def test_cells_of_wide_rows_have_fewer_rows() -> None:
    program = relus(1 << 22, 3)
    (plan,) = program.plans
    assert plan.cell_rows == MAX_CELL_MEMORY // (2 * 16 * MIB) == 128
    rows = MAX_CELL_ROWS
    statement = Statement(
        program, rows, rows, {"x": np.zeros((rows, 1))}, {"y2": np.zeros((rows, 1))}, Sampling(), b""
    )
    statement.check_cell(Cell(0, 0, 128))
    with pytest.raises(LimitError, match="more than 128 rows"):
        statement.check_cell(Cell(0, 0, 129))


def test_the_interpreter_lets_go_of_what_is_not_used_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    m = synthetic.model()
    whole = synthetic.prove(m, synthetic.request(m))
    for plan in m.program.plans:
        steps = interpreter._steps(plan)
        let_go = [name for _, last in steps for name in last]
        assert len(set(let_go)) == len(let_go)
        made = {n for step, _ in steps for n, *_ in step.outputs}
        assert made <= set(let_go)
    monkeypatch.setattr(liveness, "last_uses", lambda steps: ((),) * len(steps))
    monkeypatch.setattr(interpreter, "last_uses", lambda steps: ((),) * len(steps))
    again = compile_decoder(random_checkpoint(), synthetic.KERNELS, "w8a16")
    assert synthetic.prove(again, synthetic.request(again)).receipt == whole.receipt


def test_nothing_is_kept_of_a_program_that_is_gone() -> None:
    m = compile_decoder(random_checkpoint(), synthetic.KERNELS, "w8a16")
    synthetic.audit(synthetic.key(), synthetic.prove(m, synthetic.request(m)))
    plans = [weakref.ref(plan) for plan in m.program.plans]
    del m
    gc.collect()
    assert [plan() for plan in plans] == [None] * len(plans)


# -- openings --------------------------------------------------------------------------------------------
def test_no_program_has_a_cell_that_nobody_can_open() -> None:
    width, heads = 8192, 64
    row = 2 * (width + 4 * heads)
    most = MAX_CELL_OPENING // row
    with pytest.raises(LimitError, match="nobody could audit it"):
        attending(heads, width, most)
    program = attending(heads, width, most - 4)
    longest = most_bytes(program, 0, 1, program.context, program.context, tables=True, hints=True)
    assert longest.fits
    assert longest.total > MAX_CELL_OPENING - 5 * row


def test_a_row_whose_hints_no_frame_holds_is_refused() -> None:
    def product(times: int) -> Program:
        nodes = [Node(f"n{i}", Linear("w", 1), ("x",), (f"y{i}",)) for i in range(times)]
        return Program(
            inputs=(("x", Spec("f32", (8,))),),
            outputs=tuple(f"y{i}" for i in range(times)),
            feedback=False,
            context=8,
            weights=(WeightSpec("w", "matrix", (1 << 22, 8)),),
            committed=(),
            segments=(Segment("s", tuple(nodes)),),
        )

    product(15)
    with pytest.raises(LimitError, match="nobody could audit it"):
        product(16)


def test_a_context_that_is_too_long_is_refused_at_the_import() -> None:
    huge = replace(
        TINY, context=1 << 20, width=16, heads=64, kv_heads=64, head_dim=128, ffn_width=16,
    )  # fmt: skip
    from proofcompute.importers.compiling import PRECISIONS, decoder_program

    decoder_program(replace(huge, context=1 << 17).arch, PRECISIONS["w8a16"])
    with pytest.raises(LimitError, match="nobody could audit it"):
        decoder_program(huge.arch, PRECISIONS["w8a16"])
