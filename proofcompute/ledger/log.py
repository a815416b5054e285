"""Append to the ledger's log, and prove what it holds (docs/spec/ledger.md#the-log)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select, tuple_, update

from proofcompute.commitments import log_tree
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError, LedgerError
from proofcompute.ledger import tables
from proofcompute.ledger.database import Database
from proofcompute.ledger.messages import TreeHead

__all__ = ["Appending", "Log", "Proof", "keep_head", "locked_size"]

_AT_ONCE: Final = 1000
"""Leaves that are read in one go."""


@dataclass(frozen=True)
class Proof:
    """A proof about a log of a size."""

    size: int
    root: bytes
    hashes: tuple[bytes, ...]


def locked_size(connection: Connection) -> int:
    """Return the size of the log, to which nobody else appends until the transaction ends."""
    row = tables.log
    size = connection.execute(select(row.c.size).where(row.c.id == 1).with_for_update()).scalar_one()
    return int(size)


class Appending:
    """Leaves that a transaction appends to the log, which nobody else appends to until it ends.

    They are written by :meth:`flush`, before what refers to them.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.size = locked_size(connection)
        """Leaves of the log, those that are not written yet included."""
        self._tree = log_tree.Growing(self.size, _nodes(connection, log_tree.parts(0, self.size)))
        self._leaves: list[dict[str, object]] = []
        self._made: list[dict[str, object]] = []

    def append(self, data: bytes) -> int:
        """Append a leaf, and return its number."""
        number, self.size = self.size, self.size + 1
        self._leaves.append({"number": number, "data": data})
        for (level, at), value in self._tree.append(log_tree.leaf_hash(data)):
            self._made.append({"level": level, "number": at, "hash": value})
        return number

    def flush(self) -> None:
        """Write what was appended."""
        if self._leaves:
            self._connection.execute(insert(tables.leaves), self._leaves)
            self._connection.execute(insert(tables.log_nodes), self._made)
            row = update(tables.log).where(tables.log.c.id == 1)
            self._connection.execute(row.values(size=self.size))
            self._leaves, self._made = [], []


class Log:
    """The log of a ledger: leaves, roots, proofs and the operator's heads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def size(self) -> int:
        """Leaves of the log."""
        with self._database.reading() as connection:
            return _size(connection)

    def root(self, size: int | None = None) -> Proof:
        """Return the root of the log when it had ``size`` leaves, with no proof; None: of all.

        Raises InputError if the log has fewer.
        """
        with self._database.reading() as connection:
            size = _size_of(connection, size)
            return Proof(size, _range(connection, 0, size), ())

    def leaf(self, number: int) -> bytes:
        """Return what a leaf holds. Raises InputError if there is none."""
        with self._database.reading() as connection:
            leaves = tables.leaves
            found = connection.execute(select(leaves.c.data).where(leaves.c.number == number)).scalar()
        if found is None:
            raise InputError(f"the log has no leaf {number}")
        return bytes(found)

    def leaves(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return what the leaves start..end hold, in order, reading some at a time."""
        leaves = tables.leaves
        end = self.size if end is None else end
        for first in range(start, end, _AT_ONCE):
            upto = min(end, first + _AT_ONCE)
            wanted = (leaves.c.number >= first) & (leaves.c.number < upto)
            with self._database.reading() as connection:
                found = connection.execute(
                    select(leaves.c.number, leaves.c.data).where(wanted).order_by(leaves.c.number)
                ).all()
            if [row.number for row in found] != list(range(first, upto)):
                raise LedgerError(f"leaves {first}..{upto - 1} of the log are not all there")
            yield from (bytes(row.data) for row in found)

    def inclusion(self, number: int, size: int | None = None) -> Proof:
        """Return the proof that a leaf is in the log of ``size`` leaves; None: of all.

        Raises InputError if the log has fewer, or no such leaf.
        """
        with self._database.reading() as connection:
            size = _size_of(connection, size)
            hashes = tuple(_range(connection, a, b) for a, b in log_tree.inclusion_ranges(number, size))
            return Proof(size, _range(connection, 0, size), hashes)

    def consistency(self, first: int, second: int | None = None) -> Proof:
        """Return the proof that the log of ``second`` leaves begins with that of ``first``; None: of all.

        Raises InputError if the log has fewer.
        """
        with self._database.reading() as connection:
            second = _size_of(connection, second)
            hashes = tuple(_range(connection, a, b) for a, b in log_tree.consistency_ranges(first, second))
            return Proof(second, _range(connection, 0, second), hashes)

    # -- heads -----------------------------------------------------------------------------------------------
    def sign_head(self, identity: NodeIdentity, now: float) -> TreeHead:
        """Sign what the log is now, and keep the head.

        Raises LedgerError if the log does not continue what was signed last.
        """
        with self._database.writing() as connection:
            size = locked_size(connection)
            last = _last_head(connection)
            if last is not None:
                if last.size > size:
                    raise LedgerError(f"a log of {last.size} leaves was signed, and there are {size}")
                if _range(connection, 0, last.size) != last.root:
                    raise LedgerError(f"the log is not what was signed when it had {last.size} leaves")
            made = TreeHead.of(size, _range(connection, 0, size), int(1000 * now), identity)
            keep_head(connection, made)
        return made

    def heads(self) -> list[TreeHead]:
        """Return the operator's heads, the newest last."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.heads.c.data).order_by(tables.heads.c.id)).scalars()
            return [TreeHead.decode(bytes(data)) for data in rows]


def keep_head(connection: Connection, head: TreeHead) -> None:
    """Keep a head beside the log."""
    connection.execute(
        insert(tables.heads), {"size": head.size, "made": head.made / 1000, "data": head.encode()}
    )


def _last_head(connection: Connection) -> TreeHead | None:
    heads = tables.heads
    found = connection.execute(select(heads.c.data).order_by(heads.c.id.desc()).limit(1)).scalar()
    return None if found is None else TreeHead.decode(bytes(found))


def _size(connection: Connection) -> int:
    return int(connection.execute(select(tables.log.c.size).where(tables.log.c.id == 1)).scalar_one())


def _size_of(connection: Connection, size: int | None) -> int:
    whole = _size(connection)
    if size is None:
        return whole
    if not 0 <= size <= whole:
        raise InputError(f"the log has {whole} leaves, not {size}")
    return size


def _range(connection: Connection, a: int, b: int) -> bytes:
    """Return the root over the leaves a..b."""
    return log_tree.fold(_nodes(connection, log_tree.parts(a, b)))


def _nodes(connection: Connection, wanted: list[tuple[int, int]]) -> list[bytes]:
    """Return the hashes of complete subtrees. Raises LedgerError if one is missing."""
    if not wanted:
        return []
    nodes = tables.log_nodes
    rows = connection.execute(
        select(nodes.c.level, nodes.c.number, nodes.c.hash).where(
            tuple_(nodes.c.level, nodes.c.number).in_(wanted)
        )
    ).all()
    found = {(row.level, row.number): bytes(row.hash) for row in rows}
    if len(found) != len(wanted):
        raise LedgerError("the log's tree lacks nodes: proofcompute ledger verify says which leaves it has")
    return [found[place] for place in wanted]
