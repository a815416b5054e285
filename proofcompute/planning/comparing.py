"""Compare the price of verified work on networks with that of clouds, and say what it depends on.

A network's hour costs N dollars, a cloud's H. Of a million rows (tokens) that take t seconds, verification
costs v(N): committing and opening at the node's price, checking at the verifier's, and traffic. So the saving
is (H - N) t / 3600 before verification, and what is left of it is 1 - v(N) / ((H - N) t / 3600).

Without proofs, a tenant who trusts no node has the same work done k times, by nodes that do not know of each
other, and believes the majority: k N t / 3600. Verification replaces k - 1 of these runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from proofcompute.errors import InputError
from proofcompute.planning.economics import Cost, Market
from proofcompute.planning.figures import Figures
from proofcompute.planning.searching import Option, option_for
from proofcompute.planning.trace import Trace
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["Curve", "Offer", "Row", "compare", "curves"]

_MILLION: Final = 1e6
_POINTS: Final = 25


@dataclass(frozen=True)
class Offer:
    """A price of an hour, and where it is from."""

    name: str
    hour: float
    """Dollars of an hour of the machine."""
    source: Literal["documented", "given"]

    def __post_init__(self) -> None:
        if not self.name or not 0 < self.hour < math.inf:
            raise InputError(f"an offer has a name and a price above 0, not {self.name!r} at {self.hour!r}")


@dataclass(frozen=True)
class Row:
    """A network beside a cloud; dollars are those of a million rows."""

    network: Offer
    cloud: Offer
    policy: AuditPolicy | None
    """How much is audited; None if no policy suffices, and then nothing is verified."""
    elsewhere: float
    """In the cloud, where nothing is verified."""
    node: float
    """On the network, unverified."""
    committing: float
    """The node's, of every answer."""
    audits: float
    """Opening, checking and traffic, at the share of the policy."""
    redundant: float
    """On the network, with each answer computed several times instead."""

    @property
    def verified(self) -> float:
        """On the network, verified."""
        return self.node + self.committing + self.audits

    @property
    def left(self) -> float:
        """What is left of the saving, as a share of it."""
        return (self.elsewhere - self.verified) / (self.elsewhere - self.node)

    @property
    def replaced(self) -> float:
        """What verification costs less than redundancy."""
        return self.redundant - self.verified


@dataclass(frozen=True)
class Curve:
    """What is left of the saving while one quantity changes and all others stay."""

    quantity: str
    """What changes, with its unit."""
    points: tuple[tuple[float, float], ...]
    """The quantity, and the share of the saving that is left; below 0, verified work is the dearer."""


def compare(
    trace: Trace,
    figures: Figures,
    market: Market,
    offers: Sequence[Offer],
    clouds: Sequence[Offer],
    plan: Callable[[Market], Option | None],
    copies: int,
) -> list[Row]:
    """Compare every network with every cloud.

    Args:
        trace: an answer.
        figures: what running and auditing cost.
        market: all prices but those of the machines.
        offers: networks.
        clouds: what they are compared with.
        plan: gives the audit policy of a market, or None if none suffices.
        copies: as many nodes have to compute an answer without proofs, 2 or more.

    Raises InputError for a network that is not cheaper than a cloud: it saves nothing.
    """
    if copies < 2:
        raise InputError("redundancy takes 2 nodes or more")
    rows = []
    for offer in offers:
        for cloud in clouds:
            if offer.hour >= cloud.hour:
                raise InputError(f"{offer.name} is not cheaper than {cloud.name}: nothing is saved")
            there = replace(market, node=offer.hour, elsewhere=cloud.hour)
            option = plan(there)
            pay = there.pay(trace, figures)
            each = _MILLION / trace.lengths.units
            cost = None if option is None else option.cost
            rows.append(
                Row(
                    offer,
                    cloud,
                    None if option is None else option.policy,
                    each * (pay + there.saved(trace, figures)),
                    each * pay,
                    0.0 if cost is None else each * cost.committing_dollars,
                    0.0 if cost is None else each * _audits(cost),
                    each * copies * pay,
                )
            )
    return rows


def _audits(cost: Cost) -> float:
    return cost.node_dollars + cost.verifier_dollars + cost.traffic_dollars


def curves(trace: Trace, figures: Figures, market: Market, policy: AuditPolicy) -> list[Curve]:
    """Return what the saving depends on: the node's price, its speed, the share of audits, and their prices.

    The policy stays the same, except where its share is what changes.
    """
    speed = trace.lengths.units / market.seconds(trace, figures)
    share = policy.whole + policy.sampled
    prices = [market.elsewhere * (0.05 + 0.9 * i / (_POINTS - 1)) for i in range(_POINTS)]

    def at(changed: Market, audited: AuditPolicy = policy) -> float:
        cost = option_for(trace, figures, changed, audited, ()).cost
        return 1 - cost.dollars / changed.saved(trace, figures)

    return [
        Curve("dollars of an hour of the node", tuple((p, at(replace(market, node=p))) for p in prices)),
        Curve(
            "rows a second of the node",
            tuple((s, at(replace(market, rows_per_second=s))) for s in _around(speed, 0.1, 1000)),
        ),
        Curve(
            "share of answers that are audited",
            tuple((s, at(market, _shared(policy, s / share))) for s in _around(1, 1e-3, 1)),
        ),
        Curve(
            "dollars of an hour of the verifier's CPU",
            tuple((c, at(replace(market, cpu=c))) for c in _around(max(market.cpu, 0.01), 0.1, 100)),
        ),
        Curve(
            "dollars of 10^9 bytes of traffic",
            tuple(
                (g, at(replace(market, gigabyte=g))) for g in _around(max(market.gigabyte, 1e-3), 0.1, 100)
            ),
        ),
    ]


def _around(value: float, least: float, most: float) -> list[float]:
    """Return multiples of a value, at equal distances of their logarithms."""
    return [value * least * (most / least) ** (i / (_POINTS - 1)) for i in range(_POINTS)]


def _shared(policy: AuditPolicy, times: float) -> AuditPolicy:
    """Return a policy that audits so many times as many answers, in the same way."""
    whole = min(1.0, policy.whole * times)
    return AuditPolicy(whole, min(1 - whole, policy.sampled * times), policy.sample)
