"""Audits by public proofs: no secret at the auditor, and evidence that the public key decides."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

import synthetic
from client.standin import BASE, KERNELS, NAME, NODE, OTHER, Service, model
from proofcompute.cli import main
from proofcompute.client import Challenger, Checked, ProofTransport
from proofcompute.client.contradictions import evidence_of
from proofcompute.client.verdicts import audited_state
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import EvidenceError, InputError, VerificationError
from proofcompute.openai import OpenCall
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import ProofAsked, Receipt, Terms
from proofcompute.prover.node import Node
from proofcompute.public.openings import ByPublicProof, ProofMaker
from proofcompute.public.publishing import Published, publish
from proofcompute.testing import CHEATS
from proofcompute.verifier import Verified, keygen
from proofcompute.verifier.evidence import make_evidence
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

BODY = {"model": NAME, "prompt": "Once upon", "max_tokens": 8}
SECURITY = 115.0
ME = NodeIdentity(bytes([9] * 32))
HELD = {cheat.name: cheat for cheat in CHEATS}


@cache
def published() -> Published:
    return publish(model(), KERNELS)


@cache
def holds() -> ByPublicProof:
    return ByPublicProof(published().key, SECURITY)


def terms(identity: NodeIdentity = NODE, **more: Any) -> Terms:
    options = {"base": 30, "rate": 1000, "retention": 3600, "proofs": [published().key.public_id], **more}
    return Terms.of(identity, **options)


def proving(node: Node, call: OpenCall) -> bytes:
    """Open as a node does that has the codes of its model."""
    maker = ProofMaker(published(), model(), KERNELS)
    hearer, ending = maker.begin(Receipt.decode(call.receipt), call.challenge)
    return node.open(call.request, call.receipt, call.challenge, hearer=hearer, ending=ending)


def service(**options: Any) -> Service:
    return Service(**{"terms": terms(), "open": proving, **options})


def asked(made: Service, number: int = 0) -> Checked:
    transport = ProofTransport(BASE, model().card, inner=made.transport(httpx2))
    with httpx2.Client(transport=transport) as client:
        client.post(BASE + "/completions", json={**BODY, "prompt": f"Once upon {number}"})
    (found,) = transport.checked
    return found


def challenger(made: Service, by: Any = None, **options: Any) -> Challenger:
    inner = made.transport(httpx2)
    return Challenger(BASE, by or holds(), device=KERNELS, inner=inner, library=httpx2, **options)


def cheating(cheat: str) -> Service:
    """A node that computes something else, commits to it, and opens with the true model."""
    from gateway.test_auditing import cheating as made

    return made("north", cheat, terms=terms(), open=proving)


# -- audits --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cells", [3, "all"])
def test_an_honest_node_is_verified_without_a_secret(cells: Any) -> None:
    made = service()
    checked = asked(made)
    audited = challenger(made).audit(checked, cells)
    assert isinstance(audited.found, Verified)
    assert audited.challenge is not None
    assert audited.challenge.proof == holds().asked
    assert audited_state(audited, 600.0) == "verified"
    assert len(audited.opening.read()) == audited.found.bytes_opened


def test_what_is_asked_twice_is_the_same() -> None:
    made = service()
    checked, sent = asked(made), list[Any]()
    first = challenger(made).audit(checked, 3, drawn=sent.append)
    again = challenger(made).audit(checked, 16, earlier=first.challenge)
    assert sent == [first.challenge]
    assert again.challenge == first.challenge
    assert again.opening.read() == first.opening.read()
    assert first.challenge is not None
    # a challenge for who holds a key is not one for who holds a public key, and the other way round
    for by, earlier in (
        (holds(), replace(first.challenge, proof=None)),
        (keygen(model(), KERNELS), first.challenge),
        (holds(), replace(first.challenge, proof=ProofAsked(bytes(32), 30))),
    ):
        new = challenger(made, by)
        assert not new._fits(earlier)
    assert not challenger(made, model().card)._fits(first.challenge)


@pytest.mark.parametrize("promised", [None, terms(proofs=()), terms(proofs=[bytes(32)])])
def test_no_node_is_blamed_for_proofs_that_its_terms_do_not_promise(promised: Terms | None) -> None:
    made = service(terms=promised)
    checked, before = asked(made), len(made.asked)
    with pytest.raises(InputError, match="promise no public proofs"):
        challenger(made).audit(checked)
    assert len(made.asked) == before


def _without(node: Node, call: OpenCall) -> bytes:
    """Opens for who holds a key."""
    plain = replace(call.challenge, proof=None)
    return node.open(call.request, call.receipt, plain)


def _other_cells(node: Node, call: OpenCall) -> bytes:
    fewer = replace(call.challenge, cells=call.challenge.cells[:1])
    return proving(node, OpenCall(call.request, call.receipt, fewer))


def _other_security(node: Node, call: OpenCall) -> bytes:
    assert call.challenge.proof is not None
    weak = replace(call.challenge.proof, positions=call.challenge.proof.positions - 4)
    return proving(node, OpenCall(call.request, call.receipt, replace(call.challenge, proof=weak)))


def _anothers(node: Node, call: OpenCall) -> bytes:
    """Opens another answer, which another node signed."""
    other = Node(model(), OTHER, device=KERNELS)
    found = other.answer(replace(call.request, node=OTHER.public))
    digest = Receipt.decode(found.receipt).digest
    challenge = replace(call.challenge, receipt_digest=digest)
    return proving(other, OpenCall(found.request, found.receipt, challenge))


WRONG: dict[str, tuple[Callable[[Node, OpenCall], Any], set[int]]] = {
    "no proof": (_without, {6}),
    "other cells": (_other_cells, {6}),
    "fewer positions": (_other_security, {6}),
    "another node's answer": (_anothers, {6}),
    "cut short": (lambda node, call: proving(node, call)[:-300], {1, 10}),
    "nothing": (lambda node, call: b"", {10}),
    "more than there is": (lambda node, call: proving(node, call) + b"\0" * 9, {10}),
    "far too much": (lambda node, call: b"\0" * (1 << 24), {1}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_proof_is_rejected(name: str) -> None:
    opens, steps = WRONG[name]
    made = service(open=opens)
    audited = challenger(made).audit(asked(made), 4)
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step in steps


def test_a_proof_that_was_seen_before_is_none_of_another_answer() -> None:
    made = service()
    first, second = asked(made), asked(made, 1)
    audited = challenger(made).audit(first, 4)
    seen = audited.opening.read()
    made.open = lambda *_: seen
    audited = challenger(made).audit(second, 4)
    assert isinstance(audited.found, VerificationError)
    assert audited.found.step == 6


# -- evidence ------------------------------------------------------------------------------------------------
def judged(bundle: Bundle, by: Any = None, **more: Any) -> Finding:
    return verify_evidence(bundle, by or holds(), kernels=KERNELS, **more).finding


@pytest.mark.parametrize("cheat", ["other weights", "skipped layer", "edited answer"])
def test_a_cheat_is_caught_and_anybody_finds_the_same(cheat: str) -> None:
    made = cheating(cheat)
    audited = challenger(made).audit(asked(made), "all")
    assert isinstance(audited.found, VerificationError)
    assert audited_state(audited, 600.0) == "contradicted"
    bundle, why = evidence_of(audited, model().card, ME)
    assert bundle is not None, why
    bundle = Bundle.decode(bundle.encode())
    verdict = verify_evidence(bundle, holds(), kernels=KERNELS)
    assert verdict.finding is Finding.CONTRADICTED
    assert verdict.as_claimed
    assert verdict.check == "cells"
    assert judged(bundle, model()) is Finding.CONTRADICTED  # by replay
    for other in (model().card, keygen(model(), KERNELS)):
        found = verify_evidence(bundle, other, kernels=KERNELS)
        assert found.finding is Finding.UNDECIDED
        assert any("card" in one or "public key" in one for one in found.unchecked)


def test_the_command_decides_evidence_with_the_public_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published().key.save(tmp_path / "public")
    made = cheating("other weights")
    audited = challenger(made).audit(asked(made), "all")
    bundle, _ = evidence_of(audited, model().card, ME)
    assert bundle is not None
    bundle.save(tmp_path / "evidence")
    words = ["verify-evidence", str(tmp_path / "evidence"), "--device", "numpy", "--json"]
    assert main([*words, "--public", str(tmp_path / "public")]) == 0
    assert '"contradicted"' in capsys.readouterr().out
    (tmp_path / "card").write_bytes(model().card.encode())
    assert main([*words, "--card", str(tmp_path / "card")]) == 3
    both = ["--card", str(tmp_path / "card"), "--public", str(tmp_path / "public")]
    assert main([*words, *both]) == 2
    assert main([*words, "--public", str(tmp_path / "card")]) == 2


def test_what_an_honest_node_proved_confirms_or_refutes() -> None:
    made = service()
    audited = challenger(made).audit(asked(made), 5)
    good, _ = evidence_of(audited, model().card, ME)
    assert good is not None
    assert judged(good) is Finding.CONFIRMED
    assert judged(good, model().card) is Finding.UNDECIDED
    lie = replace(audited, found=VerificationError(8, "it is false, I say"))
    accused, _ = evidence_of(lie, model().card, ME)
    assert accused is not None
    assert judged(accused) is Finding.REFUTED
    # whoever changes the opening frames nobody
    audited.opening.seek(0)
    data = bytearray(audited.opening.read())
    data[len(data) // 2] ^= 1
    checked = audited.checked
    changed = make_evidence(
        ME,
        checked.request,
        checked.receipt,
        VerificationError(8, "it is false"),
        terms=terms(),
        challenge=audited.challenge,
        opening=bytes(data),
        waited=1.0,
    )
    assert judged(changed) is Finding.UNATTRIBUTABLE


def test_other_codes_and_other_openings_are_left_open() -> None:
    made = service()
    checked = asked(made)
    made.open = lambda node, call: node.open(*call)
    plain = challenger(made, keygen(model(), KERNELS)).audit(checked, 3)
    bundle, _ = evidence_of(plain, model().card, ME)
    assert bundle is not None
    found = verify_evidence(bundle, holds(), kernels=KERNELS)
    assert found.finding is Finding.UNDECIDED
    assert any("without a public proof" in one for one in found.unchecked)
    made.open = proving
    public = challenger(made).audit(checked, 3)
    bundle, _ = evidence_of(public, model().card, ME)
    assert bundle is not None
    sparse = ByPublicProof(publish(model(), KERNELS, rho=5).key, SECURITY)
    found = verify_evidence(bundle, sparse, kernels=KERNELS)
    assert found.finding is Finding.UNDECIDED
    assert any("other codes" in one for one in found.unchecked)


def test_a_challenge_that_no_node_must_answer_is_no_evidence() -> None:
    made = service()
    audited = challenger(made).audit(asked(made), 3)
    assert audited.challenge is not None
    weak = replace(audited.challenge, proof=ProofAsked(holds().asked.public_id, 1))
    checked, frames = audited.checked, synthetic.frames(audited.opening.read())
    opening = synthetic.closed(frames[:-1], checked.claim.receipt, weak, NODE)
    bundle = make_evidence(
        ME,
        checked.request,
        checked.receipt,
        VerificationError(8, "false"),
        challenge=weak,
        opening=opening,
        waited=1.0,
    )
    with pytest.raises(EvidenceError, match="no node must answer"):
        judged(bundle)


@pytest.mark.parametrize("outcome", ["silent", "refused"])
@pytest.mark.parametrize("promised", [True, False])
def test_silence_about_a_proof_counts_if_it_was_promised(outcome: Any, promised: bool) -> None:
    stated = terms(base=0, rate=1_000_000) if promised else terms(base=0, rate=1_000_000, proofs=())
    made = service(terms=stated)
    checked = asked(made)
    challenge = replace(challenger(service()).auditor(None).challenge(checked.request, checked.receipt, 3))
    bundle = make_evidence(
        ME, checked.request, checked.receipt, outcome, terms=stated, challenge=challenge, waited=20.0
    )
    assert judged(bundle) is (Finding.ASSERTED if promised else Finding.REFUTED)


def test_silence_past_the_terms_is_silence() -> None:
    made = service(terms=terms(base=0, rate=1_000_000), open=lambda *_: (503, {}, b""))
    start = time.monotonic()
    audited = challenger(made, patience=0.5).audit(asked(made))
    assert time.monotonic() - start < 60
    assert audited_state(audited, 0.0) == "silent"


def test_a_refusal_of_a_promised_proof_is_one() -> None:
    body = b'{"error": {"message": "no", "code": "no"}}'
    made = service(open=lambda *_: (400, {}, body))
    audited = challenger(made).audit(asked(made))
    assert audited_state(audited, 600.0) == "refused"
