"""Every attack of the registry, in every mode that it has, on a small model to which it applies."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from adversary.cheats import ABSENT, absent
from adversary.setting import KERNELS, target
from proofcompute.arrays import Array
from proofcompute.attacks import programs
from proofcompute.attacks.answers import ANSWERS
from proofcompute.attacks.attack import KINDS, Cheat, Mode
from proofcompute.attacks.builtin import BUILTIN, builtin
from proofcompute.attacks.case import Case
from proofcompute.attacks.guide import table
from proofcompute.attacks.hints import HINTS
from proofcompute.attacks.operations import Identity
from proofcompute.attacks.rates import Rate, altered_cells, interval, measured_rate
from proofcompute.attacks.registry import ATTACKS, SUBJECTS, Attack, chosen
from proofcompute.attacks.report import Report, attempts, word
from proofcompute.attacks.target import NotApplicable, Target, suitable
from proofcompute.attacks.trials import PASSED, Ground, Outcome, Trial, attempt
from proofcompute.attacks.weights import WEIGHTS
from proofcompute.errors import Cell, ExecutionError, InputError
from proofcompute.testing import TINY, Forgery, random_chat_model, random_network

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "attack.md"


@cache
def ground(name: str) -> Ground:
    """A model with all that attacks on it share; few challenges, since each takes time."""
    return Ground(target() if name == "plain" else builtin(name, KERNELS), draws=100, audits=1)


def made(label: str, mode: Mode) -> Outcome:
    """What becomes of an attack on the first model to which it applies."""
    found = (attempt(ground(name), ATTACKS[label], mode) for name in BUILTIN)
    return next(outcome for outcome in found if outcome.applies)


BY_TABLES = {"receipt", "challenge", "opening", "closing", "rows", "hint"}
"""Subjects whose private audits test_attacks.py makes; test_evidence.py makes those of evidence."""


def pairs() -> list[tuple[str, Mode]]:
    return [
        (attack.label, mode)
        for attack in ATTACKS.values()
        for mode in attack.expected
        if not (attack.subject in BY_TABLES and mode is Mode.PRIVATE)
        and attack.subject not in ("framing", "denial")
    ]


@pytest.mark.parametrize(("label", "mode"), pairs(), ids=lambda x: x.value if isinstance(x, Mode) else x)
def test_every_attack_is_stopped_where_it_must_be(label: str, mode: Mode) -> None:
    outcome = made(label, mode)
    assert [t for t in outcome.trials if not t.holds] == []
    assert outcome.rate is None or outcome.rate.holds
    assert outcome.holds
    assert (outcome.rate is not None) == (mode is Mode.PRIVATE and isinstance(outcome.attack.made, Cheat))


@pytest.mark.parametrize("subject", sorted(BY_TABLES | {"framing", "denial"}))
def test_attacks_of_a_table_are_made_as_the_table_says(subject: str) -> None:
    """One of each; test_attacks.py and test_evidence.py make all of them, and look closer."""
    attack = next(a for a in ATTACKS.values() if a.subject == subject)
    for mode in attack.expected:
        assert attempt(ground("plain"), attack, mode).holds


def test_there_are_more_than_sixty_attacks_of_every_kind() -> None:
    assert len(ATTACKS) > 60
    assert {attack.kind for attack in ATTACKS.values()} == {*KINDS}
    for mode in Mode:
        assert sum(mode in attack.expected for attack in ATTACKS.values()) > 60
    assert len({a.name for a in ATTACKS.values() if a.subject not in ("framing", "denial", "proof")}) == sum(
        len(table)
        for subject, (_, table) in SUBJECTS.items()
        if subject not in ("framing", "denial", "proof")
    )


def test_the_guide_lists_exactly_the_registry() -> None:
    assert table() in GUIDE.read_text("utf-8")


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_what_a_model_lacks_is_not_applicable(name: str) -> None:
    assert absent(name)
    label = next(a.label for a in ATTACKS.values() if a.name == name)
    outcome = attempt(ground("plain"), ATTACKS[label], Mode.REPLAY)
    assert not outcome.applies
    assert not outcome.holds
    assert word(outcome) == "not applicable"


LACKING = [
    ("mixture", "weights/layers swapped", "no two blocks of one shape"),
    ("mixture", "weights/one head zeroed", "no second head of queries of its own"),
    ("mixture", "rows/a negative key scale", "a key has two scales"),
    ("attending", "hint/a set for each limb", "hints of the head have a set for each limb"),
    ("attending", "experts/latent altered", "no latent attention"),
]


@pytest.mark.parametrize(("model", "label", "reason"), LACKING)
def test_what_the_other_models_lack_is_told(model: str, label: str, reason: str) -> None:
    attack = ATTACKS[label]
    outcome = attempt(ground(model), attack, next(iter(attack.expected)))
    assert (outcome.applies, outcome.reason) == (False, reason)


def test_a_model_that_is_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="too short for attacks"):
        suitable(random_chat_model(KERNELS, of=replace(TINY, context=20)), KERNELS)


def test_a_norm_without_which_nothing_has_a_result_is_not_left_out() -> None:
    class Never(Identity):
        def run(self, *arguments: object) -> list[Array]:
            raise ExecutionError("no result")

    with pytest.raises(NotApplicable, match="without its norms"):
        programs._norms(Never)(target())


def test_a_cheat_whose_own_run_has_no_result_does_not_apply() -> None:
    def fails(t: Target) -> Forgery:
        raise ExecutionError("infinite")

    cheat = replace(WEIGHTS["one layer skipped"], build=fails)
    outcome = attempt(Ground(target()), Attack("weights", "infinite", cheat), Mode.REPLAY)
    assert outcome.reason == "the cheat's own run has no result: infinite"


# -- what the command notices --------------------------------------------------------------------------------
def test_a_verifier_that_accepts_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack passes, and the command says so of each."""
    monkeypatch.setattr(Case, "verify", lambda self, kernels=None, progress=None: None)
    for label in ("answer/another seed", "hint/a hint of zeros", "receipt/replayed receipt"):
        outcome = attempt(ground("plain"), ATTACKS[label], Mode.PRIVATE)
        assert word(outcome) == "failed"
        assert not outcome.holds
        assert {t.found for t in outcome.trials} == {PASSED}


def test_an_attack_that_is_stopped_elsewhere_fails() -> None:
    wrong = Attack("hint", "a hint of zeros", replace(HINTS["a hint of zeros"], step=7))
    outcome = attempt(ground("plain"), wrong, Mode.PRIVATE)
    assert (word(outcome), outcome.trials[0].found) == ("failed", "8")


def test_cells_that_a_cheat_alters_beside_those_that_it_may_fail() -> None:
    cheat = replace(WEIGHTS["weights rounded to four bits"], where=lambda t, cell: cell.segment == t.first)
    stray = Attack("weights", "weights rounded to four bits", cheat)
    outcome = attempt(Ground(target(), draws=10, audits=0), stray, Mode.PRIVATE)
    assert [t.variant for t in outcome.trials if not t.holds] == ["altered cells"]


def test_audits_that_miss_an_altered_cell_fail() -> None:
    """A cell that is said to be altered, and holds: the audits of challenges that name it disagree."""
    t = target()
    forgery = t.once("one cell", ANSWERS["last answer token edited"].build)
    right, wrong = altered_cells(t, forgery), frozenset({Cell(t.first, 0, 1)})
    assert len(right) == 1
    options = {"cells": 57, "draws": 20, "audits": 2, "seed": 0}
    assert measured_rate(t, forgery, right, **options).holds
    honest = measured_rate(t, t.honest(), wrong, **options)
    assert (honest.agreeing, honest.holds) == (0, False)


def test_a_rate_that_is_not_that_of_the_formula_fails() -> None:
    assert Rate(8, 17, 57, 1000, 950, 0, 0).holds
    assert not Rate(8, 17, 57, 1000, 700, 0, 0).holds
    assert Rate(57, 1, 57, 1000, 1000, 0, 0).holds
    low, high = interval(0, 1000)
    assert low == 0
    assert high == pytest.approx(1 - 2 ** (-15 / 1000), rel=1e-6)
    assert interval(1000, 1000)[1] == 1
    low, high = interval(500, 1000)
    assert low < 0.5 < high
    assert high - low < 0.13


def test_a_cheat_without_effect_does_not_apply() -> None:
    cheat = replace(WEIGHTS["one layer skipped"], build=lambda t: t.forge())
    outcome = attempt(ground("plain"), Attack("weights", "nothing", cheat), Mode.PRIVATE)
    assert (outcome.applies, outcome.reason) == (False, "it changes nothing of this model's answer")


# -- reports -------------------------------------------------------------------------------------------------
def test_attacks_are_chosen_by_name_kind_and_mode() -> None:
    every = frozenset(Mode)
    assert len(chosen((), every)) == len(ATTACKS)
    assert {a.subject for a in chosen(("hint/",), every)} == {"hint"}
    assert "weights/one layer skipped" in {a.label for a in chosen(("skipped layers",), every)}
    assert {*chosen((), frozenset({Mode.EVIDENCE}))} == {
        a for a in ATTACKS.values() if Mode.EVIDENCE in a.expected
    }
    assert chosen(("no such attack",), every) == []


def test_an_attack_is_made_on_the_first_model_to_which_it_applies() -> None:
    grounds = {name: ground(name) for name in BUILTIN}
    attacks = [ATTACKS["experts/an expert pruned"], ATTACKS["answer/another seed"]]
    found = list(attempts(grounds, attacks, frozenset({Mode.REPLAY})))
    assert [(name, outcome.holds) for name, outcome in found] == [("mixture", True), ("plain", True)]
    absent_everywhere = list(attempts({"plain": ground("plain")}, attacks[:1], frozenset({Mode.REPLAY})))
    assert [(name, outcome.applies) for name, outcome in absent_everywhere] == [("plain", False)]


def test_a_report_counts_apart_what_does_not_apply() -> None:
    report, attack = Report({"seed": 0}), ATTACKS["answer/another seed"]
    report.add("m", Outcome(attack, Mode.REPLAY, (Trial("", ("7",), "7"),)))
    report.add("m", Outcome(attack, Mode.PUBLIC, (Trial("", ("9",), PASSED),)))
    report.add("m", Outcome(attack, Mode.PRIVATE, reason="it lacks something"))
    fields = report.fields()
    assert fields["counts"]["all"] == {"stopped": 1, "failed": 1, "not_applicable": 1}
    assert fields["counts"]["public"] == {"stopped": 0, "failed": 1, "not_applicable": 0}
    assert fields["complete"] is False
    assert [one["outcome"] for one in fields["attacks"]] == ["stopped", "failed", "not applicable"]
    assert [o.mode for o in report.failed] == [Mode.PUBLIC]


def test_only_language_models_are_attacked() -> None:
    with pytest.raises(InputError, match="language models"):
        suitable(random_network([4, 3]), KERNELS)
