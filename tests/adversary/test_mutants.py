"""Every check of the ten steps matters: without it, a named attack passes (docs/spec/adversary.md)."""

from __future__ import annotations

import pytest

from adversary.mutants_cell import CELL_MUTANTS
from adversary.mutants_claim import CLAIM_MUTANTS
from adversary.mutants_closing import CLOSING_MUTANTS
from adversary.mutants_coded import CODED_MUTANTS
from adversary.mutants_replay import REPLAY_MUTANTS
from adversary.mutants_stages import STAGE_MUTANTS
from adversary.mutation import RAISED, Edit, apply, raised_at, sites
from proofcompute.errors import VerificationError
from proofcompute.errors import sealed as secrecy

TABLES = (CLAIM_MUTANTS, CELL_MUTANTS, CLOSING_MUTANTS, CODED_MUTANTS, REPLAY_MUTANTS, STAGE_MUTANTS)
MUTANTS = {name: mutant for table in TABLES for name, mutant in table.items()}
assert len(MUTANTS) == sum(map(len, TABLES)), "two mutants have one name"


def test_every_place_that_rejects_has_a_mutant() -> None:
    """A new check in these files fails here until it has a mutant that shows what it is for."""
    places = [s.name for file in RAISED for s in sites(file)]
    assert len(set(places)) == len(places)
    assert {s for m in MUTANTS.values() for s in m.sites} == set(places)


@pytest.fixture(autouse=True)
def _tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors say here where they were raised, inside sealed functions too."""
    monkeypatch.setattr(secrecy, "_strip", lambda error: None)


@pytest.mark.parametrize("name", MUTANTS)
def test_an_attack_passes_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    if mutant.together:
        with pytest.MonkeyPatch.context() as patch:
            apply(patch, mutant.setup)
            attack = mutant.attack()
    else:
        attack = mutant.attack()
    with pytest.raises(VerificationError):
        attack.verify()
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.setup)
        with pytest.raises(VerificationError) as caught:
            attack.verify()
        assert raised_at(caught.value) == set(mutant.sites)
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (*mutant.setup, *mutant.edits))
        assert attack.verify().cells > 0
    with pytest.raises(VerificationError):
        attack.verify()


def test_a_mutation_that_fits_nowhere_is_an_error() -> None:
    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(AssertionError, match="0 times"):
            apply(patch, [Edit("verifier.verify", "no such line", "")])
        with pytest.raises(AssertionError, match="nothing changed"):
            apply(patch, [Edit("verifier.verify", "the ten verification steps", "the 10 verification steps")])
