"""The two façades: a node that answers and opens, an auditor that checks."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.auditor import Cells
from proofcompute.kernels import Matrix
from proofcompute.messages import Challenge, Terms


def node(**options: object) -> pc.Node:
    return pc.Node(synthetic.model(), synthetic.NODE, device=synthetic.KERNELS, **options)  # type: ignore[arg-type]


def auditor(holds: pc.Key | pc.Model | pc.ModelCard | None = None, **options: object) -> pc.Auditor:
    held = pc.keygen(synthetic.model(), synthetic.KERNELS) if holds is None else holds
    return pc.Auditor(held, device=synthetic.KERNELS, **options)  # type: ignore[arg-type]


def request(**changes: object) -> pc.Request:
    return synthetic.request(synthetic.model(), node=synthetic.NODE.public, **changes)  # type: ignore[arg-type]


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
    assert len(prover._traces) == 1
    assert list(prover._traces) == [pc.Receipt.decode(answers[-1].receipt).digest]
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
    assert not prover._traces
    assert prover.commit(session) == receipt
    assert list(prover._traces) == [receipt.digest]
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


TERMS = Terms.of(synthetic.NODE, base=2, rate=10, retention=600)


def test_receipts_are_under_the_terms_that_the_auditor_holds() -> None:
    asked, verifier = request(), auditor(terms=TERMS.encode())
    prover = node(terms=TERMS)
    answer = prover.answer(asked)
    assert verifier.claim(asked, answer.receipt).receipt.retention == 600
    for other in (node(), node(terms=Terms.of(synthetic.NODE, base=3, rate=10, retention=600))):
        with pytest.raises(pc.VerificationError, match="other terms") as e:
            verifier.claim(asked, other.answer(asked).receipt)
        assert e.value.step == 5
    for retention in (599, -1, 2**32, 1.5):
        with pytest.raises(pc.InputError, match="retention"):
            node(terms=TERMS, retention=retention)
    for retention in (-1, 2**32):  # no receipt can state it
        with pytest.raises(pc.InputError, match="retention"):
            node(retention=retention)


@pytest.mark.parametrize("holds", ["key", "model"])
def test_what_is_asked_of_a_receipt_is_asked_before_its_cells_too(holds: str) -> None:
    """Whether or not somebody measured how long the opening took."""
    key, prover = pc.keygen(synthetic.model(), synthetic.KERNELS), node(retention=60)
    held: pc.Key | pc.Model = key if holds == "key" else synthetic.model()
    first, second = request(max_tokens=3), request(max_tokens=4)
    answers = [prover.answer(asked) for asked in (first, second)]
    challenges = [auditor(held).challenge(a.request, a.receipt, 3) for a in answers]
    openings = [prover.open(a.request, a.receipt, c) for a, c in zip(answers, challenges, strict=True)]
    for waited in (None, 1.0):
        strict = auditor(held, retention=61)
        with pytest.raises(pc.VerificationError, match="too short a time"):
            strict.check(first, answers[0].receipt, challenges[0], openings[0], waited=waited)
    verifier = auditor(held)
    verifier.claim(first, answers[0].receipt)
    with pytest.raises(pc.MismatchError, match="nonce"):
        verifier.check(second, answers[1].receipt, challenges[1], openings[1])
    assert key.log.attempts == []


@pytest.mark.parametrize("cell", [pc.Cell(99, 0, 1), pc.Cell(0, 5, 500), pc.Cell(-1, 0, 1), pc.Cell(0, 3, 3)])
def test_a_challenge_names_cells_that_exist(cell: pc.Cell) -> None:
    asked = request()
    receipt = node().answer(asked).receipt
    with pytest.raises(pc.InputError):
        auditor().challenge(asked, receipt, [cell])


def test_what_is_no_opening_and_no_holder_is_said(tmp_path: Path) -> None:
    asked, prover = request(), node()
    receipt = prover.answer(asked).receipt
    challenge = auditor().challenge(asked, receipt)
    for opening in ("text", bytearray(b"x"), tmp_path / "opening", None):
        with pytest.raises(pc.InputError, match="an opening is bytes"):
            auditor().check(asked, receipt, challenge, cast(bytes, opening))
    with pytest.raises(pc.InputError, match="an auditor holds"):
        auditor(cast(pc.Key, "key"))


def test_an_auditor_that_names_two_nodes_blames_neither() -> None:
    stranger, asked = pc.NodeIdentity(bytes([3] * 32)), request()
    receipt = node().answer(asked).receipt
    others = Terms.of(stranger, base=2, rate=10, retention=600).encode()
    with pytest.raises(pc.MismatchError, match="is for node"):
        auditor(node=stranger.public).claim(asked, receipt)
    with pytest.raises(pc.VerificationError, match="another node") as e:
        auditor(terms=others).claim(asked, receipt)
    # they came from a node; who signed the receipt is not named
    assert (e.value.step, e.value.node, e.value.receipt_digest) == (2, None, None)
    claims: tuple[dict[str, Any], ...] = ({"node": stranger.public}, {"terms": others})
    for wanted in claims:
        with pytest.raises(pc.VerificationError, match="another node") as e:
            auditor(**wanted).claim(replace(asked, node=b""), receipt)
        assert e.value.step == 2
    wrong: tuple[dict[str, Any], ...] = ({"node": b"short"}, {"node": b""}, {"patience": float("nan")})
    for bad in wrong:
        with pytest.raises(pc.InputError):
            auditor(**bad)


@pytest.mark.parametrize("change", ["outputs", "no outputs", "root", "another node"])
def test_a_receipt_that_somebody_made_up_costs_a_node_nothing(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request()
    receipt = pc.Receipt.decode(node().answer(asked).receipt)
    forged = {
        "outputs": replace(receipt, outputs=((receipt.outputs[0][0], b"abc"),)),
        "no outputs": replace(receipt, outputs=()),
        "root": replace(receipt, trace_root=bytes(32)),
        "another node": replace(receipt, node=bytes(32)),
    }[change]
    prover = node()
    monkeypatch.setattr(prover, "run", lambda *_, **__: pytest.fail("it was computed"))
    with pytest.raises(pc.MismatchError, match="not signed"):
        prover.open(asked, forged.encode(), Challenge(forged.digest, (pc.Cell(0, 0, 1),)))


def test_terms_of_another_node_or_changed_ones_are_rejected() -> None:
    stranger = pc.NodeIdentity(bytes([3] * 32))
    with pytest.raises(pc.VerificationError) as e:
        auditor(terms=TERMS.encode(), node=stranger.public)
    assert e.value.step == 2
    with pytest.raises(pc.VerificationError) as e:
        auditor(terms=replace(TERMS, base=86_400).encode())
    assert e.value.step == 2
    with pytest.raises(pc.VerificationError) as e:
        auditor(terms=TERMS.encode()[:-1])
    assert e.value.step == 1


def test_an_opening_after_the_deadline_is_rejected() -> None:
    asked, prover = request(), node(terms=TERMS)
    answer, verifier = prover.answer(asked), auditor(terms=TERMS.encode())
    challenge = verifier.challenge(asked, answer.receipt)
    opening = prover.open(asked, answer.receipt, challenge)
    deadline = verifier.deadline(verifier.claim(asked, answer.receipt))
    assert deadline == 2 + answer.rows / 10
    assert verifier.check(asked, answer.receipt, challenge, opening, waited=deadline)
    with pytest.raises(pc.VerificationError, match="deadline") as e:
        verifier.check(asked, answer.receipt, challenge, opening, waited=deadline + 0.001)
    assert e.value.step == 10
    for waited in (None, -1.0, float("nan"), float("inf")):
        with pytest.raises(pc.InputError):
            verifier.check(asked, answer.receipt, challenge, opening, waited=waited)
    # the auditor's own maximum holds with terms and without
    for impatient in (auditor(terms=TERMS.encode(), patience=1.0), auditor(patience=1.0)):
        with pytest.raises(pc.VerificationError, match="deadline"):
            impatient.check(asked, answer.receipt, challenge, opening, waited=1.5)


class Drip:
    """A connection on which each read takes a second, by a clock of its own."""

    def __init__(self, data: bytes) -> None:
        self._stream, self.now = io.BytesIO(data), 0.0

    def read(self, size: int) -> bytes:
        self.now += 1
        return self._stream.read(size)


@pytest.mark.parametrize("holds", ["key", "model"])
def test_an_opening_that_drips_is_as_late_as_one_that_comes_at_last(
    holds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = synthetic.key() if holds == "key" else synthetic.model()
    asked, prover = request(), node()
    answer = prover.answer(asked)
    challenge = auditor(held).challenge(asked, answer.receipt, 8)
    opening = prover.open(asked, answer.receipt, challenge)

    def check(patience: float, waited: float | None) -> pc.Verified:
        drip = Drip(opening)
        monkeypatch.setattr("proofcompute.messages.received.monotonic", lambda: drip.now)
        verifier = auditor(held, patience=patience)
        return verifier.check(asked, answer.receipt, challenge, cast(BinaryIO, drip), waited=waited)

    counted = Drip(opening)
    auditor(held).check(asked, answer.receipt, challenge, cast(BinaryIO, counted))
    reads = counted.now
    assert check(reads + 5, 5.0).cells == 8
    for patience in (reads + 4, reads / 2, 5.0):
        with pytest.raises(pc.VerificationError, match="deadline") as e:
            check(patience, 5.0)
        assert (e.value.step, e.value.attributable) == (10, False)
    assert check(0.0, None).cells == 8  # nobody measures


@pytest.mark.parametrize("holds", ["key", "card", "model"])
def test_a_nonce_serves_one_request_only(holds: str) -> None:
    key = pc.keygen(synthetic.model(), synthetic.KERNELS)
    held: dict[str, pc.Key | pc.Model | pc.ModelCard] = {
        "key": key,
        "card": key.card,
        "model": synthetic.model(),
    }
    verifier = auditor(held[holds])
    prover = node()
    first, second = request(max_tokens=3), request(max_tokens=4)
    assert first.nonce == second.nonce
    verifier.claim(first, prover.answer(first).receipt)
    verifier.claim(first, prover.answer(first).receipt)  # the same request may be looked at again
    with pytest.raises(pc.MismatchError, match="nonce"):
        verifier.claim(second, prover.answer(second).receipt)


def test_a_nonce_in_the_keys_log_is_known_to_the_next_auditor() -> None:
    key = pc.keygen(synthetic.model(), synthetic.KERNELS)
    prover, first, second = node(), request(max_tokens=3), request(max_tokens=4)
    answer = prover.answer(first)
    verifier = auditor(key)
    verifier.audit(first, answer.receipt, lambda c: prover.open(first, answer.receipt, c))
    assert verifier.attempts == auditor(key).attempts == 1
    with pytest.raises(pc.MismatchError, match="nonce"):
        auditor(key).claim(second, prover.answer(second).receipt)


def test_who_holds_the_model_computes_an_answer_again() -> None:
    asked, verifier = request(sampling=synthetic.SAMPLED), auditor(synthetic.model())
    answer = node().answer(asked)
    assert verifier.replay(asked, answer.receipt).complete
    for holds in (synthetic.model().card, pc.keygen(synthetic.model(), synthetic.KERNELS)):
        with pytest.raises(pc.InputError, match="model"):
            auditor(holds).replay(asked, answer.receipt)
    with pytest.raises(pc.VerificationError):
        auditor(synthetic.model(), retention=10**9).replay(asked, answer.receipt)
