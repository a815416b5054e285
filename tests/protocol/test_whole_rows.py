"""Programs whose rows depend on all rows: what they are, how they run, what an audit opens of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from encoders import CONTEXT, TOKENS, built, model, request
from proofcompute.arrays import Span
from proofcompute.encoding.wire import f32_bits
from proofcompute.engine import Engine
from proofcompute.engine.schedule import pieces
from proofcompute.engine.session import Keep, Session
from proofcompute.errors import Cell, FormatError, LimitError
from proofcompute.limits import MAX_ROWS
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.program.operations import (
    Attention,
    PoolRows,
    QuantiseHeads,
    Split,
    decode_program,
    encode_program,
)
from proofcompute.program.types import Committed, Reads, Spec
from proofcompute.protocol.messages import Request
from proofcompute.protocol.needs import GroupRows, needs
from proofcompute.protocol.openable import most_bytes
from proofcompute.protocol.requests import inputs_of, statement_of

K = synthetic.KERNELS


@cache
def auditor(kind: str = "mean", pooled: bool = True) -> pc.Auditor:
    return pc.Auditor(pc.keygen(model(kind, pooled), K))


def ran(m: Model, asked: Request, **how: Any) -> Session:
    engine = Engine(m, K, **how)
    session = engine.add(asked)
    engine.run(session)
    return session


def root(m: Model, session: Session) -> bytes:
    return pc.Node(m, identity=synthetic.NODE, device="numpy").commit(session, keep=False).trace_root


# -- honest --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tokens", [TOKENS, TOKENS[:1], TOKENS * 4], ids=["some", "one", "many"])
@pytest.mark.parametrize("kind", ["first", "last", "max", "mean"])
def test_an_answer_passes_a_full_audit(kind: str, tokens: tuple[int, ...]) -> None:
    node, asked = pc.Node(model(kind), device="cpu"), request(model(kind), tokens)
    answer = node.answer(asked)
    verified = auditor(kind).audit(
        asked, answer.receipt, lambda c: node.open(asked, answer.receipt, c), "all"
    )
    assert verified.complete
    assert verified.outputs == 1
    assert verified.rows == len(tokens)
    assert verified.total == 3 * len(tokens) + 1
    expected = ran(model(kind), asked).statement().outputs["embedding"]
    assert answer.outputs["embedding"].tobytes() == expected.tobytes()
    assert np.linalg.norm(expected) == pytest.approx(1, abs=1e-5)


def test_an_output_for_each_row() -> None:
    m, asked = model(pooled=False), request(model(pooled=False))
    node = pc.Node(m, device="cpu")
    answer = node.answer(asked)
    verified = auditor(pooled=False).audit(
        asked, answer.receipt, lambda c: node.open(asked, answer.receipt, c), 9
    )
    assert verified.cells == 9
    assert answer.outputs["embedding"].shape == (len(TOKENS), 3)


def test_pooled_is_what_numpy_pools() -> None:
    states = {k: ran(model(k), request(model(k))).trace.arrays for k in ("first", "last", "max", "mean")}
    name = model().program.plans[-1].reads[0][0]
    x = states["mean"][name][: len(TOKENS)].astype(np.float64)
    for kind, expected in {"first": x[0], "last": x[-1], "max": x.max(0), "mean": x.mean(0)}.items():
        found = ran(model(kind), request(model(kind))).statement().outputs["embedding"][0]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_every_row_sees_later_rows_and_types() -> None:
    asked = request(model())
    before = ran(model(), asked).trace.arrays["vq.1"][0].tobytes()
    other = request(model(), (*TOKENS[:-1], 2))
    assert ran(model(), other).trace.arrays["vq.1"][0].tobytes() != before
    causal = built(ahead=0)
    again = [ran(causal, request(causal, t)).trace.arrays["vq.1"] for t in (TOKENS, (*TOKENS[:-1], 2))]
    assert again[0][: len(TOKENS) - 1].tobytes() == again[1][: len(TOKENS) - 1].tobytes()
    typed = request(model(), TOKENS, (0,) * 5 + (1,) * 6)
    assert ran(model(), typed).trace.arrays["vq.1"][0].tobytes() != before


@pytest.mark.parametrize("how", [{"rows": 1}, {"rows": 4, "chunk": 2}, {"keep": Keep.NOTHING}])
@pytest.mark.parametrize("ahead", [MAX_ROWS, 0], ids=["all", "causal"])
def test_pieces_change_nothing(ahead: int, how: dict[str, Any]) -> None:
    m = built(ahead=ahead)
    asked = request(m, TOKENS * 4)
    assert root(m, ran(m, asked, **how)) == root(m, ran(m, asked))


def test_sessions_together_change_nothing() -> None:
    m = model()
    assert m.program.reads_all
    texts = [TOKENS, TOKENS[:1], TOKENS * 4, TOKENS[3:9]]
    engine = Engine(m, K, rows=30)
    sessions = [engine.add(request(m, t)) for t in texts]
    while any(s.running for s in sessions):
        engine.step()
    for session, tokens in zip(sessions, texts, strict=True):
        assert root(m, session) == root(m, ran(m, request(m, tokens)))


def test_rows_in_pieces() -> None:
    spans = [Span(0, 0, 3), Span(1, 2, 9), Span(2, 0, 1)]
    assert pieces(spans, 4) == [
        [Span(0, 0, 3), Span(1, 2, 3)],
        [Span(1, 3, 7)],
        [Span(1, 7, 9), Span(2, 0, 1)],
    ]
    assert pieces(spans, 100) == [spans]
    assert pieces([], 1) == []


# -- what a cell needs ---------------------------------------------------------------------------------------
def test_a_cell_needs_all_rows_of_what_it_reads_whole() -> None:
    statement = ran(model(), request(model())).statement()
    n = len(TOKENS)
    assert needs(statement, Cell(1, 2, 4)).groups == (GroupRows(0, 0, n), GroupRows(1, 2, 4))
    assert needs(statement, Cell(3, n - 1, n)).groups == (GroupRows(2, 0, n),)
    with pytest.raises(FormatError, match="outside the trace"):
        statement.check_cell(Cell(3, 0, 1))


def test_what_may_be_opened_grows_with_the_trace() -> None:
    program = model().program
    few, many = (
        most_bytes(program, 1, 1, 1, total, tables=True, hints=True).total for total in (10, CONTEXT)
    )
    assert many - few >= (CONTEXT - 10) * program.group_bytes(0)
    with pytest.raises(LimitError, match="nobody could audit it"):
        replace(program, context=MAX_ROWS, segments=program.segments)._check_openable(
            replace(program.plans[1], groups=tuple((g, Reads.ALL) for g, _ in program.plans[1].groups) * 999)
        )


# -- what a program may be -----------------------------------------------------------------------------------
def test_programs_are_encoded_as_before_and_with_one_output_row() -> None:
    for pooled in (True, False):
        program = model(pooled=pooled).program
        assert decode_program(encode_program(program)) == program
        assert program.pooled is pooled
        assert program.reads_all
        assert not program.captured
    assert model().model_id != model(pooled=False).model_id


def test_what_has_no_meaning_is_refused() -> None:
    m = model().program
    with pytest.raises(FormatError, match="an output for each row"):
        replace(m, feedback=True)
    last = m.segments[-2]
    (pooling,) = [n for n in m.segments[-1].nodes if isinstance(n.op, PoolRows)]
    with pytest.raises(FormatError, match=r"all rows of layer_norm.* which its own segment makes"):
        replace(m, segments=(*m.segments[:-2], replace(last, nodes=(*last.nodes, *m.segments[-1].nodes))))
    b = ProgramBuilder()
    b.output(b.apply(PoolRows("max"), b.relu(b.input("x", (3,)))))
    with pytest.raises(FormatError, match="which is not committed"):
        b.program()
    with pytest.raises(FormatError, match="segment with an output commits"):
        replace(m, committed=(*m.committed, Committed("e", ("embedding",))))
    with pytest.raises(FormatError, match="no kind"):
        replace(pooling.op, kind="median").infer([Spec("f32", (3,))], {})  # type: ignore[type-var]
    with pytest.raises(FormatError, match="one float32 input"):
        PoolRows("mean").infer([Spec("i32", (3,))], {})


def test_a_language_model_reads_no_later_rows() -> None:
    m = synthetic.model().program
    changed = [
        replace(
            s,
            nodes=tuple(
                replace(n, op=replace(n.op, ahead=1)) if isinstance(n.op, Attention) else n for n in s.nodes
            ),
        )
        for s in m.segments
    ]
    with pytest.raises(FormatError, match=r"before they exist|which its own segment makes"):
        replace(m, segments=tuple(changed))


def test_an_answer_has_one_row() -> None:
    m, asked = model(), request(model())
    inputs = inputs_of(asked, m.program, m.model_id)
    for rows in (0, 2, len(TOKENS)):
        with pytest.raises(FormatError, match="one row"):
            statement_of(asked, m.program, inputs, {"embedding": np.zeros((rows, 16), np.float32)})


@pytest.mark.parametrize("kinds", [(0, MAX_ROWS), (MAX_ROWS, 0)])
def test_a_cell_that_reads_a_prefix_and_all_rows_gets_all_rows(kinds: tuple[int, int]) -> None:
    """The wider read decides, in whatever order operations read a tensor."""
    b, rng = ProgramBuilder(context=CONTEXT), np.random.default_rng(3)
    x = b.input("x", (8,))
    both = b.linear(x, rng.standard_normal((16, 8)).astype(np.float32))
    k, v = b.apply_all(Split((8, 8)), both, names=("k", "v"))
    keys = b.apply_all(QuantiseHeads(2, 1), k, names=("kq", "ks"))
    values = b.apply_all(QuantiseHeads(2, 1), v, names=("vq", "vs"))
    b.cut(*keys, *values)
    seen = [b.apply(Attention(2, f32_bits(0.5), 0, 1, ahead=ahead), x, *keys, *values) for ahead in kinds]
    b.output(seen[0] + seen[1])
    m = b.model()
    rows = np.random.default_rng(4).standard_normal((9, 8)).astype("<f4")
    asked = Request(m.model_id, (("x", rows.tobytes()),), bytes(32))
    node = pc.Node(m, device="cpu")
    receipt = node.answer(asked).receipt
    found = pc.Auditor(pc.keygen(m, K)).audit(asked, receipt, lambda c: node.open(asked, receipt, c), 9)
    assert found.cells == 9
