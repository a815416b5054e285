"""Open a ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from proofcompute.ledger.database import Database
from proofcompute.ledger.fleet import Fleet
from proofcompute.ledger.jobs import Jobs
from proofcompute.ledger.log import Log
from proofcompute.ledger.recording import Verdicts
from proofcompute.ledger.trust import TrustPolicy

__all__ = ["Ledger"]


class Ledger:
    """A ledger that this process has open; others may have it open too. Use it in a ``with`` statement.

    Any thread may use it.

    Args:
        where: path of an SQLite file, or the URL of a database: ``sqlite:///PATH`` or ``postgresql://...``.
        policy: how verdicts count for trust; all who write must have the same.
        clock: seconds since the Unix epoch.

    Raises InputError if there is no ledger, UnsupportedError if it is of another version or another kind of
    database, and StorageError if the database cannot be reached.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        policy: TrustPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = Database(where)
        """Transactions, for what is not here yet."""
        self.clock = clock
        """Seconds since the Unix epoch."""
        self.policy = TrustPolicy() if policy is None else policy
        """How verdicts count."""
        self.fleet = Fleet(self.database, clock)
        """Nodes, terms, receipts and answers."""
        self.jobs = Jobs(self.database, self.policy, clock)
        """Work for auditors."""
        self.verdicts = Verdicts(self.database, self.policy, clock)
        """Verdicts and evidence."""
        self.log = Log(self.database)
        """The log of all verdicts, and heads that were signed of it."""
        try:
            self.database.require_ledger()
        except BaseException:
            self.database.close()
            raise

    @staticmethod
    def make(where: str | Path, *, policy: TrustPolicy | None = None) -> Ledger:
        """Make a ledger's tables where there are none, or bring those of an older version up to date.

        Raises InputError if a file is no SQLite database, and StorageError if the database refuses.
        """
        from proofcompute.ledger.migrating import migrate

        database = Database(where)
        try:
            database.make_file()
            with database.writing() as connection:
                migrate(connection)
        finally:
            database.close()
        return Ledger(where, policy=policy)

    @property
    def name(self) -> str:
        """What people call the database: its path, or its URL without the password."""
        return self.database.name

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
