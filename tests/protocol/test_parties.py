"""The two façades: a node that answers and opens, an auditor that checks."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.protocol.messages import Challenge
from proofcompute.verifier.auditor import Cells
from protocol.parties import auditor, node, request


@pytest.mark.parametrize("holds", ["key", "model"])
def test_an_answer_is_audited_by_whoever_holds_a_key_or_the_model(holds: str) -> None:
    prover, verifier = node(), auditor(synthetic.key() if holds == "key" else synthetic.model())
    asked = request()
    answer = prover.answer(asked)
    assert answer.text == bytes(answer.tokens).decode("utf-8", "replace")
    assert answer.outputs["next"].tolist() == list(answer.tokens)
    wanted: tuple[tuple[Cells, int], ...] = ((5, 5), ([pc.Cell(1, 2, 4)], 2), ("all", 0))
    for cells, count in wanted:
        challenge = verifier.challenge(asked, answer.receipt, cells)
        assert challenge.hints == (holds == "key")
        found = verifier.check(
            asked, answer.receipt, challenge, prover.open(asked, answer.receipt, challenge)
        )
        assert found.complete == (cells == "all")
        assert found.cells == (count or found.total)


def test_an_auditor_computes_on_the_cpu_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []

    def note(device: str) -> Kernels:
        named.append(device)
        return synthetic.KERNELS

    monkeypatch.setattr("proofcompute.verifier.auditor.kernels_for", note)
    pc.Auditor(synthetic.key())
    pc.Auditor(synthetic.key(), device="auto")
    assert named == ["cpu", "auto"]


def test_no_more_cells_are_drawn_than_there_are() -> None:
    prover, asked = node(), request(max_tokens=1)
    answer = prover.answer(asked)
    challenge = auditor().challenge(asked, answer.receipt, 10**6)
    assert len(challenge.cells) == auditor().claim(asked, answer.receipt).statement.cells


def test_a_card_checks_receipts_but_no_cells() -> None:
    prover, asked = node(), request()
    answer, holder = prover.answer(asked), auditor(synthetic.model().card)
    assert holder.claim(asked, answer.receipt).receipt.rows == answer.rows
    challenge = Challenge(holder.claim(asked, answer.receipt).receipt.digest, (pc.Cell(0, 0, 1),))
    with pytest.raises(pc.InputError, match="card"):
        holder.challenge(asked, answer.receipt)
    with pytest.raises(pc.InputError, match="card"):
        holder.check(asked, answer.receipt, challenge, b"")


def test_a_trace_that_was_dropped_is_computed_again() -> None:
    prover, verifier, asked = node(), auditor(), request(sampling=synthetic.SAMPLED)
    answer = prover.answer(asked)
    challenge = verifier.challenge(asked, answer.receipt, "all")
    kept = prover.open(asked, answer.receipt, challenge)
    another = node()  # a replica, or the same one after a restart
    assert another.open(asked, answer.receipt, challenge) == kept
    assert verifier.check(asked, answer.receipt, challenge, kept).complete


def test_old_traces_are_forgotten_and_the_newest_stays() -> None:
    prover = node(trace_bytes=1)
    answers = [prover.answer(request(nonce=bytes([n] * 32))) for n in range(3)]
    assert len(prover.opener.traces.digests) == 1
    assert prover.opener.traces.digests == [pc.Receipt.decode(answers[-1].receipt).digest]
    challenge = auditor().challenge(answers[0].request, answers[0].receipt, "all")
    opening = prover.open(answers[0].request, answers[0].receipt, challenge)
    assert auditor().check(answers[0].request, answers[0].receipt, challenge, opening).complete


def test_a_node_whose_arithmetic_changed_opens_nothing() -> None:
    asked = request()
    answer = node().answer(asked)
    m = synthetic.model()
    name = next(n for n, w in m.weights.items() if isinstance(w, Matrix) and n.startswith("block.0"))
    broken = replace(m, weights={**m.weights, name: replace(m.matrix(name), q=-m.matrix(name).q)})
    sick = pc.Node(broken, synthetic.NODE, device=synthetic.KERNELS)
    challenge = auditor().challenge(asked, answer.receipt)
    with pytest.raises((pc.ExecutionError, pc.MismatchError)):
        sick.open(asked, answer.receipt, challenge)


def test_what_does_not_belong_together_is_the_callers_mistake() -> None:
    prover, asked = node(), request()
    answer = prover.answer(asked)
    challenge = auditor().challenge(asked, answer.receipt)
    stranger = pc.Node(synthetic.model(), device=synthetic.KERNELS)
    with pytest.raises(pc.MismatchError, match="another node"):
        stranger.answer(asked)
    with pytest.raises(pc.MismatchError, match="not signed by this identity"):
        stranger.open(asked, answer.receipt, challenge)
    for one in (prover, node()):  # with the trace at hand, and without
        with pytest.raises(pc.MismatchError, match="not for this request"):
            one.open(request(nonce=bytes(32)), answer.receipt, challenge)
    with pytest.raises(pc.MismatchError, match="another receipt"):
        prover.open(asked, answer.receipt, replace(challenge, receipt_digest=bytes(32)))
    with pytest.raises(pc.FormatError):
        prover.open(asked, answer.receipt[:-1], challenge)


def test_a_request_that_fails_leaves_the_node_as_it_was() -> None:
    rng = np.random.default_rng(0)
    b = pc.ProgramBuilder()
    x = b.input("x", 16)
    h = b.linear(x, rng.standard_normal((32, 16)).astype(np.float32) * np.float32(1e3))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((4, 32)).astype(np.float32), name="y"))
    prover = pc.Node(b.model(), device=synthetic.KERNELS)

    def samples(value: float, nonce: int) -> pc.Request:
        rows = np.full((3, 16), value, "<f4").tobytes()
        return pc.Request(prover.card.model_id, (("x", rows),), bytes([nonce] * 32), node=prover.public)

    with pytest.raises(pc.ExecutionError):
        prover.answer(samples(3e38, 1))
    assert prover.answer(samples(1.0, 2)).outputs["y"].shape == (3, 4)


def test_an_opening_is_read_from_a_stream_and_written_to_one() -> None:
    prover, verifier, asked = node(), auditor(), request()
    answer = prover.answer(asked)
    seen: list[int] = []
    out = io.BytesIO()
    challenge = verifier.challenge(asked, answer.receipt, 7)
    assert prover.open(asked, answer.receipt, challenge, out, progress=seen.append) == b""
    assert sum(seen) == 7
    out.seek(0)
    found = verifier.check(asked, answer.receipt, challenge, out, progress=seen.append)
    assert found.bytes_opened == len(out.getvalue())
    assert sum(seen) == 14


def test_a_commitment_may_be_kept_or_not_and_is_opened_as_it_is() -> None:
    prover, asked = node(), request()
    session = prover.run(asked)
    receipt = prover.commit(session, keep=False)
    assert not prover.opener.traces.digests
    assert prover.commit(session) == receipt
    assert prover.opener.traces.digests == [receipt.digest]
    challenge = auditor().challenge(asked, receipt.encode())
    opening = prover.open(asked, receipt, challenge)
    assert opening == prover.open(asked, receipt.encode(), challenge)
    assert node().open(asked, receipt, challenge) == opening


def test_evidence_is_wanted_of_what_is_accepted_too() -> None:
    """A node that signs other frames than it sent answers for nothing that it sent."""
    prover, verifier, asked = node(), auditor(), request()
    receipt = prover.commit(prover.run(asked))
    challenge = verifier.challenge(asked, receipt.encode())
    opening = prover.open(asked, receipt, challenge)
    assert verifier.check(asked, receipt.encode(), challenge, opening, evidence=True)
    *frames, _ = synthetic.frames(opening)
    other = synthetic.closed(frames, receipt, challenge, signed=frames[:-1])
    assert verifier.check(asked, receipt.encode(), challenge, other)
    with pytest.raises(pc.VerificationError) as e:
        verifier.check(asked, receipt.encode(), challenge, other, evidence=True)
    assert (e.value.step, e.value.attributable) == (2, False)


def test_audit_is_challenge_and_check() -> None:
    prover, verifier, asked = node(), auditor(), request()
    answer = prover.answer(asked)
    found = verifier.audit(asked, answer.receipt, lambda c: prover.open(asked, answer.receipt, c), "all")
    assert found.complete
    with pytest.raises(pc.VerificationError):
        verifier.audit(asked, answer.receipt, lambda c: b"")


def test_a_receipt_that_is_kept_too_short_a_time_is_rejected() -> None:
    asked = request()
    answer = node(retention=60).answer(asked)
    assert auditor(retention=60).claim(asked, answer.receipt)
    with pytest.raises(pc.VerificationError) as e:
        auditor(retention=61).challenge(asked, answer.receipt)
    assert e.value.step == 5
    with pytest.raises(pc.VerificationError) as e:
        auditor(node=bytes(32)).claim(replace(asked, node=b""), answer.receipt)
    assert e.value.step == 2


def test_who_holds_the_model_computes_an_answer_again() -> None:
    asked, verifier = request(sampling=synthetic.SAMPLED), auditor(synthetic.model())
    answer = node().answer(asked)
    assert verifier.replay(asked, answer.receipt).complete
    for holds in (synthetic.model().card, pc.keygen(synthetic.model(), synthetic.KERNELS)):
        with pytest.raises(pc.InputError, match="model"):
            auditor(holds).replay(asked, answer.receipt)
    with pytest.raises(pc.VerificationError):
        auditor(synthetic.model(), retention=10**9).replay(asked, answer.receipt)


def test_what_is_of_another_type_is_named() -> None:
    prover, verifier, asked = node(), auditor(), request()
    answer = prover.answer(asked)
    challenge = verifier.challenge(asked, answer.receipt)
    raw: Any = asked.encode()
    drawn: Any = challenge.encode()
    wrong: Any = "some"
    for call, word in (
        (lambda: prover.answer(raw), "request"),
        (lambda: prover.open(raw, answer.receipt, challenge), "request"),
        (lambda: prover.open(asked, answer.receipt, drawn), "challenge"),
        (lambda: prover.open(asked, wrong, challenge), "receipt"),
        (lambda: verifier.challenge(raw, answer.receipt), "request"),
        (lambda: verifier.challenge(asked, answer.receipt, wrong), "cells"),
        (lambda: verifier.check(asked, answer.receipt, drawn, b""), "challenge"),
        (lambda: pc.Node(wrong), "model"),
        (lambda: node(terms=b"bytes"), "terms"),
        (lambda: pc.Node(synthetic.model(), wrong), "identity"),
    ):
        with pytest.raises(pc.InputError, match=word):
            call()
