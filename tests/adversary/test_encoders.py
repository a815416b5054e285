"""Encoders: nodes that look at other rows, pool otherwise or change types, and commit to what they did."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import encoders
import proofcompute as pc
import synthetic
from adversary.mutation import Edit, apply
from encoders import TOKENS, built, model
from proofcompute.arrays import Span
from proofcompute.engine import Engine
from proofcompute.engine.session import Session, SessionRows
from proofcompute.errors import Cell, VerificationError
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.program import interpreter
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.prover import StoredTrace, open_cells
from proofcompute.verifier import Key, Verified

K = synthetic.KERNELS
NODE = synthetic.NODE
ROWS = len(TOKENS)
EMBEDDING, FIRST, LAST, POOL = range(4)
CELLS = [Cell(s, r, r + 1) for s in range(POOL) for r in range(ROWS)] + [Cell(POOL, ROWS - 1, ROWS)]


@cache
def _key() -> Key:
    return pc.keygen(model(), K, seed=bytes(32))


@cache
def asked() -> Request:
    return encoders.request(model())


def run(m: Model, request: Request | None = None) -> Session:
    engine = Engine(m, K)
    session = engine.add(replace(request or asked(), model_id=m.model_id))
    engine.run(session)
    return session


@dataclass(frozen=True, eq=False)
class Claimed:
    """Rows and an output that are committed and signed as if the true model had made them."""

    stored: StoredTrace
    receipt: Receipt

    @staticmethod
    def of(session: Session) -> Claimed:
        program, outputs = model().program, session.outputs
        statement = statement_of(asked(), program, inputs_of(asked(), program, model().model_id), outputs)
        groups = [session.trace.group(g, 0, ROWS) for g in range(len(program.committed))]
        stored = StoredTrace(statement, asked().suite, groups, K)
        return Claimed(stored, _signed(stored.root(), outputs["embedding"].astype("<f4").tobytes()))

    def open(self, challenge: Challenge) -> bytes:
        """Opened with the products that the true weights give."""
        out = io.BytesIO()
        open_cells(model(), self.stored, self.receipt, challenge, out, NODE)
        return out.getvalue()

    def audit(self, holds: Any, cells: Any = "all") -> Verified:
        return pc.Auditor(holds).audit(asked(), self.receipt.encode(), self.open, cells)


def _signed(root: bytes, output: bytes) -> Receipt:
    receipt = Receipt(
        suite=asked().suite,
        model_id=model().model_id,
        request_digest=asked().digest,
        outputs=(("embedding", output),),
        rows=ROWS,
        stop_reason="complete",
        trace_root=root,
        retention=3600,
        node=NODE.public,
    )
    return receipt.signed(NODE.sign(receipt.signed_digest))


def _other_type() -> Session:
    types = np.array([0] * (ROWS - 1) + [1], "<i4").tobytes()
    return run(model(), replace(asked(), inputs=(asked().inputs[0], ("types", types))))


def _edited() -> Session:
    session = run(model())
    session.outputs["embedding"][0, 3] += np.float32(1e-6)
    return session


def _edit_moved_back() -> Session:
    """The last hidden state of one row is that of another, and all rows are pooled honestly."""
    session = run(model())
    x = session.trace.arrays[model().program.plans[POOL].reads[0][0]]
    x[4] = x[5]
    source = Source(SessionRows(K), model(), ComputeProducts(model().matrix))
    assert isinstance(source.rows, SessionRows)
    source.rows.sessions[0] = session
    interpreter.run(model().program, POOL, [Span(0, ROWS - 1, ROWS)], source, K)
    return session


LIES: dict[str, tuple[Callable[[], Session], set[int]]] = {
    "one later row only": (lambda: run(built(ahead=1)), {FIRST, LAST}),
    "no later row": (lambda: run(built(ahead=0)), {FIRST, LAST}),
    "a short window": (lambda: run(built(window=2)), {FIRST, LAST}),
    "pooled by its first row": (lambda: run(built(kind="first")), {POOL}),
    "pooled by maximum": (lambda: run(built(kind="max")), {POOL}),
    "another token type": (_other_type, {EMBEDDING}),
    "edited embedding": (_edited, {POOL}),
    "another hidden state": (_edit_moved_back, {LAST}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_an_encoder_is_caught_where_it_is(lie: str) -> None:
    run_it, segments = LIES[lie]
    claimed, found = Claimed.of(run_it()), set()
    for holds in (replace(_key(), log=MemoryLog()), model()):
        with pytest.raises(VerificationError) as caught:
            claimed.audit(holds)
        assert caught.value.step == 9
    for cell in CELLS:
        try:
            claimed.audit(replace(_key(), log=MemoryLog()), [cell])
        except VerificationError as e:
            found.add((cell.segment, e.step))
    assert found == {(segment, 9) for segment in segments}


def test_an_honest_claim_passes() -> None:
    verified = Claimed.of(run(model())).audit(replace(_key(), log=MemoryLog()))
    assert verified.complete
    assert verified.cells == len(CELLS)


def test_an_answer_has_no_rows_that_nobody_checks() -> None:
    """Without the check of the number of output rows, a second row would stand in the receipt unchecked."""
    honest = Claimed.of(run(model()))
    (_, output), *_ = honest.receipt.outputs
    forged = replace(honest, receipt=_signed(honest.stored.root(), output + bytes(len(output))))
    with pytest.raises(VerificationError, match="one row") as caught:
        forged.audit(model())
    assert caught.value.step == 5
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, [Edit("protocol.requests", "(1 if program.pooled else prompt)", "o.shape[0]")])
        assert forged.audit(model()).complete
