"""The commands ``policy`` and ``plan``: what audits cost and find, and the cheapest that suffice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain
from proofcompute.cli.files import check_output
from proofcompute.cli.options import Device, Force, Json, PolicyFile, Runs
from proofcompute.cli.planning_inputs import (
    CpuHour,
    Elsewhere,
    FiguresFile,
    Forgetful,
    Gigabyte,
    LengthsText,
    ModelFile,
    NodeHour,
    PolicyOut,
    Speed,
    cheat_of,
    figures_of,
    goal_of,
    measured,
    policy_of,
    trace_of,
)
from proofcompute.cli.planning_report import basis, cheat_fields, costs, money, option_fields, told, why
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.planning import Rate, Trace
    from proofcompute.verifier.policy import AuditPolicy

__all__ = ["plan", "policy"]

NO_POLICY = 3
"""Exit status: no policy reaches what was asked for."""


def policy(
    model: ModelFile,
    lengths: LengthsText = None,
    whole: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability with which every cell is checked.")
    ] = None,
    sampled: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Probability of --runs and --cells.", show_default="whenever not all are"
        ),
    ] = None,
    runs: Runs = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Scattered cells of one row.")] = None,
    given: PolicyFile = None,
    figures: FiguresFile = None,
    elsewhere: Elsewhere = 7.90,
    node_hour: NodeHour = 2.56,
    cpu_hour: CpuHour = 0.10,
    gigabyte: Gigabyte = 0.01,
    rows_per_second: Speed = None,
    recompute: Forgetful = False,
    output: PolicyOut = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show what an audit policy costs and finds, and write it to a file.

    Without --whole, --runs, --cells and --policy, several shapes are compared. A policy is for ask, audit and
    spot checks: what is checked of an answer is drawn by it once the receipt is there.
    """
    from proofcompute.planning import Alteration, Market, option_for

    out = Output(json)
    named = policy_of(whole, sampled, runs, cells, given)
    if output is not None:
        if named is None:
            raise InputError("say which policy to write: --whole, --runs, --cells")
        check_output(output, force=force)
    trace, known = trace_of(model, lengths), figures_of(figures)
    market = Market(
        elsewhere, node_hour, cpu_hour, gigabyte, rows_per_second=rows_per_second, keeps=not recompute
    )
    cheats = [Alteration.parse(text) for text in ("cell", "layer", "row", "share:1%", "share:10%", "copy")]
    shown = _shapes(trace) if named is None else [named]
    found = [option_for(trace, known, market, each, cheats) for each in shown]
    out.facts(basis(trace, known))
    for option in found:
        out.say()
        out.facts({"policy": option.policy, **costs(option, trace, known, market)})
        out.facts({f"finds {c}": f"{p:.4g}" for c, p in zip(cheats, option.found, strict=True)})
    if output is not None and named is not None:
        named.save(output)
        out.say(f"\n{output}: {named}")
    out.result(
        {
            "figures": known.source,
            "lengths": str(trace.lengths),
            "cells": sum(trace.segments),
            "policies": [option_fields(option, trace, known, market, cheats) for option in found],
            "policy": None if output is None else str(output),
        }
    )


def plan(
    model: ModelFile,
    stake: Annotated[
        float, typer.Option(min=0, help="Dollars that a node loses if it is caught.", show_default=False)
    ],
    cheat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=GAIN",
            help="What must not pay: cell, layer, row, copy (another model) or share:1%, and what a node "
            "gains by it for each answer, in dollars or as a share of the pay. Repeatable.",
            show_default="copy=50%",
        ),
    ] = None,
    pay: Annotated[
        float | None,
        typer.Option(min=0, help="Dollars that a node is paid for an answer.", show_default="its own price"),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=1, help="How many times the gain a cheat is expected to cost.")
    ] = 2.0,
    budget: Annotated[
        float | None, typer.Option(min=0, help="The most dollars that verification of an answer may cost.")
    ] = None,
    answers: Annotated[int, typer.Option(min=1, help="Answers that a cheat would alter.")] = 1000,
    lengths: LengthsText = None,
    measure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure this machine first, and keep the figures in this file."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements per median.")] = 3,
    figures: FiguresFile = None,
    elsewhere: Elsewhere = 7.90,
    node_hour: NodeHour = 2.56,
    cpu_hour: CpuHour = 0.10,
    gigabyte: Gigabyte = 0.01,
    rows_per_second: Speed = None,
    recompute: Forgetful = False,
    trials: Annotated[int, typer.Option(min=1, help="Simulated audits of each cheat.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a plot (.svg, .png, .pdf; extra plot).")
    ] = None,
    output: PolicyOut = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find the cheapest audit policy under which no stated cheat pays, and what it leaves of the saving.

    A cheat does not pay if its gain is at most the probability of detection times stake and pay. Detection is
    computed, and simulated by drawing audits. Costs are those of measured figures (--measure, --figures) or
    documented ones; prices are options.

    Exit status 0: there is such a policy; 2: what was given cannot be used; 3: no policy reaches it, or not
    within the budget.
    """
    from proofcompute.planning import Market, Penalty, options, simulate

    out = Output(json)
    for path in (output, measure, plot):
        if path is not None:
            check_output(path, force=force)
    if plot is not None:
        from proofcompute.planning.plots import require_drawable

        require_drawable(plot)
    if measure is not None and figures is not None:
        raise InputError("give --measure or --figures, not both")
    trace = trace_of(model, lengths)
    wanted = [cheat_of(text) for text in cheat or ("copy=50%",)]
    market = Market(
        elsewhere, node_hour, cpu_hour, gigabyte, rows_per_second=rows_per_second, keeps=not recompute
    )
    known = figures_of(figures) if measure is None else measured(model, trace, measure, rounds, device)
    paid = market.pay(trace, known) if pay is None else pay
    penalty = Penalty(stake, paid)
    gains = [gain * paid if relative else gain for _, gain, relative in wanted]
    goals = [goal_of(a, penalty.needed(g, margin)) for (a, _, _), g in zip(wanted, gains, strict=True)]
    found = options(trace, known, market, goals)
    chosen = found[0] if found and (budget is None or found[0].cost.dollars <= budget) else None
    if plot is not None:
        from proofcompute.planning.plots import draw

        draw(plot, trace, known, market, goals, chosen)
        out.say(f"wrote {plot}")
    out.facts({**basis(trace, known), "pay for an answer": money(paid), "stake": money(stake)})
    rates: list[Rate] = []
    if chosen is not None:
        rates = [
            simulate(trace, chosen.policy, goal.altered, trials=trials, seed=seed + i)
            for i, goal in enumerate(goals)
        ]
        out.say()
        out.facts({"policy": chosen.policy, **costs(chosen, trace, known, market)})
        for goal, gain, p, rate in zip(goals, gains, chosen.found, rates, strict=True):
            out.say()
            out.facts(told(goal, gain, p, rate, penalty, answers))
            if not rate.agrees:
                complain(f"formula and simulation disagree about {goal.altered}: try more --trials")
        if output is not None:
            chosen.policy.save(output)
            out.say(f"\n{output}: {chosen.policy}")
    said = [
        cheat_fields(
            goal,
            gain,
            None if chosen is None else chosen.found[i],
            rates[i] if rates else None,
            penalty,
            answers,
        )
        for i, (goal, gain) in enumerate(zip(goals, gains, strict=True))
    ]
    altered = [goal.altered for goal in goals]
    out.result(
        {
            "figures": known.source,
            "lengths": str(trace.lengths),
            "pay": paid,
            "stake": stake,
            "cheats": said,
            "plan": None if chosen is None else option_fields(chosen, trace, known, market, altered),
            "others": [option_fields(o, trace, known, market, altered) for o in found[1:4]],
            "policy": str(output) if output is not None and chosen is not None else None,
        }
    )
    if chosen is None:
        complain(why(goals, found[0] if found else None))
        raise typer.Exit(NO_POLICY)


def _shapes(trace: Trace) -> list[AuditPolicy]:
    """Return policies that cover about 5 % of all cells, to compare."""
    from proofcompute.protocol.samples import Sample
    from proofcompute.verifier.policy import AuditPolicy

    rows, segments, total = max(trace.segments), len(trace.segments), sum(trace.segments)
    some = max(1, round(0.05 * total))
    lengths = sorted({rows, max(1, rows // 4), max(1, rows // 16)}, reverse=True)
    runs = [Sample(min(segments, max(1, round(some / r))), r) for r in lengths]
    mixed = Sample(runs[1].runs, runs[1].rows, 16) if len(runs) > 1 else Sample(cells=some)
    return [
        AuditPolicy(0.05),
        *(AuditPolicy(0, 1, sample) for sample in (*runs, Sample(cells=16), Sample(cells=some), mixed)),
        AuditPolicy(0.02, 0.98, runs[0]),
    ]
