"""Ledgers of both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.postgres import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server that the tests of one process share; a database that ends keeps what the system has taken."""
    with Server("fsync=off", "full_page_writes=off") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new ledger can be made."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Server = request.getfixturevalue("postgres")
    return server.new_schema()
