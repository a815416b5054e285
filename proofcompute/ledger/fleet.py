"""Keep the fleet's nodes, their terms, receipts and answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, insert, or_, select, tuple_, update

from proofcompute.errors import InputError, LimitError, MismatchError
from proofcompute.ledger import tables
from proofcompute.ledger.database import Database
from proofcompute.ledger.inserting import insert_new
from proofcompute.ledger.records import (
    NODE_STATES,
    NewNode,
    NewReceipt,
    NodeRecord,
    NodeState,
    ReceiptRecord,
    Throughput,
)
from proofcompute.ledger.trust import Counts, Trust, trust_of
from proofcompute.limits import MAX_RECEIPT, MAX_REQUEST, MAX_TERMS

__all__ = ["LONGEST", "MOST", "Fleet", "add_nodes", "add_receipt", "add_receipts"]

MOST = 1000
"""The most rows of one answer."""
LONGEST = 1e9
"""The most seconds that an answer takes."""


class Fleet:
    """Nodes, terms, receipts and answers of a ledger.

    Args:
        database: where they are.
        clock: seconds since the Unix epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    # -- nodes -----------------------------------------------------------------------------------------------
    def add_node(self, node: NewNode) -> NodeRecord:
        """Add a node, or change the address and the name of one that is there."""
        _require(node.key, "key of a node")
        with self._database.writing() as connection:
            nodes, values = tables.nodes, {"url": node.url, "name": node.name}
            found = connection.execute(update(nodes).where(nodes.c.key == node.key).values(**values))
            if not found.rowcount:
                add_nodes(connection, [(node, self._clock())])
            return _node(connection.execute(select(nodes).where(nodes.c.key == node.key)).one())

    def node(self, key: bytes) -> NodeRecord | None:
        """Return a node, or None if the ledger does not know it."""
        with self._database.reading() as connection:
            row = connection.execute(select(tables.nodes).where(tables.nodes.c.key == key)).one_or_none()
            return None if row is None else _node(row)

    def nodes(
        self, limit: int = MOST, after: NodeRecord | None = None, states: Sequence[NodeState] = NODE_STATES
    ) -> list[NodeRecord]:
        """Return nodes, the least trusted first, those behind ``after`` in this order."""
        nodes = tables.nodes
        wanted: Select[Any] = select(nodes).where(nodes.c.state.in_(list(states)))
        if after is not None:
            wanted = wanted.where(tuple_(nodes.c.trust, nodes.c.key) > (after.trust.estimate, after.key))
        wanted = wanted.order_by(nodes.c.trust, nodes.c.key).limit(_most(limit))
        with self._database.reading() as connection:
            return [_node(row) for row in connection.execute(wanted)]

    def count_nodes(self) -> dict[NodeState, int]:
        """Return how many nodes are in each state."""
        state = tables.nodes.c.state
        with self._database.reading() as connection:
            found = {
                row[0]: row[1] for row in connection.execute(select(state, func.count()).group_by(state))
            }
        return {name: found.get(name, 0) for name in NODE_STATES}

    def set_state(self, key: bytes, state: NodeState, reason: str) -> None:
        """Set whether a node gets requests. Raises InputError if the ledger does not know it."""
        if state not in NODE_STATES:
            raise InputError(f"a node is {', '.join(NODE_STATES)}, and not {state}")
        with self._database.writing() as connection:
            nodes = tables.nodes
            changed = connection.execute(
                update(nodes).where(nodes.c.key == key).values(state=state, reason=reason)
            )
            if not changed.rowcount:
                raise InputError(f"the ledger knows no node {key.hex()}")

    # -- terms -----------------------------------------------------------------------------------------------
    def add_terms(self, node: bytes, digest: bytes, data: bytes) -> bool:
        """Keep terms that a node published. Returns whether they are new."""
        _require(digest, "digest of terms")
        if len(data) > MAX_TERMS:
            raise LimitError(f"terms of {len(data)} bytes, at most {MAX_TERMS} are allowed")
        with self._database.writing() as connection:
            _require_node(connection, node)
            row = {"digest": digest, "node": node, "seen": self._clock(), "data": data}
            return insert_new(connection, tables.terms, [row]) == 1

    def terms(self, node: bytes) -> list[bytes]:
        """Return the terms that a node published, the newest last."""
        terms = tables.terms
        with self._database.reading() as connection:
            rows = connection.execute(
                select(terms.c.data).where(terms.c.node == node).order_by(terms.c.seen)
            ).scalars()
            return [bytes(data) for data in rows]

    # -- receipts --------------------------------------------------------------------------------------------
    def add_receipts(self, receipts: Sequence[NewReceipt]) -> int:
        """Keep receipts, and their answers if they have any. Returns how many are new.

        Raises InputError for a node that the ledger does not know, or for a duration that is none.
        """
        with self._database.writing() as connection:
            return add_receipts(connection, receipts)

    def receipt(self, digest: bytes) -> ReceiptRecord | None:
        """Return a receipt, or None if the ledger does not know it."""
        receipts = tables.receipts
        with self._database.reading() as connection:
            row = connection.execute(select(receipts).where(receipts.c.digest == digest)).one_or_none()
            return None if row is None else _receipt(row)

    def receipts(
        self, node: bytes | None = None, limit: int = MOST, before: ReceiptRecord | None = None
    ) -> list[ReceiptRecord]:
        """Return receipts, the newest first: of one node or of all, older than ``before`` if it is given."""
        receipts = tables.receipts
        wanted: Select[Any] = select(receipts)
        if node is not None:
            wanted = wanted.where(receipts.c.node == node)
        if before is not None:
            older = receipts.c.made < before.made
            same = and_(receipts.c.made == before.made, receipts.c.digest < before.digest)
            wanted = wanted.where(receipts.c.made <= before.made, or_(older, same))
        wanted = wanted.order_by(receipts.c.made.desc(), receipts.c.digest.desc()).limit(_most(limit))
        with self._database.reading() as connection:
            return [_receipt(row) for row in connection.execute(wanted)]

    def seconds(self, digests: Sequence[bytes]) -> dict[bytes, float]:
        """Return what answers took, by the digests of their receipts, without those that nobody measured."""
        receipts = tables.receipts
        found: dict[bytes, float] = {}
        with self._database.reading() as connection:
            for first in range(0, len(digests), MOST):
                some = digests[first : first + MOST]
                wanted = select(receipts.c.digest, receipts.c.seconds).where(receipts.c.digest.in_(some))
                rows = connection.execute(wanted).all()
                found |= {bytes(row.digest): row.seconds for row in rows if row.seconds is not None}
        return found

    def throughput(self, node: bytes, start: float, end: float) -> Throughput:
        """Return what the proved answers of a node came to.

        Args:
            node: public key.
            start: when the first of them came, in seconds since the Unix epoch.
            end: when the last one came, likewise.
        """
        r = tables.receipts.c
        wanted = select(
            func.count(), func.count(r.seconds), func.sum(r.tokens), func.coalesce(func.sum(r.seconds), 0.0)
        ).where(r.node == node, r.made >= start, r.made <= end, r.level.in_(["sampled", "audited"]))
        with self._database.reading() as connection:
            answers, timed, tokens, seconds = connection.execute(wanted).one()
        return Throughput(
            answers=answers, untimed=answers - timed, tokens=int(tokens or 0), seconds=float(seconds)
        )

    def answer(self, digest: bytes) -> tuple[bytes, bytes] | None:
        """Return the encoded request and receipt of an answer, or None if they were not kept."""
        answers = tables.answers
        with self._database.reading() as connection:
            row = connection.execute(select(answers).where(answers.c.digest == digest)).one_or_none()
            return None if row is None else (bytes(row.request), bytes(row.receipt))

    def forget_answers(self, before: float) -> int:
        """Delete requests and receipts that came before a time, and return how many; their rows stay."""
        old = select(tables.receipts.c.digest).where(tables.receipts.c.made < before)
        with self._database.writing() as connection:
            gone = connection.execute(tables.answers.delete().where(tables.answers.c.digest.in_(old)))
            return int(gone.rowcount)


def add_nodes(connection: Connection, nodes: Sequence[tuple[NewNode, float]]) -> int:
    """Add nodes with the times at which they came, if they are not there. Returns how many are new."""
    fresh = trust_of(Counts())
    rows = [
        {
            "key": node.key,
            "url": node.url,
            "name": node.name,
            "state": "active",
            "reason": "",
            "added": added,
            "receipts": 0,
            "tokens": 0,
            "audits": 0.0,
            "detection": 0.0,
            "failed": 0.0,
            "trust": fresh.estimate,
            "low": fresh.low,
            "high": fresh.high,
        }
        for node, added in nodes
    ]
    return insert_new(connection, tables.nodes, rows)


def add_receipts(connection: Connection, receipts: Sequence[NewReceipt]) -> int:
    """Keep receipts, and their answers if they have any. Returns how many are new.

    Raises InputError for a node that the ledger does not know, or for a duration that is none, and LimitError
    for what is too large.
    """
    for one in receipts:
        for value, what in ((one.digest, "digest of a receipt"), (one.request_digest, "request's digest")):
            _require(value, what)
        _require(one.model_id, "model id")
        if one.seconds is not None and not 0 <= one.seconds <= LONGEST:
            raise InputError(f"an answer takes 0 to {LONGEST:.0f} seconds, not {one.seconds}")
        if len(one.request) > MAX_REQUEST or len(one.receipt) > MAX_RECEIPT:
            raise LimitError("the request or the receipt is larger than any can be")
    # in the order of their nodes, whose rows are held, so that two writers never wait for each other
    return sum(add_receipt(connection, one) for one in sorted(receipts, key=lambda r: r.node))


def add_receipt(connection: Connection, new: NewReceipt) -> bool:
    """Keep a receipt, unless it is there; returns whether it is new."""
    _require_node(connection, new.node)
    names = ("digest", "node", "request_digest", "model_id", "terms_digest", "made", "tokens", "nonce_by")
    row = {name: getattr(new, name) for name in names}
    # a clock that saw no time pass measured nothing
    row |= {"level": "receipted", "seconds": new.seconds or None}
    if not insert_new(connection, tables.receipts, [row]):
        _require_same(connection, new)
        return False
    if new.receipt:
        connection.execute(
            insert(tables.answers), {"digest": new.digest, "request": new.request, "receipt": new.receipt}
        )
    nodes = tables.nodes
    newer = or_(nodes.c.seen.is_(None), nodes.c.seen < new.made)
    connection.execute(
        update(nodes)
        .where(nodes.c.key == new.node)
        .values(
            receipts=nodes.c.receipts + 1,
            tokens=nodes.c.tokens + new.tokens,
            seen=case((newer, new.made), else_=nodes.c.seen),
        )
    )
    return True


def _require_same(connection: Connection, new: NewReceipt) -> None:
    receipts = tables.receipts
    row = connection.execute(select(receipts).where(receipts.c.digest == new.digest)).one()
    found = _receipt(row)
    about = ("node", "request_digest", "model_id", "terms_digest")
    if any(getattr(found, name) != getattr(new, name) for name in about):
        raise MismatchError(f"the ledger has another receipt {new.digest.hex()}")


def _require_node(connection: Connection, key: bytes) -> None:
    nodes = tables.nodes
    if connection.execute(select(nodes.c.key).where(nodes.c.key == key)).scalar() is None:
        raise InputError(f"the ledger knows no node {key.hex()}: add it first")


def _require(value: bytes, what: str) -> None:
    if len(value) != 32:
        raise InputError(f"the {what} has 32 bytes, not {len(value)}")


def _most(limit: int) -> int:
    if not 1 <= limit <= MOST:
        raise InputError(f"ask for 1 to {MOST} rows, not {limit}")
    return limit


def _node(row: Row[Any]) -> NodeRecord:
    counts = Counts(row.audits, row.detection, row.failed)
    return NodeRecord(
        key=bytes(row.key),
        url=row.url,
        name=row.name,
        state=row.state,
        reason=row.reason,
        added=row.added,
        seen=row.seen,
        receipts=row.receipts,
        tokens=row.tokens,
        trust=Trust(row.trust, row.low, row.high, counts),
    )


def _receipt(row: Row[Any]) -> ReceiptRecord:
    return ReceiptRecord(
        digest=bytes(row.digest),
        node=bytes(row.node),
        request_digest=bytes(row.request_digest),
        model_id=bytes(row.model_id),
        terms_digest=bytes(row.terms_digest),
        made=row.made,
        tokens=row.tokens,
        seconds=row.seconds,
        nonce_by=row.nonce_by,
        level=row.level,
    )
