"""Every check of a response matters: without it, a named wrong one passes (docs/spec/openai.md)."""

from __future__ import annotations

import ast

import pytest

from adversary.mutation import PACKAGE, RESPONSES, apply, raised_at, sites
from binding.mutant import SAME
from binding.mutants import MUTANTS
from proofcompute.errors import VerificationError


def test_every_place_that_rejects_has_a_mutant() -> None:
    places = [s.name for file in RESPONSES for s in sites(file)]
    assert len(set(places)) == len(places)
    assert {m.site for m in MUTANTS.values()} == set(places)


def test_every_comparison_has_a_mutant() -> None:
    """They raise in one place, and so are counted by their calls."""
    calls = 0
    for file in RESPONSES:
        tree = ast.walk(ast.parse((PACKAGE / file).read_text("utf-8")))
        called = [n.func for n in tree if isinstance(n, ast.Call)]
        calls += sum(isinstance(f, ast.Name) and f.id == "check_same" for f in called)
    assert sum(m.site == SAME for m in MUTANTS.values()) == calls >= 20


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_response_passes_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    with pytest.raises(VerificationError):
        mutant.attack()
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.setup)
        with pytest.raises(VerificationError) as caught:
            mutant.attack()
        assert raised_at(caught.value) == {mutant.site}
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (*mutant.setup, mutant.edit))
        if mutant.escapes is None:
            mutant.attack()
        else:
            with pytest.raises(mutant.escapes):
                mutant.attack()
    with pytest.raises(VerificationError):
        mutant.attack()
