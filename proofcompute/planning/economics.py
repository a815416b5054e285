"""Reckon what verification costs of what a cheap node saves, and when cheating does not pay.

**Price.** An answer takes t seconds of a node. Rented elsewhere, at a hyperscaler, it costs H t / 3600 with H
dollars an hour; at the node's price of P dollars an hour, P t / 3600. What is saved is the difference, less
what verification costs: the node's time for committing and opening, the verifier's time, and the bytes.

**Penalty.** A node is paid w for an answer, and loses a stake S and the pay if it is caught. Altering an
answer gains g, what it need not compute or what somebody else pays it. An altered answer is found with
probability d. Beside an honest answer it brings g - d (w + S). So **cheating pays if and only if
g > d (w + S)**, for one answer as for n: a node that is expelled when it is caught expects
(g - d (w + S)) (1 - (1 - d)^n) / d of n altered answers, which has the same sign. It is caught with
probability 1 - (1 - d)^n, after 1 / d on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import InputError
from proofcompute.planning.figures import Figures
from proofcompute.planning.trace import Trace
from proofcompute.planning.work import Audit, running

__all__ = ["DECENTRALISED", "HYPERSCALER", "Cost", "Market", "Penalty"]

HYPERSCALER: Final = 7.90
"""Dollars of a GPU hour at a hyperscaler, a list price."""
DECENTRALISED: Final = 2.56
"""Dollars of the same hour on a decentralised network."""
_HOUR: Final = 3600.0


@dataclass(frozen=True)
class Cost:
    """What verifying one answer costs on average."""

    node_seconds: float
    """Of opening, on the machine of the figures."""
    verifier_seconds: float
    nbytes: float
    """Bytes that the node sends and the verifier receives."""
    node_dollars: float
    """Of opening; committing is :attr:`committing_dollars`."""
    committing_dollars: float
    verifier_dollars: float
    traffic_dollars: float

    @property
    def dollars(self) -> float:
        """All of it."""
        return self.node_dollars + self.committing_dollars + self.verifier_dollars + self.traffic_dollars


@dataclass(frozen=True)
class Market:
    """Prices. Raises InputError for one that is no amount, or a node that is dearer than elsewhere."""

    elsewhere: float = HYPERSCALER
    """Dollars of an hour of the machine that would run the request without verification."""
    node: float = DECENTRALISED
    """Dollars of an hour of the node."""
    cpu: float = 0.10
    """Dollars of an hour of the verifier's CPU; an assumption."""
    gigabyte: float = 0.01
    """Dollars of 10^9 bytes of traffic; an assumption."""
    rows_per_second: float | None = None
    """Tokens or samples that the node computes in a second; None: as many as the machine of the figures."""
    keeps: bool = True
    """Whether nodes keep traces until they are challenged; if not, they compute them again."""

    def __post_init__(self) -> None:
        for name in ("elsewhere", "node", "cpu", "gigabyte"):
            amount(getattr(self, name), name)
        if self.rows_per_second is not None and not 0 < self.rows_per_second < math.inf:
            raise InputError(f"a node computes more than 0 rows in a second, not {self.rows_per_second!r}")
        if not 0 < self.node < self.elsewhere:
            raise InputError("a node's hour costs something, and less than elsewhere, or nothing is saved")

    def seconds(self, trace: Trace, figures: Figures) -> float:
        """Return the node's seconds of running a request."""
        if self.rows_per_second is not None:
            return trace.lengths.units / self.rows_per_second
        return figures.running * running(trace)

    def saved(self, trace: Trace, figures: Figures) -> float:
        """Return the dollars that an answer costs less than elsewhere, before verification."""
        return (self.elsewhere - self.node) / _HOUR * self.seconds(trace, figures)

    def pay(self, trace: Trace, figures: Figures) -> float:
        """Return the dollars of an answer at the node's price."""
        return self.node / _HOUR * self.seconds(trace, figures)

    def cost(self, trace: Trace, figures: Figures, audit: Audit, challenged: float) -> Cost:
        """Return what audits cost of an answer on average.

        Args:
            trace: what is audited.
            figures: what was measured. On another machine a node's opening is taken to be as much faster as
                its running.
            audit: what is opened and checked.
            challenged: probability with which something is opened.
        """
        run = self.seconds(trace, figures)
        measured = figures.running * running(trace)
        opening = figures.opening.of(audit) + (0.0 if self.keeps else challenged * figures.again * measured)
        checking, nbytes = figures.verifying.of(audit), figures.nbytes.of(audit)
        faster = run / measured if measured else 1.0
        return Cost(
            opening,
            checking,
            nbytes,
            self.node / _HOUR * opening * faster,
            self.node / _HOUR * figures.committing * run,
            self.cpu / _HOUR * checking,
            self.gigabyte * nbytes / 1e9,
        )


@dataclass(frozen=True)
class Penalty:
    """What a node that is caught loses."""

    stake: float
    """Dollars."""
    pay: float
    """Dollars that it would have been paid for the answer."""

    def __post_init__(self) -> None:
        amount(self.stake, "the stake")
        amount(self.pay, "the pay")

    def needed(self, gain: float, margin: float = 1.0) -> float:
        """Return the probability of detection from which on it does not pay to gain ``gain`` dollars.

        With a ``margin`` above 1, an honest answer is better by as many times what is gained, less one. The
        result is above 1 if no audit is enough.
        """
        if gain <= 0:
            return 0.0
        at_stake = self.stake + self.pay
        return math.inf if at_stake == 0 else margin * gain / at_stake

    def profit(self, gain: float, found: float) -> float:
        """Return what an altered answer brings beside an honest one, in dollars."""
        return gain - found * (self.stake + self.pay)

    def profit_of(self, gain: float, found: float, answers: int) -> float:
        """Return the same of up to ``answers`` altered ones, of a node that is expelled when it is caught."""
        expected = -math.expm1(answers * math.log1p(-found)) / found if 0 < found < 1 else 1.0
        return self.profit(gain, found) * (expected if found else answers)


def amount(value: float, what: str) -> float:
    """Return an amount. Raises InputError unless it is a number of 0 or more."""
    if type(value) not in (int, float) or not (0 <= value < math.inf):
        raise InputError(f"{what} is an amount of 0 or more, not {value!r}")
    return value
