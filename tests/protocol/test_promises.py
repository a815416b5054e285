"""What the parties promise: terms and deadlines, and a nonce for each request."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

import proofcompute as pc
import synthetic
from proofcompute.protocol.messages import Challenge, Terms
from protocol.parties import auditor, node, request

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
        monkeypatch.setattr("proofcompute.protocol.received.monotonic", lambda: drip.now)
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
