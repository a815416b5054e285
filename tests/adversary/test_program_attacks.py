"""Programs in which something might be committed, read or answered without a cell that checks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import synthetic
from adversary.bools import committed_twos
from adversary.setting import KERNELS, NODE, model
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32
from proofcompute.attacks.case import Case
from proofcompute.errors import FormatError, VerificationError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.program.operations import Linear, Relu
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Segment, Spec, WeightSpec
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.trace import group_seal, trace_root
from proofcompute.prover import StoredTrace
from proofcompute.verifier import keygen


def two_outputs() -> Program:
    """y = x W is both an answer and a committed input of the next segment, z = relu y."""
    return Program(
        inputs=(("x", Spec("f32", (4,))),),
        outputs=("y", "z"),
        feedback=False,
        context=64,
        weights=(WeightSpec("w", "matrix", (4, 4)),),
        committed=(Committed("y", ("y",)),),
        segments=(
            Segment("a", (Node("product", Linear("w", 1), ("x",), ("y",)),)),
            Segment("b", (Node("relu", Relu(), ("y",), ("z",)),)),
        ),
    )


def small_model() -> Model:
    rng = np.random.default_rng(3)
    w = Matrix(rng.integers(-127, 128, (1, 4, 4), np.int8), np.full(4, 0.01, np.float32))
    return Model.build(two_outputs(), {"w": w})


def answered(m: Model, x: F32) -> tuple[Request, StoredTrace, Receipt]:
    run = synthetic.prove(m, Request(m.model_id, (("x", x.tobytes()),), bytes(32)))
    return run.request, run.stored, run.receipt


def audit(m: Model, asked: Request, stored: StoredTrace, receipt: Receipt) -> Case:
    challenge = Challenge(receipt.digest, all_cells(Claim(receipt, stored.statement)))
    node = synthetic.node(m)
    node.remember(receipt, stored)
    opening = node.open(asked, receipt, challenge)
    return Case(keygen(m, KERNELS), asked, receipt.encode(), challenge, opening)


def test_a_tensor_that_is_committed_and_answered_is_compared_with_both() -> None:
    m = small_model()
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    asked, stored, receipt = answered(m, x)
    assert audit(m, asked, stored, receipt).verify().complete
    (z,) = (data for name, data in receipt.outputs if name == "z")
    assert np.frombuffer(z, "<f4").any()

    # The committed y is all zeros, and z follows from it; the answered y is the right one.
    outputs = (receipt.outputs[0], ("z", bytes(len(z))))
    statement = replace(stored.statement, outputs={**stored.statement.outputs, "z": np.zeros((3, 4), "<f4")})
    lie = StoredTrace(statement, stored.suite, [np.zeros_like(stored.groups[0])], KERNELS)
    seal = group_seal(m.program, asked.suite, 0, 3, lie.roots()[0])
    forged = replace(receipt, outputs=outputs, trace_root=trace_root(asked.suite, [seal]))
    forged = forged.signed(NODE.sign(forged.signed_digest))
    error = audit(m, asked, lie, forged).rejection()
    assert (error.step, error.operation) == (9, "y")


def test_a_committed_byte_that_is_no_bool_is_rejected_where_it_is_read() -> None:
    error = committed_twos().rejection()
    assert (error.step, error.cell is not None and error.cell.segment) == (7, 1)


def test_an_answered_byte_that_is_no_bool_is_rejected() -> None:
    b = ProgramBuilder(context=8, device="numpy")
    b.output(b.map("lt", b.input("x", 4), 0.0, name="y"))
    m = b.model()
    asked, stored, receipt = answered(m, -np.ones((3, 4), np.float32))
    assert receipt.outputs[0] == ("y", b"\1" * 12)
    forged = replace(receipt, outputs=(("y", b"\2" * 12),))
    forged = forged.signed(NODE.sign(forged.signed_digest))
    error = audit(m, asked, stored, forged).rejection()
    assert error.step == 5


def test_an_answer_that_is_not_finite_is_rejected() -> None:
    m = small_model()
    asked, stored, receipt = answered(m, np.ones((2, 4), np.float32))
    for value in (np.nan, np.inf):
        bad = np.full((2, 4), value, "<f4").tobytes()
        forged = replace(receipt, outputs=(receipt.outputs[0], ("z", bad)))
        forged = forged.signed(NODE.sign(forged.signed_digest))
        with pytest.raises(VerificationError, match="not finite") as caught:
            audit(m, asked, stored, forged).verify()
        assert caught.value.step == 5


def test_a_segment_that_starts_late_commits_nothing() -> None:
    """The head runs from the prompt's last row on; rows before would be committed and belong to no cell."""
    program = model().program
    head = program.segments[-1]
    with pytest.raises(FormatError, match="segment with an output commits"):
        replace(program, committed=(*program.committed, Committed("final", (head.nodes[0].outputs[0],))))


def test_a_prefix_is_read_of_committed_tensors_only() -> None:
    """State that attention reads and nobody committed could be made up after the challenge."""
    program = model().program
    with pytest.raises(FormatError, match="not committed"):
        replace(program, committed=tuple(c for c in program.committed if c.name != "kv.0"))


def test_every_committed_tensor_has_a_cell_that_writes_it() -> None:
    program = model().program
    written = [t for plan in program.plans for t in plan.writes]
    assert sorted(written) == sorted(program.group_of)
    with pytest.raises(FormatError):
        replace(program, committed=(*program.committed, Committed("nobody", ("nobody",))))
