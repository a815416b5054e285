"""What a program costs a verifier follows from its plan: empty loops, long prefixes, slow operations."""

from __future__ import annotations

import numpy as np
import pytest

from adversary.setting import KERNELS
from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.product import product_sets, set_count
from proofcompute.limits import MAX_PAIRS, MAX_SCAN
from proofcompute.models.card import check_weight
from proofcompute.models.model import Model
from proofcompute.program.operations import (
    Attention,
    Constant,
    Contract,
    Map,
    Put,
    QuantiseHeads,
    Reduce,
    Rope,
    Scan,
)
from proofcompute.program.operations.elementwise import Elementwise
from proofcompute.program.operations.fused import fuse
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec
from proofcompute.verifier import keygen

ONE = 0x3F800000
F32 = Spec("f32", (4,))


def single(op: Op, *ins: Spec, context: int = 4) -> Program:
    """One operation."""
    inputs = tuple((f"x{i}", s) for i, s in enumerate(ins))
    node = Node("n", op, tuple(n for n, _ in inputs), ("y",))
    return Program(inputs, ("y",), False, context, (), (), (Segment("s", (node,)),))


def loop(count: int, *nodes: Node) -> Scan:
    result = nodes[-1].outputs[0] if nodes else "in.0"
    return Scan(count, 1, 0, 0, nodes, (result,))


def test_an_empty_loop_counts_as_one_operation() -> None:
    inside = Node("i", loop(MAX_SCAN), ("in.0",), ("r",))
    single(loop(MAX_SCAN), F32)
    with pytest.raises(LimitError, match="a loop of more than"):
        single(loop(2, inside), F32)


def test_all_loops_of_a_program_have_a_limit() -> None:
    nodes = tuple(Node(str(i), loop(MAX_SCAN), (f"t{i}",), (f"t{i + 1}",)) for i in range(17))
    with pytest.raises(LimitError, match="loops of 1048576"):
        Program((("t0", F32),), ("t17",), False, 4, (), (), (Segment("s", nodes),))


def attending(heads: int, context: int) -> Program:
    quantised = Node("k", QuantiseHeads(1), ("x",), ("k", "ks"))
    mix = Node("m", Attention(heads, ONE, 0), ("q", "k", "ks", "k", "ks"), ("y",))
    inputs = (("x", Spec("f32", (8,))), ("q", Spec("f32", (8 * heads,))))
    groups = (Committed("kv", ("k", "ks")),)
    return Program(inputs, ("y",), False, context, (), groups, (Segment("s", (quantised, mix)),))


def test_attention_is_counted_with_its_context() -> None:
    attending(1 << 13, 1 << 20)
    with pytest.raises(LimitError, match="multiplications for one row"):
        attending(1 << 20, 1 << 20)


def test_operations_one_after_the_other_count_for_their_time() -> None:
    entries, numbers = Spec("i32", (1 << 21,)), Spec("i32", (1 << 21,))
    for op, ins in (
        (Put("max"), (entries, numbers, entries)),
        (Reduce("max", (0,)), (Spec("i32", (1 << 24,)),)),
        (Contract(0), (Spec("i8", (1 << 21, 1, 1)), Spec("i8", (1 << 21, 1, 1)))),
    ):
        with pytest.raises(LimitError, match="elements for one row"):
            single(op, *ins)
    single(Reduce("max", (0,)), Spec("f32", (1 << 24,)))


def test_a_rotation_has_few_pairs() -> None:
    with pytest.raises(FormatError, match="more than 1024 pairs"):
        single(Rope(1, (ONE,) * (MAX_PAIRS + 1), 0), Spec("f32", (4096,)))


@pytest.mark.parametrize("d", [1, 32_768, 32_769, 1 << 20])
def test_sets_are_counted_without_a_list(d: int) -> None:
    for x, w in ((1, 1), (2, 1), (1, 2), (2, 2)):
        assert set_count(d, x, w) == len(product_sets(d, x, w))


def test_a_chain_of_numbers_is_not_copied_into_its_readers() -> None:
    chain = [Node("0", Map("constant", "f32", ONE), (), ("c0",))]
    chain += [Node(str(i), Map("neg"), (f"c{i - 1}",), (f"c{i}",)) for i in range(1, 40)]
    adds = [Node(f"a{i}", Map("add"), ("x", "c39"), (f"y{i}",)) for i in range(20)]
    outputs = tuple(f"y{i}" for i in range(20))
    program = Program((("x", F32),), outputs, False, 4, (), (), (Segment("s", (*chain, *adds)),))
    terms = 0
    for step in fuse(program.plans[0].steps):
        assert isinstance(step.op, Elementwise)
        terms += len(step.op.expression.terms)
    assert terms == 40 + 20


def test_bytes_that_are_no_bools_make_no_model() -> None:
    spec = WeightSpec("c", "constant", (3,), "bool")
    bad = np.array([2, 1, 0], np.uint8).view(np.bool_)
    with pytest.raises(FormatError, match="no bool"):
        check_weight(spec, bad)
    nodes = (Node("n", Constant("c"), (), ("y",)), Node("m", Map("and"), ("y", "x"), ("z",)))
    program = Program((("x", Spec("bool", (3,))),), ("z",), False, 4, (spec,), (), (Segment("s", nodes),))
    with pytest.raises(FormatError, match="no bool"):
        Model.build(program, {"c": bad}, KERNELS.hash_rows)


def test_a_key_that_would_be_too_large_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from adversary.routed import model

    monkeypatch.setattr("proofcompute.verifier.keymaking.MAX_KEY", 100)
    with pytest.raises(LimitError, match="a key of 2 columns for this model has"):
        keygen(model(), KERNELS, seed=bytes(32))
