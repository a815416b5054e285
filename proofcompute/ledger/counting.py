"""Count what verdicts say of nodes, and how well answers are assured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from proofcompute.ledger import tables
from proofcompute.ledger.messages import AuditVerdict
from proofcompute.ledger.records import Level
from proofcompute.ledger.trust import Counts, TrustPolicy, trust_of

__all__ = ["count", "count_in"]


def count(
    counts: Counts, before: tuple[float, float] | None, verdict: AuditVerdict, policy: TrustPolicy
) -> tuple[Counts, tuple[float, float]]:
    """Return a node's counts after a verdict, and what the answer counts for in them from then on.

    An answer counts once: two audits that find nothing add up to the chance that either would have, and an
    answer that anybody finds wrong is wrong.

    Args:
        counts: the counts before.
        before: chance of detection and weight of failure of the answer so far; None: it was not audited.
        verdict: what was found.
        policy: how failures count.
    """
    chance, failed = before or (0.0, 0.0)
    weight = policy.weights.get(verdict.outcome.kind, 0.0)
    both = 1 - (1 - chance) * (1 - verdict.chance)
    now = (both, max(failed, weight))
    return (
        Counts(
            counts.audits - _audits(before) + _audits(now),
            counts.detection - _found(before) + _found(now),
            counts.failed - failed + now[1],
        ),
        now,
    )


def _audits(answer: tuple[float, float] | None) -> float:
    return 0.0 if answer is None else max(1.0, answer[1])


def _found(answer: tuple[float, float] | None) -> float:
    return 0.0 if answer is None else answer[0] * _audits(answer)


def count_in(
    connection: Connection, leaf: int, verdict: AuditVerdict, receipt: Mapping[str, Any], policy: TrustPolicy
) -> None:
    """Count a verdict for its node and its answer; the caller holds the node's row.

    Args:
        connection: the transaction in which the verdict was inserted.
        leaf: its leaf.
        verdict: what was found.
        receipt: the row of its receipt.
        policy: how failures count.
    """
    nodes, receipts = tables.nodes, tables.receipts
    of_node = nodes.c.key == verdict.node
    row = connection.execute(select(nodes).where(of_node)).one()
    before = None if receipt["detection"] is None else (receipt["detection"], receipt["failed"])
    counts, now = count(Counts(row.audits, row.detection, row.failed), before, verdict, policy)
    trust = trust_of(counts, policy.confidence)
    values: dict[str, Any] = {
        "audits": counts.audits,
        "detection": counts.detection,
        "failed": counts.failed,
        "trust": trust.estimate,
        "low": trust.low,
        "high": trust.high,
    }
    if verdict.outcome.kind in policy.quarantined and row.state == "active":
        values |= {"state": "quarantined", "reason": f"leaf {leaf}: {verdict.outcome}"}
    connection.execute(update(nodes).where(of_node).values(**values))
    connection.execute(
        update(receipts)
        .where(receipts.c.digest == verdict.receipt_digest)
        .values(detection=now[0], failed=now[1], level=_level(receipt["level"], verdict))
    )


def _level(level: Level, verdict: AuditVerdict) -> Level:
    """Return how well an answer is assured after a verdict."""
    if level == "contradicted" or verdict.outcome.kind == "contradicted":
        return "contradicted"
    if verdict.outcome.kind != "accepted" or level == "audited":
        return level
    return "audited" if verdict.complete else "sampled"
