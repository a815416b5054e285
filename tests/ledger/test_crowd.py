"""Many auditors at one ledger; some are killed, and so is the database: nothing is lost or doubled."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.crowd import ended, prepare, started
from ledger.postgres import Server
from ledger.world import NODES, receipt
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import StorageError
from proofcompute.ledger import Ledger
from proofcompute.ledger.restoring import check_ledger


def require_each_once(where: str, count: int, *, auditors: bool = False) -> None:
    """Every job is done, every receipt has a verdict, trust counts each once, and the log holds.

    Whoever is slower than its lease is followed by another auditor, which has a verdict of its own about the
    same receipt: with ``auditors`` that is allowed.
    """
    with Ledger(where) as ledger:
        assert ledger.jobs.count() == {"done": count, "taken": 0, "waiting": 0}
        found = check_ledger(ledger)
        assert found.size >= count if auditors else found.size == count
        counted = 0.0
        for n in range(count):
            verdicts = ledger.verdicts.of_receipt(receipt(n).digest)
            keys = [v.verdict.auditor for v in verdicts]
            assert len(set(keys)) == len(keys) >= 1
        for key in NODES:
            node = ledger.fleet.node(key)
            assert node is not None
            counted += node.trust.counts.audits
        assert counted == count
        assert ledger.verdicts.equivocations() == []


def test_auditors_side_by_side_lose_and_double_nothing(where: str) -> None:
    count, crowd = 120, 4
    prepare(where, count)
    processes = [started(where, n, count, at_once=3) for n in range(crowd)]
    try:
        assert sum(ended(processes)) == count
    finally:
        for process in processes:
            process.kill()
    require_each_once(where, count)


def killed_at_random(where: str, count: int, kills: int, end: Callable[[random.Random], bool]) -> None:
    """Keep three auditors at work, and kill something now and then; ``end`` may kill the database instead."""
    rng = random.Random(kills)
    prepare(where, count)
    earlier = None
    operator = NodeIdentity.new()
    processes: dict[int, subprocess.Popen[str]] = {n: started(where, n, count, lease=LEASE) for n in range(3)}
    try:
        done = 0
        while done < kills:
            time.sleep(rng.random() * 0.3)
            if not end(rng):
                victim = rng.choice(list(processes))
                processes[victim].kill()
                processes[victim].communicate()
                # the same auditor comes back, as a service manager would have it
                processes[victim] = started(where, victim, count, lease=LEASE)
            done += 1
            with Ledger(where) as ledger:
                if earlier is not None:
                    proof = ledger.log.consistency(earlier.size)
                    assert ledger.log.root(earlier.size).root == earlier.root
                    assert proof.size >= earlier.size
                earlier = ledger.log.sign_head(operator, time.time())
        ended(list(processes.values()))
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    require_each_once(where, count, auditors=True)
    with Ledger(where) as ledger:
        check_ledger(ledger, ledger.log.heads(), operator.public)


LEASE = 3.0
"""Seconds after which a killed auditor's jobs are taken by others."""
KILLS = [pytest.param(10, id="some"), pytest.param(100, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kills", KILLS)
def test_killed_auditors_lose_and_double_nothing(tmp_path: Path, kills: int) -> None:
    killed_at_random(str(tmp_path / "ledger.db"), 15 * kills, kills, lambda _: False)


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_database_loses_and_doubles_nothing(kills: int) -> None:
    with Server() as server:
        where = server.new_schema()

        def end(rng: random.Random) -> bool:
            if rng.random() < 0.5:
                return False
            server.kill()
            server.start()  # fails unless it answers within its patience
            return True

        killed_at_random(where, 15 * kills, kills, end)


def test_a_killed_database_is_said_to_be_away() -> None:
    with Server("fsync=off") as server:
        where = server.new_schema()
        with Ledger.make(where) as ledger:
            server.kill()
            with pytest.raises(StorageError, match="cannot be used"):
                ledger.jobs.count()
            server.start()
            assert ledger.jobs.count()["done"] == 0  # over a new connection
