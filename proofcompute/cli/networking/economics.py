"""The command ``network economics``: what verified work costs on networks, beside clouds and redundancy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain
from proofcompute.cli.files import check_output
from proofcompute.cli.options import Force, Json, PolicyFile
from proofcompute.cli.planning_inputs import (
    CpuHour,
    FiguresFile,
    Forgetful,
    Gigabyte,
    LengthsText,
    ModelFile,
    Speed,
    cheat_of,
    figures_of,
    goal_of,
    trace_of,
)
from proofcompute.cli.planning_report import basis
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.planning import Figures, Market, Offer, Option, Row, Trace
    from proofcompute.verifier.policy import AuditPolicy

__all__ = ["economics"]

NO_POLICY = 3
"""Exit status: on some network no policy suffices."""


def economics(
    model: ModelFile,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DOLLARS",
            help="A network's price of a machine hour. Repeatable.",
            show_default="a decentralised network=2.56, as documented for an H100",
        ),
    ] = None,
    cloud: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DOLLARS",
            help="A cloud's price of the same machine. Repeatable.",
            show_default="a hyperscaler=7.90, as documented for an H100",
        ),
    ] = None,
    stake: Annotated[
        float | None, typer.Option(min=0, help="Plan the audits: dollars that a caught node loses.")
    ] = None,
    cheat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=GAIN", help="What must not pay, as for plan. Repeatable.", show_default="copy=50%"
        ),
    ] = None,
    margin: Annotated[float, typer.Option(min=1, help="Margin of the plan.")] = 2.0,
    policy: PolicyFile = None,
    copies: Annotated[
        int, typer.Option("--redundancy", min=2, help="Nodes that compute an answer without proofs.")
    ] = 3,
    lengths: LengthsText = None,
    figures: FiguresFile = None,
    cpu_hour: CpuHour = 0.10,
    gigabyte: Gigabyte = 0.01,
    rows_per_second: Speed = None,
    recompute: Forgetful = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a plot (.svg, .png, .pdf; extra plot).")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Price a million verified rows (tokens) on networks, beside clouds, and beside redundancy.

    Audits are those of --policy, or are planned for each network from --stake, as the command plan does it.
    Every figure is labelled: documented, given by you, or measured (--figures of plan --measure).

    Exit status 0: done; 2: what was given cannot be used; 3: on some network no policy suffices.
    """
    from proofcompute.planning import Market, compare, curves
    from proofcompute.verifier.policy import AuditPolicy

    if (stake is None) == (policy is None):
        raise InputError("say how much is audited: --policy FILE, or --stake DOLLARS to plan it")
    if plot is not None:
        from proofcompute.planning.plots import require_drawable

        check_output(plot, force=force)
        require_drawable(plot)
    out, trace, known = Output(json), trace_of(model, lengths), figures_of(figures)
    usual = Market(cpu=cpu_hour, gigabyte=gigabyte, rows_per_second=rows_per_second, keeps=not recompute)
    given = None if policy is None else AuditPolicy.load(policy)
    chosen = _Planned(trace, known, given, stake, cheat, margin)
    offers = _offers(network, "a decentralised network", usual.node)
    clouds = _offers(cloud, "a hyperscaler", usual.elsewhere)
    rows = compare(trace, known, usual, offers, clouds, chosen, copies)
    first = next((row for row in rows if row.policy is not None), None)
    lines = []
    if first is not None and first.policy is not None:
        there = Market(
            first.cloud.hour,
            first.network.hour,
            cpu_hour,
            gigabyte,
            rows_per_second=rows_per_second,
            keeps=not recompute,
        )
        lines = curves(trace, known, there, first.policy)
    out.facts(basis(trace, known))
    for row in rows:
        out.say()
        out.facts(_told(row, copies))
    if plot is not None and first is not None:
        from proofcompute.planning.plots import draw_comparison

        about = f"{first.network.name} beside {first.cloud.name}; {first.policy}; figures {known.source}"
        draw_comparison(plot, rows, lines, about)
        out.say(f"wrote {plot}")
    out.result(
        {
            "figures": known.source,
            "lengths": str(trace.lengths),
            "redundancy": copies,
            "assumed": {"cpu_hour": cpu_hour, "gigabyte": gigabyte},
            "rows": [_fields(row) for row in rows],
            "sensitivity": {line.quantity: [list(point) for point in line.points] for line in lines},
        }
    )
    hopeless = [row.network.name for row in rows if row.policy is None]
    if hopeless:
        complain(f"no audit policy suffices on {', '.join(sorted(set(hopeless)))}: a larger stake is needed")
        raise typer.Exit(NO_POLICY)


class _Planned:
    """Gives the audit policy of a market: the one that was given, or the cheapest that suffices."""

    def __init__(
        self,
        trace: Trace,
        figures: Figures,
        given: AuditPolicy | None,
        stake: float | None,
        cheats: list[str] | None,
        margin: float,
    ) -> None:
        self._trace, self._figures, self._given = trace, figures, given
        self._stake, self._margin = stake, margin
        self._cheats = [cheat_of(text) for text in cheats or ("copy=50%",)]

    def __call__(self, market: Market) -> Option | None:
        from proofcompute.planning import Penalty, cheapest, option_for

        if self._given is not None:
            return option_for(self._trace, self._figures, market, self._given, ())
        paid = market.pay(self._trace, self._figures)
        penalty = Penalty(self._stake or 0.0, paid)
        goals = [
            goal_of(altered, penalty.needed(gain * paid if relative else gain, self._margin))
            for altered, gain, relative in self._cheats
        ]
        return cheapest(self._trace, self._figures, market, goals)


def _offers(texts: list[str] | None, name: str, hour: float) -> list[Offer]:
    """Return offers as they were typed, or the documented one."""
    from proofcompute.planning import Offer

    if not texts:
        return [Offer(name, hour, "documented")]
    offers = []
    for text in texts:
        label, equals, price = text.rpartition("=")
        try:
            offers.append(Offer(label if equals else "", float(price), "given"))
        except ValueError:
            raise InputError(f"an offer is written NAME=DOLLARS, such as akash=1.95, not {text!r}") from None
    if len({offer.name for offer in offers}) < len(offers):
        raise InputError("each offer has a name of its own")
    return offers


def _told(row: Row, copies: int) -> dict[str, object]:
    """Return what a row says, for people; dollars are those of a million rows."""
    network, cloud = row.network, row.cloud
    found: dict[str, object] = {
        "network": f"{network.name}, {network.hour:g} dollars an hour ({network.source}); beside "
        f"{cloud.name}, {cloud.hour:g} ({cloud.source})",
        "a million rows": f"{row.elsewhere:.4g} dollars in the cloud, {row.node:.4g} on the network; "
        "neither is verified",
    }
    if row.policy is None:
        return {**found, "policy": "none suffices"}
    return {
        **found,
        "policy": row.policy,
        "verified": f"{row.verified:.4g} dollars: committing {row.committing:.4g}, audits {row.audits:.4g}",
        "left of the saving": f"{row.left:.2%}",
        "redundancy": f"{copies} nodes would take {row.redundant:.4g}; verification costs "
        f"{row.replaced:.4g} less",
    }


def _fields(row: Row) -> dict[str, object]:
    """Return a row for programs."""
    priced = row.policy is not None
    return {
        "network": vars(row.network),
        "cloud": vars(row.cloud),
        "policy": None if row.policy is None else str(row.policy),
        "dollars_per_million_rows": {
            "cloud": row.elsewhere,
            "node": row.node,
            "committing": row.committing if priced else None,
            "audits": row.audits if priced else None,
            "verified": row.verified if priced else None,
            "redundancy": row.redundant,
        },
        "left": row.left if priced else None,
        "replaced": row.replaced if priced else None,
    }
