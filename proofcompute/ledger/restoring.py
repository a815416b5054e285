"""Take an export into a ledger, and compare a ledger's tables with its log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, func, select, tuple_

from proofcompute.commitments import log_tree
from proofcompute.errors import LedgerError, MismatchError
from proofcompute.ledger import tables
from proofcompute.ledger.checking import Checked, check_heads, check_leaves, leaf_of
from proofcompute.ledger.database import Database
from proofcompute.ledger.exports import Export
from proofcompute.ledger.fleet import add_nodes, add_receipt
from proofcompute.ledger.ledger import Ledger
from proofcompute.ledger.log import keep_head, locked_size
from proofcompute.ledger.messages import AuditVerdict, TreeHead
from proofcompute.ledger.recording import insert_quorum, record_in
from proofcompute.ledger.records import NewNode, NewReceipt
from proofcompute.ledger.trust import TrustPolicy

__all__ = ["check_ledger", "restore"]

_AT_ONCE = 500
"""Leaves of one transaction."""


def restore(ledger: Ledger, export: Export, operator: bytes | None = None) -> tuple[Checked, int]:
    """Append what an export has beyond a ledger's own log, and return what was checked and how many leaves.

    Everything is checked before anything is written. What is interrupted is continued by doing it again.
    Nodes and receipts are what verdicts say of them: their addresses, terms and answers are in no export.

    Raises LedgerError if the export does not hold, or if the ledger's log is no beginning of it.
    """
    heads = check_heads(export.size, export.heads, ledger.log.heads(), operator)
    checked = check_leaves(export.size, export.leaves(), heads)
    leaves = export.leaves()
    size = ledger.log.size
    for number, mine in enumerate(ledger.log.leaves(0, size)):
        if next(leaves) != mine:
            raise LedgerError(f"leaf {number} of the export is not that of this ledger: it is another log")
    start = size
    while batch := list(islice(leaves, _AT_ONCE)):
        with ledger.database.writing() as connection:
            if locked_size(connection) != size:
                raise LedgerError("somebody else writes to this ledger: import into one that nobody uses")
            for data in batch:
                _take(connection, size, data, ledger.policy)
                size += 1
    known = {head.signature for head in ledger.log.heads()}
    with ledger.database.writing() as connection:
        for head in export.heads:
            if head.signature not in known:
                keep_head(connection, head)
    return checked, size - start


def _take(connection: Connection, size: int, data: bytes, policy: TrustPolicy) -> None:
    """Record a leaf as if its verdict came now. Raises LedgerError if a ledger would have no such leaf."""
    found = leaf_of(size, data)
    if not isinstance(found, AuditVerdict):
        known = select(tables.receipts.c.digest).where(
            tables.receipts.c.digest == found.statement.receipt_digest
        )
        if connection.execute(known).scalar() is None:
            raise LedgerError(f"leaf {size} is of a quorum, about a receipt that no auditor judged before")
        insert_quorum(connection, found)
        return
    made = found.made / 1000
    add_nodes(connection, [(NewNode(found.node, ""), made)])
    receipt = NewReceipt(
        digest=found.receipt_digest,
        node=found.node,
        request_digest=found.request_digest,
        model_id=found.model_id,
        made=made,
    )
    try:
        add_receipt(connection, receipt)
        record_in(connection, [found], policy)
    except MismatchError as e:
        raise LedgerError(f"leaf {size}: {e}") from e
    if locked_size(connection) != size + 1:
        raise LedgerError(f"leaf {size} says again what an earlier one says")


# -- a ledger's own tables -----------------------------------------------------------------------------------
def check_ledger(ledger: Ledger, earlier: Iterable[TreeHead] = (), operator: bytes | None = None) -> Checked:
    """Check a ledger's log and heads, and that its tables say what the log says.

    Leaves that are appended meanwhile are left out. Raises LedgerError if something does not hold.
    """
    signed = ledger.log.heads()  # before the size is read, which grows meanwhile
    size = ledger.log.size
    heads = check_heads(size, signed, list(earlier), operator)
    return check_leaves(size, _compared(ledger.database, ledger.log.leaves(0, size), size), heads)


def _compared(database: Database, leaves: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Return the leaves, and compare them with rows and nodes of the database (L6)."""
    tree = log_tree.Growing()
    while batch := list(islice(leaves, _AT_ONCE)):
        first = tree.size
        nodes = [node for data in batch for node in tree.append(log_tree.leaf_hash(data))]
        with database.reading() as connection:
            _compare_nodes(connection, dict(nodes))
            _compare_rows(connection, first, batch)
        yield from batch
    with database.reading() as connection:
        rows = select(func.count()).select_from(tables.verdicts).where(tables.verdicts.c.leaf >= size)
        beyond = select(func.max(tables.leaves.c.number))
        most = connection.execute(beyond).scalar()
        if connection.execute(rows).scalar_one() and (most is None or most < size):
            raise LedgerError("the ledger has verdicts that are not in its log")


def _compare_nodes(connection: Connection, wanted: dict[tuple[int, int], bytes]) -> None:
    nodes = tables.log_nodes
    rows = connection.execute(
        select(nodes).where(tuple_(nodes.c.level, nodes.c.number).in_(list(wanted)))
    ).all()
    found = {(row.level, row.number): bytes(row.hash) for row in rows}
    for place, hashed in wanted.items():
        if found.get(place) != hashed:
            raise LedgerError(
                f"node {place[1]} at level {place[0]} of the ledger's tree is not that of its leaves"
            )


def _compare_rows(connection: Connection, first: int, batch: list[bytes]) -> None:
    end = first + len(batch)
    verdicts, quorums, lies = tables.verdicts, tables.quorums, tables.equivocations
    rows = {
        row.leaf: row
        for row in connection.execute(
            select(verdicts).where(verdicts.c.leaf >= first, verdicts.c.leaf < end)
        ).all()
    }
    of_quorums = set(
        connection.execute(
            select(quorums.c.leaf).where(quorums.c.leaf >= first, quorums.c.leaf < end)
        ).scalars()
    )
    second = set(
        connection.execute(select(lies.c.leaf).where(lies.c.leaf >= first, lies.c.leaf < end)).scalars()
    )
    for number, data in enumerate(batch, first):
        found = leaf_of(number, data)
        if not isinstance(found, AuditVerdict):
            holds = number in of_quorums and number not in rows
        elif number in second:
            holds = number not in rows
        else:
            row = rows.get(number)
            holds = row is not None and (
                bytes(row.receipt),
                bytes(row.challenge),
                bytes(row.auditor),
                bytes(row.node),
                row.outcome,
                row.step,
                row.check,
            ) == (*found.key, found.node, found.outcome.kind, found.outcome.step, found.check)
        if not holds:
            raise LedgerError(f"the ledger's tables do not say of leaf {number} what the log says")
