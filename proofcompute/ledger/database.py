"""Reach the ledger's database: SQLite in a file, or a PostgreSQL server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from proofcompute.errors import InputError, LedgerError, StorageError, UnsupportedError
from proofcompute.ledger.tables import SCHEMA

__all__ = ["Database", "shown", "url_of"]

_WAIT: Final = 60
"""Seconds that a writer waits for others."""
_CONNECTING: Final = 10
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",  # readers do not wait for a writer
    "PRAGMA synchronous=FULL",  # what is committed is on the disk
    "PRAGMA foreign_keys=ON",
)


def url_of(where: str | Path) -> URL:
    """Return the URL of a database that is named by a URL or by the path of an SQLite file.

    Raises UnsupportedError for another database, and InputError for what is no URL.
    """
    named = str(where)
    if "://" not in named:
        return URL.create("sqlite", database=named)
    try:
        url = make_url(named)
    except ArgumentError as e:
        raise InputError("this is no URL of a database") from e  # it may hold a password
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise UnsupportedError(f"a ledger is an SQLite file or in PostgreSQL, and not in {url.drivername}")
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise InputError("a ledger in memory is lost when its process ends: name a file")
    return url


def shown(where: str | Path) -> str:
    """Return the name of a database without its password."""
    url = url_of(where)
    if url.drivername == "sqlite":
        return str(url.database)
    return str(url.set(drivername="postgresql").render_as_string(hide_password=True))


class Database:
    """Connections to the database of a ledger, and transactions in it.

    Raises InputError if a file cannot be one.
    """

    def __init__(self, where: str | Path) -> None:
        self.url = url_of(where)
        self.name = shown(where)
        self.is_sqlite = self.url.drivername == "sqlite"
        self.engine = self._engine()

    def _engine(self) -> Engine:
        if not self.is_sqlite:
            # a server that was started again has closed the connections that it had before
            return create_engine(
                self.url, pool_pre_ping=True, pool_size=4, connect_args={"connect_timeout": _CONNECTING}
            )
        engine = create_engine(self.url, connect_args={"timeout": _WAIT})

        def connected(connection: Any, _: object) -> None:
            connection.isolation_level = None  # transactions begin as written below
            for pragma in _PRAGMAS:
                connection.execute(pragma)

        def begun(connection: Connection) -> None:
            # A reader that becomes a writer would fail if another wrote meanwhile; so a writer says so first.
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        event.listen(engine, "connect", connected)
        event.listen(engine, "begin", begun)
        return engine

    def make_file(self) -> None:
        """Make an SQLite file that its owner alone can read; it will hold requests."""
        if not self.is_sqlite:
            return
        try:
            os.close(os.open(str(self.url.database), os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as e:
            raise StorageError(f"cannot make {self.name}: {e.strerror or e}") from e

    def require_ledger(self) -> None:
        """Raise InputError unless there is a ledger, and UnsupportedError if it is of another version."""
        if self.is_sqlite and not Path(str(self.url.database)).is_file():
            raise InputError(f"there is no ledger {self.name}: proofcompute ledger init makes one")
        found = self.revision()
        if found is None:
            raise InputError(f"{self.name} holds no ledger: proofcompute ledger init makes one")
        if found != SCHEMA:
            raise UnsupportedError(
                f"the ledger {self.name} has the schema {found}, and this version knows {SCHEMA}: "
                "proofcompute ledger init brings an older one up to date"
            )

    def revision(self) -> str | None:
        """Return the newest migration that was carried out; None: none was."""
        with self.reading() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads. Raises StorageError if the database refuses."""
        with self._typed(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes; it is committed at the end, or undone if the block raises.

        Raises StorageError if the database refuses. If it went away while it committed, nobody knows whether
        it did: whoever repeats the same then writes nothing twice.
        """
        with (
            self._typed(),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as e:
            reason = str(e.orig).strip().partition("\n")[0]
            if isinstance(e.orig, sqlite3.DatabaseError) and "not a database" in reason:
                raise InputError(f"{self.name} is no SQLite database") from e
            raise StorageError(f"the ledger {self.name} cannot be used: {reason}") from e
        except SQLAlchemyError as e:
            raise LedgerError(f"the ledger {self.name} cannot be used: {e}") from e

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
