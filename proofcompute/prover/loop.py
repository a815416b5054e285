"""Compute what a runner has taken: what its thread does, one turn after the other.

Requests join and leave between two steps. What a step computed reaches their tickets at once, and then, where
the backend is for one thread, pieces of others' work are made (:mod:`.turns`).
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from threading import Lock
from typing import final

from proofcompute.engine import Engine, Session
from proofcompute.errors import DeviceError, InputError, ProofcomputeError, StoppedError
from proofcompute.logs import service_log, short
from proofcompute.prover.admission import Job
from proofcompute.prover.desk import Desk
from proofcompute.prover.finishing import Committer, shorten
from proofcompute.prover.node import Answer
from proofcompute.prover.reporting import RunnerEvents, RunnerState, report
from proofcompute.prover.ticket import Bell
from proofcompute.prover.turns import Turns

__all__ = ["Loop"]

_log = service_log(__name__)


@final
class Loop:
    """The only caller of an engine."""

    def __init__(
        self, engine: Engine, desk: Desk, turns: Turns, committer: Committer, events: RunnerEvents | None
    ) -> None:
        self._engine = engine
        self._desk = desk
        self._turns = turns
        self._committer = committer
        self._events = events
        self._guard = Lock()
        self._commits: list[Future[None]] = []
        """Commits whose outcome the thread has not seen."""
        self.live: list[Job] = []
        """Jobs whose sessions the engine computes. Only the thread changes it."""

    def run(self) -> None:
        """Compute until the runner is closed or the device fails."""
        try:
            while self._turn():
                pass
        except DeviceError as error:
            self._desk.fail(error)
            _log.error("the device failed, so the runner ends: %s", error)

    def _turn(self) -> bool:
        """Let requests leave and join, run a step, make pieces for others, and return whether to go on."""
        leaving = self._desk.leaving(self.live, self._busy)
        if leaving is None:
            return False
        for future in self._committed():
            future.result()  # raises what ends the runner; an error of one request is its ticket's
        bell = Bell()
        seconds = None
        try:
            with self._turns.using():
                for job in leaving:
                    self._leave(job, bell)
                self._join(bell)
                if self.live:
                    seconds = self._step(bell)
        finally:
            bell.ring()
        asked = any(not job.recomputation for job in self.live)
        self._turns.work(seconds if asked else None)
        return True

    def _busy(self) -> bool:
        with self._guard:
            committed = any(future.done() for future in self._commits)
        return bool(self.live) or committed or self._turns.waiting

    def _committed(self) -> list[Future[None]]:
        """Return the commits that have ended, and forget them."""
        with self._guard:
            ended = [future for future in self._commits if future.done()]
            self._commits = [future for future in self._commits if future not in ended]
        return ended

    def _join(self, bell: Bell) -> None:
        while (job := self._desk.next(self.live)) is not None:
            try:
                job.session = self._engine.add(
                    job.ticket.request, job.known, share=job.share, scope=job.scope
                )
            except (InputError, MemoryError) as error:
                self._settle(job, error, bell)
            else:
                self.live.append(job)

    def _leave(self, job: Job, bell: Bell) -> None:
        """Remove a job that was cancelled; what it has computed gets an answer of its own."""
        cancelled = StoppedError("the request was cancelled")
        if self._desk.withdraw(job):
            self._settle(job, cancelled, bell, joined=False)
        elif job.session is not None and job in self.live:  # else it has ended meanwhile
            self.live.remove(job)
            self._engine.remove(job.session)
            if shorten(job.session):
                self._send(job, job.session, bell)
                self._commit(job, job.session)
            else:
                self._settle(job, cancelled, bell)

    def _step(self, bell: Bell) -> float:
        """Run a step, and return the seconds that it took."""
        running = {job.session: job for job in self.live if job.session is not None}
        before, start = sum(s.done - s.taken for s in running), time.monotonic()
        changed, failed = self._engine.step()
        seconds = time.monotonic() - start
        rows, tokens = sum(s.done - s.taken for s in running) - before, 0
        for session, error in failed:
            self.live.remove(running[session])
            self._settle(running[session], error, bell)
        for session in changed:
            if session.error is not None:
                continue  # known tokens that were computed before one differed
            tokens += self._send(running[session], session, bell)
            if not session.running:
                self.live.remove(running[session])
                self._commit(running[session], session)
        self._desk.measured(rows, seconds)
        if self._events is not None:
            self._events.stepped(rows, tokens, seconds)
        return seconds

    def _send(self, job: Job, session: Session, bell: Bell) -> int:
        """Hand new tokens to the ticket, and return their number."""
        tokens = session.answer[job.sent : session.emitted]
        if self._events is not None and tokens and not job.sent and not job.recomputation:
            self._events.first_token(time.monotonic() - job.ticket.submitted)
        job.sent += len(tokens)
        job.ticket.push(tokens, bell, session.reason)
        return len(tokens)

    # -- the end of a request --------------------------------------------------------------------------
    def _commit(self, job: Job, session: Session) -> None:
        future = self._committer.submit(self._sign, job, session)
        with self._guard:
            self._commits.append(future)
        future.add_done_callback(lambda _: self._desk.wake())

    def _sign(self, job: Job, session: Session) -> None:
        """Commit to a finished session's trace and sign its receipt, in the committing thread."""
        bell = Bell()
        try:
            self._settle(job, session if job.recomputation else self._committer.answer(session), bell)
        except (ProofcomputeError, MemoryError) as error:
            if isinstance(error, DeviceError) and not isinstance(error, MemoryError):
                raise  # to the runner's thread, which ends
            request = short(session.request.digest)
            _log.error("request %s was not committed: %s", request, type(error).__name__)
            self._settle(job, error, bell)
        finally:
            bell.ring()

    def _settle(
        self, job: Job, outcome: Answer | Session | BaseException, bell: Bell, *, joined: bool = True
    ) -> None:
        """Give a ticket its outcome, unless it has one."""
        if not job.ticket.settle(outcome, bell):
            return
        self._desk.end(job, joined=joined)
        if self._events is not None:
            report(self._events, outcome, cancelled=job.ticket.cancelled)

    # -- the end of the runner -------------------------------------------------------------------------
    def end(self) -> None:
        """Fail all tickets that are left; nothing is computed any more."""
        if self._desk.state not in (RunnerState.STOPPED, RunnerState.FAILED):
            self._desk.fail(
                StoppedError("the runner ended by a fault in the program, whose traceback was printed")
            )
        error = self._desk.failure or StoppedError("the runner was closed")
        self._turns.end(error)  # the committing thread may wait for a piece
        self._committer.close()
        bell = Bell()
        for job in self._desk.clear():
            self._settle(job, error, bell)
        self.live.clear()
        bell.ring()
