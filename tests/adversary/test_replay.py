"""Replay: a verifier with the weights needs no opening, and no altered cell escapes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import synthetic
from adversary.mutants_replay import answered, network, samples
from adversary.setting import KERNELS, case, forge, honest, model, request
from proofcompute.engine import Engine
from proofcompute.errors import InputError, MismatchError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.verifier.replay import replay


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
