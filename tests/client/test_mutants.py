"""Every check of a client over HTTP matters: without it, a named lie passes."""

from __future__ import annotations

import pytest

from adversary.mutation import CLIENT, apply, raised_at, sites
from client.mutants import MUTANTS
from client.standin import model_id, prompter
from proofcompute.client.pins import Served
from proofcompute.errors import VerificationError


@pytest.fixture(autouse=True)
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Served, "prompter", property(lambda served: prompter(served.card.model_id != model_id()))
    )


def test_every_place_that_rejects_has_a_mutant() -> None:
    places = [s.name for file in CLIENT for s in sites(file)]
    assert len(set(places)) == len(places)
    assert {m.site for m in MUTANTS.values() if m.site is not None} == set(places)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_lie_passes_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    with pytest.raises(VerificationError) as caught:
        mutant.attack()
    if mutant.site is not None:
        assert mutant.site in raised_at(caught.value)
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (mutant.edit,))
        if mutant.escapes is None:
            mutant.attack()
        else:
            with pytest.raises(mutant.escapes):
                mutant.attack()
    with pytest.raises(VerificationError):
        mutant.attack()
