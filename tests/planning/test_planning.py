"""What audits cost and find by reckoning, against counting, drawing and simulating."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from adversary.mutation import Edit, apply
from proofcompute.errors import FormatError, InputError
from proofcompute.planning import (
    DOCUMENTED,
    Alteration,
    Figures,
    Goal,
    Lengths,
    Market,
    Offer,
    Option,
    Penalty,
    Trace,
    cheapest,
    compare,
    curves,
    measure,
    option_for,
    options,
    simulate,
)
from proofcompute.planning.figures import Weights, fitted
from proofcompute.planning.searching import candidates
from proofcompute.planning.simulation import interval
from proofcompute.planning.work import Audit, expected, of_cells, of_policy, running, whole
from proofcompute.protocol.messages import Challenge
from proofcompute.testing import random_network
from proofcompute.verifier.policy import AuditPolicy

CHEATS = [Alteration.parse(text) for text in ("cell", "layer", "row", "share:2%", "share:0.3", "copy")]
SAMPLES = [pc.Sample(2, 9), pc.Sample(1, 30), pc.Sample(cells=6), pc.Sample(2, 12, 5)]


@cache
def trace() -> Trace:
    """59 rows in four segments, of which the last has 40 rows."""
    return Trace(synthetic.model().program, Lengths(20, 40))


# -- work --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_expected_work_is_the_mean_of_what_is_drawn(sample: pc.Sample) -> None:
    n = 150
    drawn = [of_cells(trace(), trace().draw(sample, bytes(32), str(i).encode())) for i in range(n)]
    said = expected(trace(), sample)
    for name, value in said._asdict().items():
        found = [getattr(a, name) for a in drawn]
        error = 4 * float(np.std(found)) / n**0.5
        # scattered cells that fall into a run are named once, and rows of tables are counted at most
        assert value >= np.mean(found) - error - 0.02 * value
        assert value <= (np.mean(found) + error) * (1.3 if sample.runs and sample.cells else 1.05)


def test_long_runs_are_counted_as_the_cells_that_they_are_cut_into(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = pc.Sample(1, 59)
    before = expected(trace(), sample)
    monkeypatch.setattr("proofcompute.protocol.cells.longest_cell", lambda *_: 10)
    monkeypatch.setattr("proofcompute.planning.work.longest_cell", lambda *_: 10)
    after = expected(trace(), sample)
    assert after.cells == pytest.approx((3 * 6 + 4) / 4)
    assert after.rows > before.rows  # each piece opens its prefix
    assert after.products == before.products


def test_what_is_counted_bounds_what_is_opened() -> None:
    run = synthetic.prove(synthetic.model(), synthetic.request(synthetic.model(), max_tokens=12))
    t = Trace(run.model.program, Lengths(12, 12))
    for sample in SAMPLES:
        cells = pc.draw_cells(run.claim, sample)
        opening = run.open(Challenge(run.receipt.digest, cells))
        counted = of_cells(t, cells)
        assert len(opening) < counted.rows + counted.hints + 2000


def test_a_policy_takes_the_mean_of_what_it_draws() -> None:
    policy = AuditPolicy(0.25, 0.5, SAMPLES[0])
    said = of_policy(trace(), policy)
    parts = Audit().plus(whole(trace()), 0.25).plus(expected(trace(), SAMPLES[0]), 0.5)
    assert said == parts
    assert said.audits == 0.75
    assert running(trace()) > whole(trace()).products


@pytest.mark.parametrize("text", ["", "64", "64+", "+4", "0+4", "a+b", "64+448+1", "-1+4", "99999999+9"])
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(InputError):
        Lengths.parse(text, trace().program)
    assert str(Lengths.parse("64+448", trace().program)) == "64+448"
    assert Lengths.parse("7", random_network([8, 4]).program) == Lengths(7, 0)


# -- detection ---------------------------------------------------------------------------------------------
POLICIES = [AuditPolicy(0.1), *(AuditPolicy(0.05, 0.9, sample) for sample in SAMPLES)]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("cheat", CHEATS, ids=str)
def test_simulations_find_as_often_as_the_formula_says(cheat: Alteration, policy: AuditPolicy) -> None:
    rate = simulate(trace(), policy, cheat, trials=250, seed=1)
    assert rate.agrees
    assert rate == simulate(trace(), policy, cheat, trials=250, seed=1)
    said = cheat.found(trace(), policy)
    if cheat.kind == "share":
        assert said <= rate.formula + 1e-12  # the least over all places is at most that of one
    else:
        assert said == pytest.approx(rate.formula)


CELLS = "protocol.cells"
CHANCES = "verifier.chances"
SEGMENTS = "distinct(xof, len(lengths), sample.runs) if"
WRONG_DRAWS = {
    "always the first run": Edit(CELLS, "count, _below(xof, count)", "count, 0"),
    "always the first segments": Edit(CELLS, SEGMENTS, "range(2) if"),
    "one segment fewer": Edit(CELLS, SEGMENTS, "[0] if"),
    "runs of two rows": Edit(CELLS, "run_count(lengths[number], sample.rows)", "lengths[number] // 2"),
}


@pytest.mark.parametrize("name", WRONG_DRAWS)
def test_a_simulation_of_other_draws_disagrees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formulas and draws share so little that a fault of either shows."""
    policy, cheats = (
        AuditPolicy(0, 1, pc.Sample(2, 9)),
        (Alteration("cell"), Alteration("layer"), Alteration("row")),
    )
    assert all(simulate(trace(), policy, cheat, trials=250, seed=2).agrees for cheat in cheats)
    apply(monkeypatch, [WRONG_DRAWS[name]])
    assert not all(simulate(trace(), policy, cheat, trials=250, seed=2).agrees for cheat in cheats)


WRONG_FORMULAS = {
    "segments drawn twice": Edit(CHANCES, "np.maximum(0.0, (j - k) / j)", "np.maximum(0.0, j / j)"),
    "a run is as bad as its rows": Edit(
        CHANCES, "return (last - first + 1) / count", "return (b - a) / rows"
    ),
    "half as many scattered cells": Edit(
        CHANCES, "math.log1p(-altered / (total - i))", "math.log1p(-altered / (2 * total))"
    ),
}


@pytest.mark.parametrize("name", WRONG_FORMULAS)
def test_a_wrong_formula_disagrees_with_the_draws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = AuditPolicy(0, 1, pc.Sample(3, 9)), AuditPolicy(0, 1, pc.Sample(cells=12))
    pairs = [(policy, cheat) for policy in policies for cheat in CHEATS[:2]]

    def agree() -> bool:
        return all(simulate(trace(), p, cheat, trials=300, seed=3).agrees for p, cheat in pairs)

    assert agree()
    apply(monkeypatch, [WRONG_FORMULAS[name]])
    assert not agree()


def test_the_interval_holds_the_true_rate() -> None:
    assert interval(0, 100)[0] == 0
    assert interval(100, 100)[1] == 1
    rng = random.Random(0)
    for p in (0.001, 0.05, 0.5, 0.99):
        for _ in range(50):
            low, high = interval(sum(rng.random() < p for _ in range(300)), 300)
            assert low <= p <= high


@pytest.mark.parametrize("text", ["", "token", "share", "share:0", "share:1", "share:100%", "cell:1"])
def test_what_is_no_cheat_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Alteration.parse(text)


def test_shares_are_read_in_both_forms() -> None:
    assert Alteration.parse("share:2%") == Alteration.parse("share:0.02") == Alteration("share", 0.02)
    with pytest.raises(InputError):
        Alteration("cell", 0.5)
    with pytest.raises(InputError, match="trials"):
        simulate(trace(), AuditPolicy(1), CHEATS[0], trials=0, seed=0)


# -- figures -----------------------------------------------------------------------------------------------
def test_a_fit_gives_the_weights_that_made_the_costs() -> None:
    rng = random.Random(0)
    true = Weights(audits=2e-3, cells=1e-4, products=3e-12)
    audits = [
        Audit(
            1.0, rng.randrange(1, 99), rng.random() * 1e6, 0.0, rng.random() * 1e10, 0.0, rng.random() * 1e9
        )
        for _ in range(12)
    ]
    found, error = fitted(
        audits, [true.of(a) for a in audits], ("audits", "cells", "rows", "products", "besides")
    )
    assert error < 1e-6
    for name in ("audits", "cells", "products"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-4)
    noisy, error = fitted(
        audits, [true.of(a) * (0.9 + 0.2 * rng.random()) for a in audits], ("audits", "products")
    )
    assert min(noisy.audits, noisy.products) >= 0
    assert 0 < error < 3
    for costs in ([], [0.0] * 12):
        with pytest.raises(InputError):
            fitted(audits[: len(costs)], costs, ("audits",))


def test_figures_have_a_file(tmp_path: Path) -> None:
    path = tmp_path / "figures"
    kept = replace(DOCUMENTED, machine={"cpu": "some", "cores": 2})
    kept.save(path)
    assert Figures.load(path) == kept
    good = json.loads(path.read_text())
    bad: list[object] = [
        {**good, "version": 2},
        {**good, "kind": "x"},
        {**good, "more": 1},
        {k: v for k, v in good.items() if k != "fit"},
        {**good, "running": -1},
        {**good, "running": 0},
        {**good, "running": "1"},
        {**good, "running": True},
        {**good, "source": 1},
        {**good, "machine": []},
        {**good, "opening": {}},
        {**good, "opening": {**good["opening"], "cells": -1}},
        {**good, "nbytes": {**good["nbytes"], "rows": None}},
        [],
        1,
    ]
    for value in bad:
        path.write_text(json.dumps(value))
        with pytest.raises(FormatError):
            Figures.load(path)
    for text in ("", "{", '{"running": NaN}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(FormatError):
            Figures.load(path)
    path.write_text(json.dumps(good).replace(str(good["again"]), "Infinity"))
    with pytest.raises(FormatError):
        Figures.load(path)


@pytest.mark.parametrize("kind", ["decoder", "network"])
def test_a_measurement_prices_what_was_measured(kind: str) -> None:
    model = synthetic.model() if kind == "decoder" else random_network([16, 24, 8])
    lengths = Lengths(12, 6) if kind == "decoder" else Lengths(9, 0)
    told: list[int] = []
    found = measure(model, lengths, synthetic.KERNELS, rounds=1, machine={"cpu": "x"}, progress=told.append)
    assert told == [1, 1]
    t = Trace(model.program, lengths)
    assert min(found.running, found.committing, found.again) > 0
    full, part = whole(t), expected(t, pc.Sample(1, 2))
    for weights in (found.opening, found.verifying, found.nbytes):
        assert weights.of(full) > 0
        assert weights.of(part) > 0
    assert found.nbytes.of(full) > found.nbytes.of(part)
    with pytest.raises(InputError):
        measure(model, lengths, synthetic.KERNELS, rounds=0)


# -- money -------------------------------------------------------------------------------------------------
def test_cheating_pays_exactly_if_it_gains_more_than_it_is_expected_to_lose() -> None:
    penalty = Penalty(stake=0.9, pay=0.1)
    assert penalty.needed(0.05) == pytest.approx(0.05)
    assert penalty.needed(0.05, margin=2) == pytest.approx(0.1)
    assert penalty.needed(0) == 0
    assert penalty.needed(2) > 1
    assert Penalty(0, 0).needed(0.1) == math.inf
    for gain, found in itertools.product((0.01, 0.2), (0.0, 0.01, 0.1, 1.0)):
        pays = gain > found * 1.0
        assert (penalty.profit(gain, found) > 0) == pays
        for n in (1, 10, 10_000):
            assert (penalty.profit_of(gain, found, n) > 0) == pays
    assert penalty.profit_of(0.01, 0.0, 100) == pytest.approx(1.0)
    assert penalty.profit_of(0.01, 0.2, 1) == pytest.approx(penalty.profit(0.01, 0.2))
    with pytest.raises(InputError):
        Penalty(-1, 0)


def test_the_profit_of_many_answers_is_that_of_playing_them() -> None:
    penalty, gain, found, n = Penalty(2.0, 0.5), 0.1, 0.03, 40
    rng, total, games = random.Random(3), 0.0, 4000
    values = []
    for _ in range(games):
        won = 0.0
        for _ in range(n):
            if rng.random() < found:
                won += gain - 2.5
                break
            won += gain
        values.append(won)
        total += won
    error = 4 * float(np.std(values)) / games**0.5
    assert abs(total / games - penalty.profit_of(gain, found, n)) < error


def test_prices_add_up() -> None:
    market = Market()
    audit = whole(trace())
    cost = market.cost(trace(), DOCUMENTED, audit, 1.0)
    run = market.seconds(trace(), DOCUMENTED)
    assert run == pytest.approx(DOCUMENTED.running * running(trace()))
    assert cost.dollars == pytest.approx(
        2.56 / 3600 * (DOCUMENTED.opening.of(audit) + DOCUMENTED.committing * run)
        + 0.10 / 3600 * DOCUMENTED.verifying.of(audit)
        + 0.01 * DOCUMENTED.nbytes.of(audit) / 1e9
    )
    assert market.saved(trace(), DOCUMENTED) == pytest.approx((7.90 - 2.56) / 3600 * run)
    forgetful = Market(keeps=False).cost(trace(), DOCUMENTED, audit, 1.0)
    assert forgetful.node_seconds == pytest.approx(cost.node_seconds + DOCUMENTED.again * run)
    faster = Market(rows_per_second=10 * trace().lengths.units / run)
    assert faster.seconds(trace(), DOCUMENTED) == pytest.approx(run / 10)
    there = faster.cost(trace(), DOCUMENTED, audit, 1.0)
    assert there.node_dollars == pytest.approx(cost.node_dollars / 10)
    assert there.verifier_dollars == cost.verifier_dollars
    bad: list[Callable[[], Market]] = [
        lambda: Market(node=9.0),
        lambda: Market(node=0.0),
        lambda: Market(node=7.9),
        lambda: Market(cpu=-1.0),
        lambda: Market(rows_per_second=0.0),
        lambda: Market(elsewhere=math.inf),
    ]
    for make in bad:
        with pytest.raises(InputError):
            make()


# -- networks beside clouds --------------------------------------------------------------------------------
OFFERS = [Offer("one", 2.56, "documented"), Offer("other", 1.0, "given")]
CLOUD = Offer("cloud", 7.90, "documented")


def audited(policy: AuditPolicy) -> Callable[[Market], Option]:
    return lambda market: option_for(trace(), DOCUMENTED, market, policy, ())


def test_networks_are_priced_as_the_plan_prices_them() -> None:
    policy = AuditPolicy(0.25)
    rows = compare(trace(), DOCUMENTED, Market(), OFFERS, [CLOUD], audited(policy), 3)
    for row, offer in zip(rows, OFFERS, strict=True):
        market = Market(node=offer.hour)
        each = 1e6 / trace().lengths.units
        cost = market.cost(trace(), DOCUMENTED, of_policy(trace(), policy), 0.25)
        hours = market.seconds(trace(), DOCUMENTED) / 3600
        assert row.elsewhere == pytest.approx(each * 7.90 * hours)
        assert row.node == pytest.approx(each * offer.hour * hours)
        assert row.redundant == pytest.approx(3 * row.node)
        assert row.verified == pytest.approx(row.node + each * cost.dollars)
        assert row.left == pytest.approx(1 - cost.dollars / market.saved(trace(), DOCUMENTED))
        assert row.replaced == pytest.approx(row.redundant - row.verified)
        assert row.network is offer
    assert rows[1].left > rows[0].left
    (none,) = compare(trace(), DOCUMENTED, Market(), OFFERS[:1], [CLOUD], lambda _: None, 2)
    assert (none.policy, none.verified) == (None, none.node)
    for offers, copies, because in [
        ([Offer("dear", 7.90, "given")], 2, "nothing is saved"),
        (OFFERS, 1, "2 nodes or more"),
    ]:
        with pytest.raises(InputError, match=because):
            compare(trace(), DOCUMENTED, Market(), offers, [CLOUD], audited(policy), copies)
    for name, hour in (("", 1.0), ("x", 0.0), ("x", math.nan), ("x", math.inf)):
        with pytest.raises(InputError, match="offer"):
            Offer(name, hour, "given")


def test_the_saving_depends_on_what_it_must() -> None:
    policy = AuditPolicy(0.01, 0.04, pc.Sample(cells=4))
    market = Market(rows_per_second=50.0)
    found = {curve.quantity: curve.points for curve in curves(trace(), DOCUMENTED, market, policy)}
    usual = option_for(trace(), DOCUMENTED, market, policy, ()).cost.dollars
    left = 1 - usual / market.saved(trace(), DOCUMENTED)
    falling = [
        "dollars of an hour of the node",
        "share of answers that are audited",
        "dollars of an hour of the verifier's CPU",
        "dollars of 10^9 bytes of traffic",
    ]
    for name in falling:
        values = [y for _, y in found[name]]
        assert values == sorted(values, reverse=True), name
        assert values[0] >= left >= values[-1]
    # A faster node saves less by the hour's price, while checking takes as long as before.
    speeds = [y for _, y in found["rows a second of the node"]]
    assert speeds == sorted(speeds, reverse=True)
    shares = found["share of answers that are audited"]
    every = option_for(
        trace(), DOCUMENTED, market, AuditPolicy(0.2, 0.8, pc.Sample(cells=4)), ()
    ).cost.dollars
    assert shares[-1][0] == pytest.approx(1)
    assert shares[-1][1] == pytest.approx(1 - every / market.saved(trace(), DOCUMENTED), rel=1e-6)


# -- the search --------------------------------------------------------------------------------------------
def goals(*pairs: tuple[str, float]) -> list[Goal]:
    return [Goal(Alteration.parse(text), needed) for text, needed in pairs]


@pytest.mark.parametrize(
    "wanted",
    [
        goals(("cell", 0.05)),
        goals(("copy", 0.6)),
        goals(("layer", 0.3), ("cell", 0.01)),
        goals(("share:10%", 0.9), ("row", 0.2), ("copy", 1.0)),
    ],
    ids=str,
)
def test_the_plan_reaches_its_goals_and_nothing_tried_is_cheaper(wanted: list[Goal]) -> None:
    market, altered = Market(), [goal.altered for goal in wanted]
    found = options(trace(), DOCUMENTED, market, wanted)
    for option in found:
        assert all(p >= g.needed - 1e-9 for p, g in zip(option.found, wanted, strict=True))
    best = cheapest(trace(), DOCUMENTED, market, wanted)
    assert best == found[0]
    tried = 0
    for sample in candidates(trace())[::7]:
        for p, s in itertools.product((0, 0.05, 0.3, 0.7, 1), (0, 0.1, 0.4, 1)):
            if not 0 < p + s <= 1:
                continue
            option = option_for(
                trace(), DOCUMENTED, market, AuditPolicy(p, s, sample if s else None), altered
            )
            if all(f >= g.needed for f, g in zip(option.found, wanted, strict=True)):
                assert option.cost.dollars >= best.cost.dollars / 1.021
                tried += 1
    assert tried > 5


def test_without_a_way_there_is_no_plan() -> None:
    market = Market()
    assert options(trace(), DOCUMENTED, market, goals(("cell", 1.2))) == []
    assert cheapest(trace(), DOCUMENTED, market, goals(("cell", math.inf))) is None
    best = cheapest(trace(), DOCUMENTED, market, goals(("cell", 0.5)))
    assert best is not None
    assert cheapest(trace(), DOCUMENTED, market, goals(("cell", 0.5)), best.cost.dollars) == best
    assert cheapest(trace(), DOCUMENTED, market, goals(("cell", 0.5)), best.cost.dollars / 2) is None
    with pytest.raises(InputError, match="which cheat"):
        options(trace(), DOCUMENTED, market, [])
    none = cheapest(trace(), DOCUMENTED, market, goals(("cell", 0.0)))
    assert none is not None
    assert none.policy.whole + none.policy.sampled < 1e-8


def test_what_covers_every_cell_is_called_a_full_audit() -> None:
    assert all((s.runs, s.rows) != (4, 59) for s in candidates(trace()))
    best = cheapest(trace(), DOCUMENTED, Market(), goals(("cell", 0.9)))
    assert best is not None
    assert best.policy.sample is None
    assert best.policy.whole == pytest.approx(0.9)


def test_runs_are_chosen_where_they_are_cheaper() -> None:
    """At 512 tokens of a deeper decoder, one layer in runs costs less than as many scattered cells."""
    deep = Trace(synthetic.model().program, Lengths(64, 448))
    share = {
        sample: option_for(deep, DOCUMENTED, Market(), AuditPolicy(0, 1, sample), [Alteration("cell")])
        for sample in (pc.Sample(1, 128), pc.Sample(cells=128))
    }
    runs, cells = share.values()
    assert runs.found[0] == pytest.approx(cells.found[0], rel=0.1)
    assert runs.cost.dollars < 0.5 * cells.cost.dollars
