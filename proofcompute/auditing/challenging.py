"""Send the challenge of an audit again that whoever had its job did not finish.

A node answers few different challenges of one receipt and refuses others, so an auditor that takes a job over
must not draw another one: the job has the challenge before the node has it. Neither does it ask when the time
is over in which the node promised to answer: the node is not to blame for who had the job before.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

from proofcompute.auditing.patience import patiently
from proofcompute.client.checked import Checked
from proofcompute.errors import FormatError, LedgerError
from proofcompute.ledger import Job, Ledger
from proofcompute.protocol.messages import Challenge

__all__ = ["challenge_of", "is_late", "note_challenge"]

_FIELD: Final = "challenge"


def challenge_of(job: Job) -> Challenge | None:
    """Return the challenge that was sent for a job; None: none was.

    Raises FormatError, InputError or LimitError for what is none.
    """
    found = job.body.get(_FIELD)
    if found is None:
        return None
    try:
        return Challenge.decode(b64decode(found, validate=True))
    except (TypeError, ValueError) as e:
        raise FormatError(f"the job {job.name!r} has a challenge that is none: {e}") from e


def is_late(job: Job, checked: Checked, now: float) -> bool:
    """Whether a job was taken over after the time in which the node promised to answer challenges.

    Whoever has a job first asks in time, whatever the node promised: its refusal counts.

    Args:
        job: the job, as it was taken.
        checked: the answer.
        now: seconds since the Unix epoch.
    """
    return job.attempts > 1 and now - checked.when > checked.claim.receipt.retention


def note_challenge(ledger: Ledger, job: Job, challenge: Challenge) -> None:
    """Write the challenge of a job, before it is sent.

    Raises LedgerError if somebody else has the job by now, LimitError for more cells than a job can
    hold (65,536 fit), and StorageError if the database stays away.
    """
    body = {**job.body, _FIELD: b64encode(challenge.encode()).decode()}
    if not patiently(lambda: ledger.jobs.note(job, body)):
        raise LedgerError(f"another auditor has the job {job.name!r} by now")
