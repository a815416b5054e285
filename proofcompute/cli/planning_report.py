"""What the commands ``policy`` and ``plan`` say of a policy, to people and to programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proofcompute.cli.console import size

if TYPE_CHECKING:
    from proofcompute.planning import Alteration, Figures, Goal, Market, Option, Penalty, Rate, Trace

__all__ = ["basis", "cheat_fields", "costs", "money", "option_fields", "per_million", "told", "why"]


def basis(trace: Trace, figures: Figures) -> dict[str, object]:
    """Return what the figures are about."""
    return {
        "answer": f"{trace.lengths} rows, {sum(trace.segments)} cells in {len(trace.segments)} layers",
        "figures": figures.source,
    }


def costs(option: Option, trace: Trace, figures: Figures, market: Market) -> dict[str, object]:
    """Return what a policy costs of each answer on average."""
    cost, run, saved = option.cost, market.seconds(trace, figures), market.saved(trace, figures)
    elsewhere, own, checked = per_million(option, trace, figures, market)
    return {
        "node": f"{cost.node_seconds:.4g} s opening, {money(cost.node_dollars)}; "
        f"committing {money(cost.committing_dollars)}",
        "verifier": f"{cost.verifier_seconds:.4g} s, {money(cost.verifier_dollars)}",
        "traffic": f"{size(cost.nbytes)}, {money(cost.traffic_dollars)}",
        "running": f"{run:.4g} s, {money(market.pay(trace, figures))}; elsewhere "
        f"{money(market.elsewhere / 3600 * run)}",
        "a million rows": f"{own:.4g} and {checked:.4g} for verification; elsewhere {money(elsewhere)}",
        "left of the saving": f"{1 - cost.dollars / saved:.2%} of {money(saved)}",
    }


def per_million(option: Option, trace: Trace, figures: Figures, market: Market) -> tuple[float, float, float]:
    """Return dollars of a million rows (tokens, with prompts): elsewhere, at the node, for verification."""
    each = 1e6 / trace.lengths.units
    elsewhere = market.elsewhere / 3600 * market.seconds(trace, figures)
    return each * elsewhere, each * market.pay(trace, figures), each * option.cost.dollars


def option_fields(
    option: Option, trace: Trace, figures: Figures, market: Market, altered: Sequence[Alteration]
) -> dict[str, object]:
    """Return what a policy costs and finds, for programs."""
    cost, saved = option.cost, market.saved(trace, figures)
    elsewhere, own, checked = per_million(option, trace, figures, market)
    sample = option.policy.sample
    numbers = None if sample is None else zip(("runs", "rows", "cells"), sample.fields(), strict=True)
    return {
        "whole": option.policy.whole,
        "sampled": option.policy.sampled,
        "sample": None if numbers is None else dict(numbers),
        "node_seconds": cost.node_seconds,
        "verifier_seconds": cost.verifier_seconds,
        "bytes": cost.nbytes,
        "dollars": cost.dollars,
        "saved": saved,
        "left": 1 - cost.dollars / saved,
        "dollars_per_million_rows": {"elsewhere": elsewhere, "node": own, "verification": checked},
        "finds": {str(a): p for a, p in zip(altered, option.found, strict=True)},
    }


def told(
    goal: Goal, gain: float, found: float, rate: Rate, penalty: Penalty, answers: int
) -> dict[str, object]:
    """Return what a policy does about a cheat, for people."""
    low, high = rate.interval
    return {
        "cheat": f"{goal.altered}, which gains {money(gain)} an answer",
        "needed": f"{goal.needed:.4g}",
        "found": f"{found:.4g} by formula, wherever it is",
        "simulated": f"{rate.rate:.4g} ({low:.4g} to {high:.4g}) of {rate.trials} audits, "
        f"{rate.formula:.4g} expected",
        "profit": f"{money(penalty.profit(gain, found))} an altered answer, "
        f"{money(penalty.profit_of(gain, found, answers))} of {answers}",
    }


def cheat_fields(
    goal: Goal, gain: float, found: float | None, rate: Rate | None, penalty: Penalty, answers: int
) -> dict[str, object]:
    """Return the same for programs."""
    fields: dict[str, object] = {
        "kind": goal.altered.kind,
        "portion": goal.altered.portion or None,
        "gain": gain,
        "needed": goal.needed if math.isfinite(goal.needed) else None,
        "found": found,
    }
    if found is not None and rate is not None:
        fields |= {
            "simulated": rate.rate,
            "interval": list(rate.interval),
            "expected": rate.formula,
            "trials": rate.trials,
            "agrees": rate.agrees,
            "profit": penalty.profit(gain, found),
            "profit_of_answers": penalty.profit_of(gain, found, answers),
        }
    return fields


def why(goals: Sequence[Goal], dearer: Option | None) -> str:
    """Say why there is no policy."""
    hopeless = [goal for goal in goals if goal.needed > 1]
    if hopeless:
        return (
            f"{hopeless[0].altered} gains more than a node loses that is always caught: "
            "no audit is enough without a larger stake"
        )
    if dearer is None:
        return "no policy finds what was asked for"
    least = money(dearer.cost.dollars)
    return f"the cheapest policy costs {least} an answer, more than the budget: {dearer.policy}"


def money(dollars: float) -> str:
    """Return an amount as people read it."""
    return f"{dollars:.4g} dollars"
