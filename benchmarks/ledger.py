"""Measure a ledger: jobs a second with several auditors, and the page's queries over a large fleet.

    python -m benchmarks.ledger [--auditors 8] [--jobs 2000] [--at-once 8] [--nodes 1000] [--receipts 1000000]

Auditors are processes that take jobs, sign a verdict for each and record it, with nothing to audit in
between; each takes ``--at-once`` jobs in a transaction. SQLite's file lies in a temporary directory.
PostgreSQL is a server of its own with its usual durability. Queries are those of a page: nodes by trust, one
node's newest receipts, the newest verdicts of all and of a node, counts, and the log's root.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from ledger.crowd import ended, prepare, started
from ledger.postgres import Server
from ledger.world import MODEL
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.ledger import PARTS, AuditVerdict, Ledger, NewNode, tables
from proofcompute.protocol.messages import Outcome

_BATCH = 10_000


def jobs_per_second(where: str, auditors: int, count: int, at_once: int) -> float:
    """Let auditors finish so many jobs; processes are started before the jobs are there."""
    prepare(where, count, due=time.time() + 5 + 3 * auditors)
    processes = [started(where, n, count, at_once) for n in range(auditors)]
    try:
        finished = sum(ended(processes))
    finally:
        for process in processes:
            process.kill()
    with Ledger(where) as ledger:
        if finished != count or ledger.log.size != count:
            raise SystemExit(f"{finished} of {count} jobs were finished, {ledger.log.size} verdicts recorded")
        last = max(v.verdict.made for v in ledger.verdicts.verdicts(limit=100)) / 1000
        first = ledger.verdicts.verdict(0).verdict.made / 1000
    return count / (last - first)


def fill(where: str, nodes: int, receipts: int) -> list[bytes]:
    """A ledger of a large fleet; receipts are inserted many at a time, and 1,000 verdicts one by one."""
    keys = [os.urandom(32) for _ in range(nodes)]
    auditor = NodeIdentity.new()
    with Ledger.make(where) as ledger:
        for key in keys:
            ledger.fleet.add_node(NewNode(key, "http://127.0.0.1:1"))
        digests = []
        for start in range(0, receipts, _BATCH):
            rows = [_row(keys[n % nodes], n) for n in range(start, min(receipts, start + _BATCH))]
            digests += [(row["digest"], row["node"], row["request_digest"]) for row in rows[:10]]
            with ledger.database.writing() as connection:
                connection.execute(insert(tables.receipts), rows)
        for digest, node, request in digests[:1000]:
            verdict = AuditVerdict(
                receipt_digest=digest,
                request_digest=request,
                model_id=MODEL,
                node=node,
                check="replay",
                outcome=Outcome("accepted"),
                detection=PARTS,
                made=int(1000 * time.time()),
            )
            ledger.verdicts.record(verdict.signed(auditor))
    return keys


def _row(node: bytes, n: int) -> dict[str, Any]:
    return {
        "digest": os.urandom(32),
        "node": node,
        "request_digest": os.urandom(32),
        "model_id": MODEL,
        "terms_digest": b"",
        "made": float(n),
        "tokens": 100,
        "nonce_by": "client",
        "level": "receipted",
    }


def queries(where: str, keys: list[bytes]) -> dict[str, float]:
    """Return the milliseconds of each query, the longest of nine."""
    with Ledger(where) as ledger:
        middle = ledger.fleet.receipts(limit=1000)[-1]
        asked: dict[str, Callable[[], object]] = {
            "1,000 nodes by trust": ledger.fleet.nodes,
            "nodes by state": ledger.fleet.count_nodes,
            "newest 100 receipts": lambda: ledger.fleet.receipts(limit=100),
            "100 older receipts": lambda: ledger.fleet.receipts(limit=100, before=middle),
            "newest 100 receipts of a node": lambda: ledger.fleet.receipts(keys[3], limit=100),
            "newest 100 verdicts": lambda: ledger.verdicts.verdicts(limit=100),
            "verdicts of a node": lambda: ledger.verdicts.verdicts(node=keys[3], limit=100),
            "failures": lambda: ledger.verdicts.verdicts(outcome="contradicted", limit=100),
            "counts of jobs": ledger.jobs.count,
            "root and a proof": lambda: ledger.log.consistency(ledger.log.size // 2),
        }
        found = {}
        for name, call in asked.items():
            times = []
            for _ in range(9):
                start = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - start))
            found[name] = max(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (
        ("auditors", 8),
        ("jobs", 2000),
        ("at-once", 8),
        ("nodes", 1000),
        ("receipts", 10**6),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        places: dict[str, Callable[[str], str]] = {
            "SQLite": lambda name: f"{folder}/{name}.db",
            "PostgreSQL": lambda name: server.new_schema(),
        }
        for kind, new in places.items():
            if options.jobs:
                speed = jobs_per_second(new("jobs"), options.auditors, options.jobs, options.at_once)
                print(
                    f"{kind}: {options.auditors} auditors, {options.at_once} at once: {speed:.0f} jobs/s",
                    flush=True,
                )
            if options.receipts:
                where = new("fleet")
                start = time.monotonic()
                keys = fill(where, options.nodes, options.receipts)
                print(f"{kind}: {options.receipts} receipts in {time.monotonic() - start:.0f} s", flush=True)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                for name, ms in queries(where, keys).items():
                    print(f"{kind}: {name}: {ms:.1f} ms", flush=True)
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
                print(f"{kind}: {grown:.0f} MiB more memory at the most", flush=True)


if __name__ == "__main__":
    main()
