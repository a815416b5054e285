"""A ledger proves what its log holds, and notices when the database lacks some of it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ledger.world import filled, verdict
from oracle import transparency_log as oracle
from proofcompute.errors import InputError, LedgerError
from proofcompute.ledger import Ledger
from proofcompute.ledger.database import Database


def test_a_ledger_proves_its_log(where: str) -> None:
    with filled(where, receipts=11) as ledger:
        leaves: list[bytes] = []
        for n in range(11):
            proof = ledger.log.root()
            assert (proof.size, proof.root) == (n, oracle.root(leaves))
            ledger.verdicts.record(verdict(n))
            leaves.append(verdict(n).encode())
        assert list(ledger.log.leaves()) == leaves
        assert list(ledger.log.leaves(2, 4)) == leaves[2:4]
        for n in range(11):
            assert ledger.log.leaf(n) == leaves[n]
            assert list(ledger.log.inclusion(n).hashes) == oracle.path(n, leaves)
            assert list(ledger.log.inclusion(0, n + 1).hashes) == oracle.path(0, leaves[: n + 1])
            assert list(ledger.log.consistency(n + 1).hashes) == oracle.proof(n + 1, leaves)
            assert ledger.log.root(n + 1).root == oracle.root(leaves[: n + 1])
        for call in (
            lambda: ledger.log.leaf(11),
            lambda: ledger.log.root(12),
            lambda: ledger.log.inclusion(11),
            lambda: ledger.log.consistency(3, 12),
        ):
            with pytest.raises(InputError):
                call()


def test_a_log_that_lacks_something_is_damaged(where: str) -> None:
    filled(where, receipts=4).close()
    with Ledger(where) as ledger:
        ledger.verdicts.record(*(verdict(n) for n in range(4)))
        database = Database(where)
        with database.writing() as connection:
            connection.execute(text("DELETE FROM log_nodes WHERE level = 1"))
            connection.execute(text("DELETE FROM verdicts WHERE leaf = 1"))
            connection.execute(text("DELETE FROM leaves WHERE number = 1"))
        database.close()
        with pytest.raises(LedgerError, match="lacks nodes"):
            ledger.log.inclusion(0)
        with pytest.raises(LedgerError, match="not all there"):
            list(ledger.log.leaves())
