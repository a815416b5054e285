"""The challenge of a job is written before it is sent, and read again by whoever takes the job over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.world import NODES, filled, receipt
from proofcompute.auditing.challenging import challenge_of, note_challenge
from proofcompute.errors import Cell, FormatError, InputError, LedgerError, LimitError
from proofcompute.ledger import NewJob
from proofcompute.limits import MAX_CELLS
from proofcompute.protocol.messages import Challenge


def test_a_challenge_is_noted_and_read_again(where: str) -> None:
    challenge = Challenge(receipt(0).digest, (Cell(0, 0, 3), Cell(1, 2, 5)))
    with filled(where) as ledger:
        ledger.jobs.add(NewJob(name="one", kind="drawn", node=NODES[0], body={"model": "m"}))
        (job,) = ledger.jobs.lease("a", 60.0)
        assert challenge_of(job) is None
        note_challenge(ledger, job, challenge)
        assert ledger.jobs.release(job, 0.0)
        (again,) = ledger.jobs.lease("b", 60.0)
        assert challenge_of(again) == challenge
        assert again.body["model"] == "m"
        with pytest.raises(LedgerError, match="by now"):
            note_challenge(ledger, job, challenge)


@pytest.mark.parametrize("found", [5, "", "no base64", "AAAA", ["AAAA"]])
def test_what_is_no_challenge_is_refused(found: object, where: str) -> None:
    with filled(where) as ledger:
        ledger.jobs.add(NewJob(name="one", kind="drawn"))
        (job,) = ledger.jobs.lease("a", 60.0)
    with pytest.raises((FormatError, InputError)):
        challenge_of(replace(job, body={"challenge": found}))


def test_a_challenge_that_no_job_can_hold_is_not_sent(where: str) -> None:
    cells = tuple(Cell(0, 2 * n, 2 * n + 1) for n in range(MAX_CELLS))
    with filled(where) as ledger:
        ledger.jobs.add(NewJob(name="one", kind="drawn"))
        (job,) = ledger.jobs.lease("a", 60.0)
        with pytest.raises(LimitError):
            note_challenge(ledger, job, Challenge(receipt(0).digest, cells))
        note_challenge(ledger, job, Challenge(receipt(0).digest, cells[: 1 << 16]))
