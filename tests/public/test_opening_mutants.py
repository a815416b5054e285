"""Checks around proofs in openings that nothing sent by a node can reach: without each, harm is done."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from adversary.mutation import Edit, apply
from client import test_public_audits as audits
from client.standin import KERNELS
from proofcompute.client.verdicts import audited_state
from proofcompute.errors import InputError, VerificationError
from proofcompute.protocol.messages import ProofAsked
from proofcompute.public.openings import ProofMaker
from proofcompute.verifier import keygen, verify
from proofcompute.verifier.evidence import make_evidence
from proofcompute.verifier.findings import Finding
from public import opened, world


class Mutant(NamedTuple):
    """A check of a caller's own matter."""

    edits: tuple[Edit, ...]
    """What removes it."""
    done: Callable[[], Any]
    """What it prevents."""
    instead: type[Exception] | object
    """The error that comes instead, or the result."""
    harm: object
    """The result without it."""


def blamed_for_what_it_never_promised() -> str:
    """A node that makes no public proofs refuses one, and is accused."""
    body = b'{"error": {"message": "no", "code": "no"}}'
    made = audits.service(terms=audits.terms(proofs=()), open=lambda *_: (400, {}, body))
    return audited_state(audits.challenger(made).audit(audits.asked(made)), 600.0)


def accused_of_silence() -> Finding:
    stated = audits.terms(base=0, rate=1_000_000, proofs=())
    checked = audits.asked(audits.service(terms=stated))
    challenge = (
        audits.challenger(audits.service()).auditor(None).challenge(checked.request, checked.receipt, 3)
    )
    bundle = make_evidence(
        audits.ME, checked.request, checked.receipt, "silent", terms=stated, challenge=challenge, waited=20.0
    )
    return audits.judged(bundle)


def an_honest_proof_before_a_key() -> int:
    """Whoever holds a secret key looks for the end of the opening where the proof is, and rejects it."""
    asked = opened.challenge()
    key = keygen(world.model(opened.KIND), KERNELS)
    asks, receipt = world.request(opened.KIND), opened.receipt().encode()
    try:
        verify(key, asks, receipt, asked, io.BytesIO(opened.opened(asked)), kernels=KERNELS)
    except VerificationError as e:
        return e.step
    return 0


def a_proof_of_one_position() -> bool:
    """One position is guessed right with a chance of one in sixteen, so it proves nothing."""
    asked = replace(opened.challenge(), proof=ProofAsked(opened.holds().asked.public_id, 1))
    return opened.check(asked, opened.opened(asked)).cells > 0


def by_a_key_of_another_id() -> bool:
    asked = opened.challenge()
    assert asked.proof is not None
    other = replace(asked, proof=ProofAsked(bytes(32), asked.proof.positions))
    maker = ProofMaker(world.published(opened.KIND), world.model(opened.KIND), KERNELS)
    return len(maker.begin(opened.receipt(), other)) == 2


def an_opening_without_the_proof_that_it_was_asked_for() -> bool:
    """A node that has no codes opens as usual, and is contradicted by what it signed."""
    return bool(opened.node().open(world.request(opened.KIND), opened.receipt(), opened.challenge()))


GUARD = 'raise InputError("a public proof is checked if the challenge asks for one, and only then")'
MUTANTS = {
    "no blame for proofs that were not promised": Mutant(
        (Edit("client.challenger", "self._require_promised(checked)\n", "pass\n"),),
        blamed_for_what_it_never_promised,
        InputError,
        "refused",
    ),
    "judges refute accusers of nodes that promised none": Mutant(
        (Edit("verifier.findings", "if not known.promised:", "if False:"),),
        accused_of_silence,
        Finding.REFUTED,
        Finding.ASSERTED,
    ),
    "a key does not check an opening with a proof": Mutant(
        (
            Edit(
                "verifier.verify",
                "if (challenge.hints, challenge.tables, asked) != (hints, hints, proof):",
                "if False:",
            ),
            Edit("verifier.verify", GUARD, "pass"),
        ),
        an_honest_proof_before_a_key,
        InputError,
        1,
    ),
    "positions prove something": Mutant(
        (
            Edit("public.openings", "if error_bits(layout, positions) <= GRANTED:", "if False:"),
            Edit("verifier.verify", "if soundness <= 0:", "if False:"),
        ),
        a_proof_of_one_position,
        InputError,
        True,
    ),
    "nodes prove by their own codes": Mutant(
        (Edit("public.openings", "if asked.public_id != key.public_id:", "if False:"),),
        by_a_key_of_another_id,
        InputError,
        True,
    ),
    "no opening without the proof that was asked for": Mutant(
        (Edit("prover.opening", "if (challenge.proof is None) != (ending is None):", "if False:"),),
        an_opening_without_the_proof_that_it_was_asked_for,
        InputError,
        True,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_harm_is_done_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    if isinstance(mutant.instead, type):
        with pytest.raises(mutant.instead):
            mutant.done()
    else:
        assert mutant.done() == mutant.instead
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.edits)
        assert mutant.done() == mutant.harm
