"""Auditors as processes of their own, which take jobs and record verdicts until none is left.

Run as a program: WHERE SEED RECEIPTS AT_ONCE LEASE. Each verdict is about the job's receipt, and the last
line says how many jobs this process finished. A database that is away is waited for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from ledger.world import MODEL, NODES, digest, receipt
from proofcompute.auditing.patience import patiently
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.ledger import PARTS, AuditVerdict, Done, Ledger, NewJob, NewNode
from proofcompute.protocol.messages import Outcome


def prepare(where: str, count: int, due: float = 0.0) -> None:
    """A ledger with so many receipts, each to be audited once, from a time on."""
    with Ledger.make(where) as ledger:
        for key in NODES:
            ledger.fleet.add_node(NewNode(key, "http://127.0.0.1:1"))
        for start in range(0, count, 500):
            some = [receipt(n, n % len(NODES)) for n in range(start, min(count, start + 500))]
            about = [(one.digest, one.node) for one in some]
            ledger.fleet.add_receipts(some)
            ledger.jobs.add(
                *(NewJob(name=d.hex(), kind="audit", node=n, receipt=d, due=due) for d, n in about)
            )


def work(where: str, seed: str, at_once: int, lease: float) -> int:
    """Take jobs and finish them until none is left that this process could wait for."""
    identity, finished = NodeIdentity(digest(("crowd", seed))), 0
    with patiently(lambda: Ledger(where)) as ledger:
        while True:
            jobs = patiently(lambda: ledger.jobs.lease(seed, lease, limit=at_once))
            if jobs:
                done = [Done(job, (_verdict(job.receipt or b"", job.node or b"", identity),)) for job in jobs]
                finished += sum(patiently(lambda done=done: ledger.jobs.finish(*done)))  # type: ignore[misc]
            elif patiently(ledger.jobs.count)["done"] == patiently(lambda: _all(ledger)):
                return finished
            else:
                time.sleep(0.05)


def _all(ledger: Ledger) -> int:
    return sum(ledger.jobs.count().values())


def _verdict(about: bytes, node: bytes, identity: NodeIdentity) -> AuditVerdict:
    known = REQUESTS.get(about)
    return AuditVerdict(
        receipt_digest=about,
        request_digest=known or b"",
        model_id=MODEL,
        node=node,
        check="replay",
        outcome=Outcome("accepted"),
        detection=PARTS,
        made=int(1000 * time.time()),
    ).signed(identity)


REQUESTS: dict[bytes, bytes] = {}
"""The request's digest of each receipt."""


def know(count: int) -> None:
    """Remember what the first receipts are about."""
    REQUESTS.update((one.digest, one.request_digest) for one in (receipt(n) for n in range(count)))


def started(
    where: str, seed: object, count: int, at_once: int = 1, lease: float = 600.0
) -> subprocess.Popen[str]:
    """Start an auditor's process."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [os.path.dirname(here), here, os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, __file__, where, str(seed), str(count), str(at_once), str(lease)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Wait for auditors, and return how many jobs each finished."""
    found = []
    for process in processes:
        out, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
        found.append(int(out.splitlines()[-1]))
    return found


if __name__ == "__main__":
    know(int(sys.argv[3]))
    print(work(sys.argv[1], sys.argv[2], int(sys.argv[4]), float(sys.argv[5])))
