"""Count what verdicts say of nodes, and how well answers are assured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, bindparam, select, update

from proofcompute.errors import InputError, MismatchError
from proofcompute.ledger import tables
from proofcompute.ledger.messages import AuditVerdict
from proofcompute.ledger.records import Level
from proofcompute.ledger.trust import Counts, TrustPolicy, trust_of

__all__ = ["Counting", "count"]


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


class Counting:
    """The nodes and answers that a transaction's verdicts are about, and what they count for.

    The rows of nodes are held until the transaction ends, in the order in which all writers hold them.

    Args:
        connection: the transaction; it holds the log.
        verdicts: what will be counted.
        policy: how failures count.
    """

    def __init__(self, connection: Connection, verdicts: Sequence[AuditVerdict], policy: TrustPolicy) -> None:
        self._connection, self._policy = connection, policy
        nodes, receipts = tables.nodes, tables.receipts
        held = select(nodes).where(nodes.c.key.in_({v.node for v in verdicts})).order_by(nodes.c.key)
        rows = connection.execute(held.with_for_update(key_share=True)).all()
        self._nodes = {bytes(row.key): dict(row._mapping) for row in rows}
        about = select(receipts).where(receipts.c.digest.in_({v.receipt_digest for v in verdicts}))
        self._receipts = {bytes(row.digest): dict(row._mapping) for row in connection.execute(about).all()}
        self._changed: tuple[set[bytes], set[bytes]] = (set(), set())

    def require(self, verdict: AuditVerdict) -> None:
        """Raise InputError for an unknown receipt, and MismatchError if the verdict is about another."""
        digest = verdict.receipt_digest
        found = self._receipts.get(digest)
        if found is None:
            raise InputError(f"the ledger knows no receipt {digest.hex()}: add it first")
        for name in ("node", "request_digest", "model_id"):
            if bytes(found[name]) != getattr(verdict, name):
                raise MismatchError(f"the verdict and the receipt {digest.hex()} differ in {name}")

    def count(self, leaf: int, verdict: AuditVerdict) -> None:
        """Count a verdict that :meth:`require` has passed, and that is recorded in a leaf."""
        node, receipt = self._nodes[verdict.node], self._receipts[verdict.receipt_digest]
        before = None if receipt["detection"] is None else (receipt["detection"], receipt["failed"])
        counts = Counts(node["audits"], node["detection"], node["failed"])
        counts, now = count(counts, before, verdict, self._policy)
        node |= {"audits": counts.audits, "detection": counts.detection, "failed": counts.failed}
        if verdict.outcome.kind in self._policy.quarantined and node["state"] == "active":
            node |= {"state": "quarantined", "reason": f"leaf {leaf}: {verdict.outcome}"}
        level = _level(receipt["level"], verdict)
        receipt |= {"detection": now[0], "failed": now[1], "level": level}
        self._changed[0].add(verdict.node)
        self._changed[1].add(verdict.receipt_digest)

    def flush(self) -> None:
        """Write what changed."""
        for key in self._changed[0]:
            node = self._nodes[key]
            counts = Counts(node["audits"], node["detection"], node["failed"])
            trust = trust_of(counts, self._policy.confidence)
            node |= {"trust": trust.estimate, "low": trust.low, "high": trust.high}
        _update(self._connection, tables.nodes.c.key, _OF_NODES, [self._nodes[k] for k in self._changed[0]])
        changed = [self._receipts[digest] for digest in self._changed[1]]
        _update(self._connection, tables.receipts.c.digest, _OF_RECEIPTS, changed)


_OF_NODES = ("audits", "detection", "failed", "trust", "low", "high", "state", "reason")
_OF_RECEIPTS = ("detection", "failed", "level")


def _update(
    connection: Connection, key: Column[Any], names: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write some columns of rows that are named by a key."""
    if rows:
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        changed = update(key.table).where(key == bindparam("the_key")).values(**values)
        connection.execute(
            changed,
            [{"the_key": row[key.name], **{f"new_{name}": row[name] for name in names}} for row in rows],
        )


def _level(level: Level, verdict: AuditVerdict) -> Level:
    """Return how well an answer is assured after a verdict."""
    if level == "contradicted" or verdict.outcome.kind == "contradicted":
        return "contradicted"
    if verdict.outcome.kind != "accepted" or level == "audited":
        return level
    return "audited" if verdict.complete else "sampled"
