"""Name what happens to an auditor's jobs, for whoever counts it."""

from __future__ import annotations

from typing import Literal, Protocol, final

from proofcompute.auditing.working import Worked
from proofcompute.ledger import Job

__all__ = ["DeskEvents", "JobEvent", "NoEvents"]

JobEvent = Literal["leased", "finished", "given_back", "given_up", "expired"]
"""``given_back``: it is due again; ``given_up``: it failed too often; ``expired``: the lease ended before the
work did, and another auditor has the job."""


class DeskEvents(Protocol):
    """Hears of a desk's work as it happens, in the desk's thread."""

    def job(self, job: Job, event: JobEvent) -> None:
        """Something happened to a job."""

    def worked(self, job: Job, worked: Worked) -> None:
        """Audits of a job were made, whether or not it is finished."""


@final
class NoEvents:
    """Nobody counts."""

    def job(self, job: Job, event: JobEvent) -> None:
        """See :class:`DeskEvents`."""

    def worked(self, job: Job, worked: Worked) -> None:
        """See :class:`DeskEvents`."""
