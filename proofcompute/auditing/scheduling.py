"""Decide which canaries a fleet gets, and when; all auditors come to the same jobs.

Time is cut into slots. In each slot every node gets one canary for each of its models, at a time within the
slot that is drawn by whichever auditor adds the job first. A job is named by node, model and slot, so that
the others add it in vain.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from proofcompute.auditing.fleet import FleetNode
from proofcompute.client.budget import Budget
from proofcompute.errors import InputError
from proofcompute.ledger import Ledger, NewJob
from proofcompute.verifier.auditor import CELLS, Cells
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["CANARY", "Plan", "schedule"]

CANARY = "canary"
_RANDOM = secrets.SystemRandom()


@dataclass(frozen=True)
class Plan:
    """How much of a fleet's answers is audited."""

    every: float = 3600.0
    """Seconds of a slot: the mean time between two canaries of a node and a model."""
    count: int = 1
    """Canaries of one job: they are all answered before the first is challenged."""
    cells: Cells | AuditPolicy = CELLS
    """Cells of each answer to check, or the policy that draws them for each."""
    replay: bool = False
    """Whether answers are computed again instead, which takes the model."""
    max_tokens: int | None = None
    """The most tokens that a canary asks for."""
    budget: Budget = field(default_factory=Budget)
    """What one auditor's run may cost altogether."""

    def __post_init__(self) -> None:
        if not self.every > 0 or self.count < 1:
            raise InputError("canaries come every so many seconds, and one at a time or more")
        if isinstance(self.cells, AuditPolicy) and not self.cells.always:
            raise InputError(
                "this policy checks nothing of some answers, and a canary that is not checked shows nothing: "
                "take a policy whose probabilities add up to 1"
            )


def schedule(ledger: Ledger, nodes: Sequence[FleetNode], plan: Plan, now: float) -> int:
    """Add the jobs of the slot in which ``now`` lies, for active nodes, and return how many are new."""
    slot = int(now // plan.every)
    jobs = []
    for node in nodes:
        known = ledger.fleet.node(node.key)
        if known is None or known.state != "active":
            continue
        for model in node.models:
            due = max(now, (slot + _RANDOM.random()) * plan.every)
            name = f"{CANARY} {node.key.hex()} {model} {plan.every:g} {slot}"
            body = {"model": model, "count": plan.count}
            jobs.append(NewJob(name=name, kind=CANARY, node=node.key, body=body, due=due))
    return ledger.jobs.add(*jobs) if jobs else 0
