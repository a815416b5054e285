"""Replay: a verifier with the weights needs no opening, and no altered cell escapes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import synthetic
from adversary.attacks import ATTACKS
from adversary.cheats import CHEATS
from adversary.mutants_replay import answered, network, samples
from adversary.setting import KERNELS, case, forge, honest, model, request
from proofcompute.attacks.case import Case
from proofcompute.attacks.receipts import RECEIPTS
from proofcompute.engine import Engine
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.verifier.replay import replay


@pytest.mark.parametrize("name", CHEATS)
def test_a_replay_catches_every_cheat(name: str) -> None:
    forgery = CHEATS[name].build()
    with pytest.raises(VerificationError) as caught:
        replay(forgery.claims, forgery.request, forgery.receipt.encode(), kernels=KERNELS)
    assert caught.value.step in (7, 9)
    assert caught.value.receipt_digest == forgery.receipt.digest


@pytest.mark.parametrize("name", [name for name, made in RECEIPTS.items() if made.step < 6])
def test_a_replay_checks_the_receipt_first(name: str) -> None:
    attack: Case = ATTACKS[name][0]()
    held = attack.holder if isinstance(attack.holder, Model) else model()
    if (
        attack.card
        or attack.terms is not None
        or attack.retention
        or held.model_id != attack.request.model_id
    ):
        pytest.skip("what a replay is not asked")
    with pytest.raises(VerificationError) as caught:
        replay(held, attack.request, attack.receipt, kernels=KERNELS, node=attack.node)
    assert caught.value.step == RECEIPTS[name].step


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(sampling=synthetic.SAMPLED, seed=bytes([4] * 32)),
        request(sampling=synthetic.SAMPLED, choice=5),
        request(max_tokens=1),
        request(prompt="A", max_tokens=20),
        request(ignore_end=True, suite="blake3"),
        request(node=honest().receipt.node),
    ],
)
def test_an_honest_answer_passes(asked: Request) -> None:
    forgery = forge(asked=asked)
    rows: list[int] = []
    found = replay(model(), asked, forgery.receipt.encode(), kernels=KERNELS, progress=rows.append)
    assert found.complete
    assert (found.cells, found.bytes_opened) == (forgery.statement.cells, 0)
    assert sum(rows) == found.rows  # nothing beyond the answer is computed
    assert len(rows) == 1


def test_an_answer_that_ended_early_is_replayed_no_further() -> None:
    """The request allows many more tokens than the answer has."""
    tokens = forge(asked=request(max_tokens=20)).statement.outputs["next"].tolist()
    asked = request(max_tokens=120, stops=(chr(next(t for t in tokens if t < 128)),))
    forgery = forge(asked=asked)
    assert len(forgery.statement.outputs["next"]) <= 20
    assert forgery.receipt.stop_reason == "stop"
    engine = Engine(model(), KERNELS)
    session = engine.add(asked, forgery.statement.outputs["next"].tolist())
    assert session.trace.capacity == session.known == forgery.statement.rows
    engine.run(session)
    assert session.done == forgery.statement.rows
    assert replay(model(), asked, forgery.receipt.encode(), kernels=KERNELS).complete


def test_a_program_that_does_not_generate_is_replayed() -> None:
    asked, receipt = answered(samples())
    found = replay(network(), asked, receipt.encode(), kernels=KERNELS)
    assert (found.complete, found.rows, found.stop_reason) == (True, 3, "complete")


def test_what_is_the_verifiers_own_stays_its_own() -> None:
    good = case(honest())
    with pytest.raises(MismatchError):
        replay(model(1), good.request, good.receipt, kernels=KERNELS)
    liar = Model(model().card, model(1).weights)
    with pytest.raises(MismatchError):
        replay(liar, good.request, good.receipt, kernels=KERNELS)
    with pytest.raises(InputError):
        replay(model(), replace(good.request, inputs=()), good.receipt, kernels=KERNELS)
