"""Plan how much to audit: what policies cost, what they find, and which one is the cheapest that suffices."""

from proofcompute.planning.cheats import Alteration
from proofcompute.planning.comparing import Curve, Offer, Row, compare, curves
from proofcompute.planning.documented import DOCUMENTED
from proofcompute.planning.economics import Cost, Market, Penalty
from proofcompute.planning.figures import Figures
from proofcompute.planning.measuring import measure
from proofcompute.planning.searching import Goal, Option, cheapest, option_for, options
from proofcompute.planning.simulation import Rate, simulate
from proofcompute.planning.trace import Lengths, Trace

__all__ = [
    "DOCUMENTED",
    "Alteration",
    "Cost",
    "Curve",
    "Figures",
    "Goal",
    "Lengths",
    "Market",
    "Offer",
    "Option",
    "Penalty",
    "Rate",
    "Row",
    "Trace",
    "cheapest",
    "compare",
    "curves",
    "measure",
    "option_for",
    "options",
    "simulate",
]
