"""What an audit says that it would have found, and what its budget means."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from client.campaigns import Clock
from client.test_record import ASKED
from proofcompute.client.budget import UNITS, Budget, Meter
from proofcompute.client.detection import detects, share_ruled_out
from proofcompute.client.entries import Answer, Begun, Verdict
from proofcompute.client.tally import Cheat, Tally
from proofcompute.errors import InputError, StoppedError


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("chances", [(), (0.25,), (0.1, 0.5, 1.0, 0.0), (1.0, 1.0), (1e-9,) * 5])
def test_the_formula_is_what_all_cases_add_up_to(share: float, chances: tuple[float, ...]) -> None:
    missed = 0.0
    for altered in itertools.product((False, True), repeat=len(chances)):
        weight = math.prod(share if a else 1 - share for a in altered)
        missed += weight * math.prod(1 - d for a, d in zip(altered, chances, strict=True) if a)
    assert detects(share, chances) == pytest.approx(1 - missed, abs=1e-12)


@pytest.mark.parametrize("answers", [1, 2, 8, 300, 10_000])
def test_a_share_that_is_ruled_out_is_found_with_that_confidence(answers: int) -> None:
    share = share_ruled_out(answers, 0.95)
    assert detects(share, [1.0] * answers) == pytest.approx(0.95)
    assert detects(share * 0.99, [1.0] * answers) < 0.95
    assert share < 3 / answers


def test_no_answer_rules_nothing_out() -> None:
    assert share_ruled_out(0, 0.95) == 1.0
    assert detects(1.0, []) == 0.0


@pytest.mark.parametrize("values", [(-0.1, [0.5]), (1.1, [0.5]), (0.5, [1.5]), (0.5, [float("nan")])])
def test_what_is_no_probability(values: Any) -> None:
    with pytest.raises(InputError):
        detects(*values)
    with pytest.raises(InputError):
        share_ruled_out(-1, 0.5)
    with pytest.raises(InputError):
        share_ruled_out(1, 1.0)


def tally(*verdicts: Verdict) -> Tally:
    made = Tally()
    made.take(Begun("u", "m"))
    for i, verdict in enumerate(verdicts):
        made.take(replace(ASKED, id=i))
        if verdict.choice is not None:
            made.take(Answer(i, 0, 1.0, b"", b"", None, 3, 0))
        made.take(replace(verdict, id=i))
    return made


GOOD = Verdict(0, 0, "verified", 1.0, cells=2, detects_one=0.5, detects_shares={"0.01": 0.6, "0.1": 0.7})


def test_only_what_was_checked_counts() -> None:
    refused = Verdict(0, None, "unanswered", 1.0)
    found = tally(GOOD, GOOD, refused, Verdict(0, 0, "receipted", 1.0))
    assert (found.checked(cells=True), found.checked(cells=False), found.failed) == (2, 3, 0)
    for cheat, chance in (
        (Cheat(1.0, "one"), 0.5),
        (Cheat(1.0, 0.01), 0.6),
        (Cheat(1.0, 0.1), 0.7),
        (Cheat(0.1, "all"), 1.0),
    ):
        assert found.detects(cheat) == pytest.approx(1 - (1 - cheat.share * chance) ** 2)
    assert found.ruled_out == share_ruled_out(2, 0.95)
    assert tally(refused, refused).detects(Cheat(1.0, "all")) == 0.0


def test_the_worst_of_a_canary_is_what_it_came_to() -> None:
    """A response may contradict itself after its answers were checked."""
    found = tally(GOOD)
    found.take(Verdict(0, None, "contradicted", 2.0, lost=1))
    assert (found.states, found.failed) == ({"contradicted": 1}, 1)


def test_a_canary_is_open_until_each_of_its_answers_has_a_verdict() -> None:
    made = Tally()
    for entry in (Begun("u", "m"), replace(ASKED, choices=2)):
        made.take(entry)
    assert (made.open, made.checked(cells=True)) == (1, 0)
    for choice in (0, 1):
        made.take(Answer(0, choice, 1.0, b"", b"", None, 3, 0))
    made.take(GOOD)
    assert (made.open, made.checked(cells=True), made.states) == (1, 0, {})
    made.take(replace(GOOD, choice=1, state="receipted"))
    assert (made.open, made.checked(cells=True), made.states) == (0, 0, {"receipted": 1})


def test_choices_of_a_canary_are_one_chance() -> None:
    """A node decides once for all of them; whichever it alters, the least chance is what there was."""
    made = Tally()
    made.take(Begun("u", "m"))
    made.take(replace(ASKED, choices=2))
    for choice in (0, 1):
        made.take(Answer(0, choice, 1.0, b"", b"", None, 3, 0))
    for choice, chance in ((0, 0.5), (1, 0.25)):
        made.take(replace(GOOD, choice=choice, detects_one=chance))
    assert made.detects(Cheat(1.0, "one")) == pytest.approx(0.25)
    assert made.detects(Cheat(0.1, "all")) == pytest.approx(0.1)
    assert made.ruled_out == share_ruled_out(1, 0.95)


def test_tokens_are_the_most_that_can_have_been_spent() -> None:
    made = Tally()
    made.take(Begun("u", "m"))
    made.take(ASKED)  # 7 for the prompt, and at most 8
    assert made.tokens == 15
    made.take(Answer(0, 0, 1.0, b"", b"", None, 3, lost=0))
    assert made.tokens == 10
    made.take(replace(ASKED, id=1))
    made.take(Answer(1, 0, 1.0, b"", b"", None, 3, lost=2))
    assert made.tokens == 10 + 2 * 15 + 10
    made.take(replace(ASKED, id=2))
    made.take(Verdict(2, None, "unanswered", 1.0, lost=0))
    assert made.tokens == 50
    made.take(replace(ASKED, id=3))
    made.take(Verdict(3, None, "contradicted", 1.0, lost=1))
    assert made.tokens == 65
    made.take(replace(ASKED, id=4, choices=2))
    made.take(Answer(4, 0, 1.0, b"", b"", None, 3, lost=0))
    assert made.tokens == 80  # the second choice may have come and been lost


# -- budgets -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parts", "budget"),
    [
        ((), Budget()),
        (("20000tokens",), Budget(tokens=20_000)),
        (("5 tokens", "90s"), Budget(tokens=5, seconds=90)),
        (("10min", "500MiB"), Budget(seconds=600, nbytes=500 * 2**20)),
        (("2h", "3GB"), Budget(seconds=7200, nbytes=3 * 10**9)),
    ],
)
def test_a_budget_names_its_units(parts: tuple[str, ...], budget: Budget) -> None:
    assert Budget.of(parts) == budget


@pytest.mark.parametrize(
    "parts",
    [
        ("20000",),
        ("0tokens",),
        ("-1s",),
        ("1.5h",),
        ("5 dollars",),
        ("tokens",),
        ("",),
        ("1s", "2min"),
        ("1S",),
    ],
)
def test_what_is_no_budget(parts: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Budget.of(parts)


def test_an_unknown_unit_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=", ".join(UNITS)):
        Budget.of(["5 euros"])


def test_a_budget_holds_exactly() -> None:
    clock = Clock()
    meter = Meter(Budget(tokens=10, seconds=60, nbytes=100), clock)
    meter.require_tokens(4, 6)
    with pytest.raises(StoppedError, match="10 tokens"):
        meter.require_tokens(4, 7)
    meter.read(60)
    meter.read(40)
    with pytest.raises(StoppedError, match="100 bytes"):
        meter.read(1)
    assert meter.nbytes == 100
    clock.now += 59.5
    meter.require_time()
    with pytest.raises(StoppedError, match="60 seconds"):
        meter.require_time(0.5)
    clock.now += 0.5
    with pytest.raises(StoppedError, match="60 seconds"):
        meter.require_time()


def test_without_a_budget_there_is_no_limit() -> None:
    meter = Meter(Budget())
    meter.require_tokens(1 << 60, 1 << 60)
    meter.require_time(1e30)
    meter.read(1 << 60)
