"""Keep what a runner has taken, and whether it takes more. Any thread may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Condition
from typing import final

from proofcompute.errors import BusyError, StoppedError
from proofcompute.prover.admission import Admission, Job, RunnerLimits, RunnerLoad
from proofcompute.prover.reporting import RunnerState
from proofcompute.prover.ticket import Ticket

__all__ = ["Desk"]


@final
class Desk:
    """The jobs of a runner that have not ended, and its state."""

    def __init__(self, limits: RunnerLimits) -> None:
        self._changed = Condition()
        self._state = RunnerState.NEW
        self._failure: BaseException | None = None
        self._admission = Admission(limits)
        self._leaving: list[Job] = []
        """Jobs that were cancelled since the last step."""

    # -- the state ---------------------------------------------------------------------------------------
    @property
    def state(self) -> RunnerState:
        """What the runner does now."""
        with self._changed:
            return self._state

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the runner; None if it did not fail."""
        with self._changed:
            return self._failure

    def load(self, live: int) -> RunnerLoad:
        """Return how much the runner has taken, of which ``live`` jobs are computed."""
        with self._changed:
            waiting = self._admission
            return RunnerLoad(live, waiting.queued, waiting.reserved, waiting.retry_after())

    def start(self) -> None:
        """Note that the runner starts; StoppedError if it was started or closed before."""
        with self._changed:
            if self._state is not RunnerState.NEW:
                raise StoppedError("a runner is started once")
            self._state = RunnerState.RUNNING

    def refuse(self) -> None:
        """Take no more requests."""
        with self._changed:
            if self._state in (RunnerState.NEW, RunnerState.RUNNING):
                self._state = RunnerState.DRAINING

    def stop(self) -> None:
        """Take nothing more, and let the runner's thread end."""
        with self._changed:
            if self._state is not RunnerState.FAILED:
                self._state = RunnerState.STOPPED
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Note the error that ends the runner."""
        with self._changed:
            self._state, self._failure = RunnerState.FAILED, error.with_traceback(None)

    # -- for callers of the runner -----------------------------------------------------------------------
    def take(self, job: Job) -> None:
        """Let a job wait. Raises as :meth:`proofcompute.Runner.submit`."""
        with self._changed:
            if self._state is RunnerState.FAILED:
                raise (self._failure or StoppedError("the runner failed")).with_traceback(None)
            if self._state is RunnerState.STOPPED:
                raise StoppedError("the runner was closed")
            if self._state is RunnerState.DRAINING and not job.recomputation:
                wait = self._admission.retry_after()
                raise BusyError("the node takes no more requests, because it is about to stop", wait)
            self._admission.put(job)
            self._changed.notify_all()

    def cancel(self, ticket: Ticket) -> None:
        """Let a ticket's job leave before the next step."""
        with self._changed:
            if (job := self._admission.jobs.get(ticket)) is not None:
                self._leaving.append(job)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let the runner's thread look whether there is something to do."""
        with self._changed:
            self._changed.notify_all()

    def ended(self, timeout: float) -> bool:
        """Wait until all jobs have ended, and return whether they did within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._admission.jobs, timeout)

    # -- for the runner's thread -------------------------------------------------------------------------
    def leaving(self, live: Iterable[Job], busy: Callable[[], bool]) -> list[Job] | None:
        """Wait for something to do, and return the jobs that leave; None if the runner was closed.

        ``busy`` says whether there is more to do than requests say that leave, wait to join or are ``live``.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._leaving
                    or self._state is RunnerState.STOPPED
                    or busy()
                    or self._admission.next(live)
                )
            )
            if self._state is RunnerState.STOPPED:
                return None
            leaving, self._leaving = self._leaving, []
            return leaving

    def next(self, live: Iterable[Job]) -> Job | None:
        """Return the job that joins the live ones now, or None."""
        with self._changed:
            job = self._admission.next(live)
            if job is not None:
                self._admission.join(job)
            return job

    def withdraw(self, job: Job) -> bool:
        """Let a job wait no longer, and return whether it waited."""
        with self._changed:
            return self._admission.withdraw(job)

    def measured(self, rows: int, seconds: float) -> None:
        """Note how many rows a step had, and how long it took."""
        with self._changed:
            self._admission.measured(rows, seconds)

    def end(self, job: Job, *, joined: bool) -> None:
        """Forget a job, and give its memory back if it had ``joined``."""
        with self._changed:
            self._admission.end(job, joined=joined)
            self._changed.notify_all()

    def clear(self) -> list[Job]:
        """Let no job wait, and return all that have not ended."""
        with self._changed:
            return self._admission.clear()
