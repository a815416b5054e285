"""Decide which requests a runner takes, and in which order they join its engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from proofcompute.engine import Session
from proofcompute.errors import BusyError, InputError, LimitError
from proofcompute.errors.arguments import given
from proofcompute.limits import GIB
from proofcompute.program.program import Program
from proofcompute.protocol.messages import Request
from proofcompute.prover.ticket import Ticket

__all__ = ["Admission", "Job", "RunnerLimits", "RunnerLoad", "rows_of"]

_NEWEST = 0.1
"""Weight of the newest step in the running mean of rows per second."""
_SOON, _LATE = 1.0, 120.0
"""Least and most seconds after which a refused client is told to ask again."""


@dataclass(frozen=True, kw_only=True)
class RunnerLimits:
    """How much a runner takes at a time."""

    live: int = 32
    """Most requests that are computed at the same time."""
    queued: int = 64
    """Most requests that wait."""
    trace_bytes: int = 4 * GIB
    """Most bytes of the traces of all requests that are computed and not yet committed to."""
    recomputing: int = 2
    """Most recomputations at the same time; they do not count as ``live``."""

    def __post_init__(self) -> None:
        for what in ("live", "queued", "trace_bytes", "recomputing"):
            if given(getattr(self, what), int, f"a runner's limit {what}") < 1:
                raise InputError(f"a runner's limit {what} is at least 1")


class RunnerLoad(NamedTuple):
    """How much a runner has taken."""

    live: int
    """Requests and recomputations that are computed now."""
    queued: int
    """Requests and recomputations that wait."""
    trace_bytes: int
    """Most bytes that the traces of those that are computed will take."""
    retry_after: float
    """Estimated seconds until half of all this is worked off, 1 to 120."""


def rows_of(request: Request, program: Program) -> int:
    """Return the most rows of the trace of a request that an engine for ``program`` accepts."""
    name, spec = program.inputs[0]
    prompt = len(dict(request.inputs)[name]) // spec.nbytes
    return prompt + (request.generation.max_tokens - 1 if request.generation else 0)


@dataclass(eq=False)
class Job:
    """A ticket with what the runner knows about it."""

    ticket: Ticket
    known: Sequence[int]
    share: float
    scope: bytes
    nbytes: int
    """Most bytes of the trace."""
    rows: int
    """Most rows of the trace, as an estimate of the work."""
    recomputation: bool
    session: Session | None = None
    """The session, once the job has joined."""
    sent: int = 0
    """Tokens that the ticket has."""

    def check(self, limits: RunnerLimits) -> None:
        """Raise InputError for a share outside 0..1, and LimitError for a trace that takes too much."""
        if not 0 < self.share <= 1:
            raise InputError(f"a share is above 0 and at most 1, not {self.share}")
        if self.nbytes > limits.trace_bytes:
            raise LimitError(
                f"the request's trace may take {self.nbytes} bytes, but the node has {limits.trace_bytes}: "
                "shorten the prompt or ask for fewer tokens"
            )


@final
class Admission:
    """The jobs that wait, and the memory that the others take. The runner's lock protects it."""

    def __init__(self, limits: RunnerLimits) -> None:
        self.limits = limits
        self.jobs: dict[Ticket, Job] = {}
        """All jobs that have not ended."""
        self.reserved = 0
        """Bytes of the traces of all jobs that have joined and not ended."""
        self.rate = 0.0
        """Running mean of rows per second; 0 before the first step."""
        self._queues: dict[bool, deque[Job]] = {False: deque(), True: deque()}

    @property
    def queued(self) -> int:
        """Number of jobs that wait."""
        return sum(map(len, self._queues.values()))

    def put(self, job: Job) -> None:
        """Let a job wait. Raises BusyError if as many as allowed wait already."""
        queue = self._queues[job.recomputation]
        if len(queue) >= self.limits.queued:
            raise BusyError("too many requests are waiting", self.retry_after())
        queue.append(job)
        self.jobs[job.ticket] = job

    def next(self, live: Iterable[Job]) -> Job | None:
        """Return the job that joins next, or None if none can now.

        A recomputation goes first, because the time for an opening is limited; while it waits for memory,
        nothing else joins.
        """
        joined = [job.recomputation for job in live]
        for recomputation, most in ((True, self.limits.recomputing), (False, self.limits.live)):
            queue = self._queues[recomputation]
            if queue and joined.count(recomputation) < most:
                fits = self.reserved + queue[0].nbytes <= self.limits.trace_bytes
                return queue[0] if fits else None
        return None

    def join(self, job: Job) -> None:
        """Take the memory of the job that :meth:`next` returned; it waits no longer."""
        self._queues[job.recomputation].popleft()
        self.reserved += job.nbytes

    def withdraw(self, job: Job) -> bool:
        """Let a job wait no longer, and return whether it waited."""
        queue = self._queues[job.recomputation]
        if job not in queue:
            return False
        queue.remove(job)
        return True

    def end(self, job: Job, *, joined: bool) -> None:
        """Forget a job, and give the memory back if it had ``joined``."""
        self.jobs.pop(job.ticket, None)
        if joined:
            self.reserved -= job.nbytes

    def clear(self) -> list[Job]:
        """Let no job wait, and return all that have not ended."""
        for queue in self._queues.values():
            queue.clear()
        return list(self.jobs.values())

    def measured(self, rows: int, seconds: float) -> None:
        """Take a step into the running mean of rows per second."""
        if rows and seconds:
            self.rate += (_NEWEST if self.rate else 1.0) * (rows / seconds - self.rate)

    def retry_after(self) -> float:
        """Estimate the seconds until half of the rows of all jobs are computed, 1 to 120."""
        if not self.rate:
            return _SOON
        ahead = sum(job.rows - (job.session.done if job.session else 0) for job in self.jobs.values())
        return min(max(ahead / 2 / self.rate, _SOON), _LATE)
