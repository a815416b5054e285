"""Attacks on a model of one's own, in every mode of trust, and what must stop each.

``proofcompute attack`` makes all of them (docs/guides/attack.md). Who builds an auditor, a gateway or a judge
on this package can run them against it: :data:`ATTACKS` has every attack with the steps that must stop it,
:func:`attempt` makes one on a :class:`Ground`, and a :class:`Forgery <proofcompute.testing.Forgery>` or a
:class:`Case` is what a verifier of one's own gets. A node that serves imports nothing from here.
"""

from __future__ import annotations

from proofcompute.attacks.attack import KINDS, Cheat, Forged, Mode
from proofcompute.attacks.builtin import BUILTIN, builtin
from proofcompute.attacks.case import Case, case
from proofcompute.attacks.rates import Rate, altered_cells
from proofcompute.attacks.registry import ATTACKS, SUBJECTS, Attack, chosen
from proofcompute.attacks.report import Report, attempts
from proofcompute.attacks.target import NotApplicable, Target, suitable
from proofcompute.attacks.trials import Ground, Outcome, Trial, attempt

__all__ = [
    "ATTACKS",
    "BUILTIN",
    "KINDS",
    "SUBJECTS",
    "Attack",
    "Case",
    "Cheat",
    "Forged",
    "Ground",
    "Mode",
    "NotApplicable",
    "Outcome",
    "Rate",
    "Report",
    "Target",
    "Trial",
    "altered_cells",
    "attempt",
    "attempts",
    "builtin",
    "case",
    "chosen",
    "suitable",
]
