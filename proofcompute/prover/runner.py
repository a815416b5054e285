"""Run many requests at once in a thread of its own, for services and for programs that embed a node.

A runner is the only caller of its engine. Requests join and leave between two steps, and what a step computed
reaches their tickets at once. A finished request is hashed and signed by a second thread, while the engine
goes on with its neighbours. A DeviceError ends the runner: the device may compute anything afterwards, so
every ticket fails with that error and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Thread, current_thread
from typing import Final, final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine, Keep, Session
from proofcompute.errors import (
    BusyError,
    DeviceError,
    InputError,
    ProofcomputeError,
    StoppedError,
    UnsupportedError,
)
from proofcompute.errors.arguments import given
from proofcompute.logs import service_log, short
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.prover.admission import Admission, Job, RunnerLimits, RunnerLoad, rows_of
from proofcompute.prover.finishing import Committer, shorten
from proofcompute.prover.node import Answer
from proofcompute.prover.opener import TRACE_BYTES, Opener
from proofcompute.prover.reporting import RunnerEvents, RunnerState, report
from proofcompute.prover.ticket import Bell, Ticket

__all__ = ["RECOMPUTING", "Runner"]

_log = service_log(__name__)

RECOMPUTING: Final = 0.16
"""Share of the time that recomputations get by default while requests have rows."""


@final
class Runner(Thread):
    """A thread that computes many requests to one model at once, and signs their answers.

    Args:
        model: the model that the node serves, weights included.
        identity: the key pair that signs; None: a new one.
        device: name of a device (``cpu``, ``cuda``, ``numpy``, or ``auto`` for a GPU if there is one), or a
            backend. Several runners may share one. A GPU, which is for one thread only, is refused.
        retention: seconds for which every receipt promises that challenges are answered; None: those of the
            terms, or a week.
        terms: this node's signed terms, which every receipt names.
        limits: how much is taken at a time.
        rows: most rows of all requests in one step.
        chunk: most rows of one request in one step.
        keep: what the engine keeps of the rows.
        prefixes: most bytes of the cache of prefixes; 0: none.
        trace_bytes: most bytes of traces that are kept for openings, with ``Keep.ALL``; 0: none.
        events: is told what happens.

    Call :meth:`start` and :meth:`close`, or use it in a ``with`` or ``async with`` statement. Any thread and
    any event loop may call its methods.
    """

    def __init__(
        self,
        model: Model,
        identity: NodeIdentity | None = None,
        *,
        device: str | Kernels = "auto",
        retention: int | None = None,
        terms: Terms | None = None,
        limits: RunnerLimits | None = None,
        rows: int = 512,
        chunk: int = 256,
        keep: Keep = Keep.ALL,
        prefixes: int = 0,
        trace_bytes: int = TRACE_BYTES,
        events: RunnerEvents | None = None,
    ) -> None:
        given(model, Model, "a runner's model")
        super().__init__(name="proofcompute-runner", daemon=True)  # one that nobody closes ends with Python
        self.model = model
        self.identity = NodeIdentity.new() if identity is None else given(identity, NodeIdentity, "identity")
        self.public = self.identity.public
        self.terms = terms
        self.retention = retention_of(self.public, terms, retention)
        self.kernels = kernels_for(device) if isinstance(device, str) else device
        if self.kernels.ahead:  # docs/adr/0040: a wrong opening would convict an honest node
            raise UnsupportedError("a GPU computes for one thread at a time: serve on the cpu, or use Node")
        self.limits = limits or RunnerLimits()
        self.engine = Engine(
            model, self.kernels, node=self.public, rows=rows, chunk=chunk, keep=keep, prefixes=prefixes
        )
        self._events = events
        self._changed = Condition()
        self._state = RunnerState.NEW
        self._failure: BaseException | None = None
        self._admission = Admission(self.limits)
        self._leaving: list[Job] = []
        """Jobs that were cancelled since the last step."""
        self._live: list[Job] = []
        """Jobs whose sessions the engine computes. Only the thread changes it."""
        self._commits: list[Future[None]] = []
        """Commits whose outcome the thread has not seen."""
        self.opener = Opener(
            model, self.kernels, self.identity, compute=self.compute, trace_bytes=trace_bytes
        )
        """Opens the runner's answers; any thread may use it."""
        kept = self.opener if keep is Keep.ALL and trace_bytes else None
        self._committer = Committer(model, self.kernels, self.identity, self.retention, terms, kept)

    # -- what callers use --------------------------------------------------------------------------------
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

    @property
    def load(self) -> RunnerLoad:
        """How much the runner has taken."""
        with self._changed:
            waiting = self._admission
            return RunnerLoad(len(self._live), waiting.queued, waiting.reserved, waiting.retry_after())

    def submit(
        self, request: Request, answer: Sequence[int] = (), *, share: float = 1.0, scope: bytes = b""
    ) -> Ticket:
        """Take a request and return its ticket at once.

        ``answer`` holds tokens known from an interrupted run. See :meth:`proofcompute.Engine.add` for
        ``share`` and ``scope``.

        Raises MismatchError or InputError if the request is not one for this model and this node, LimitError
        if its trace takes more than the runner has, BusyError if there is too much work now or the runner is
        drained, StoppedError if it was closed, and the DeviceError that ended it.
        """
        return self._take(request, answer, share, scope, recomputation=False)

    def compute(self, request: Request, answer: Sequence[int], *, share: float = RECOMPUTING) -> Session:
        """Compute the trace of a finished answer again, and wait for it in the caller's thread.

        Raises the errors of :meth:`submit` and of :meth:`proofcompute.Ticket.answer`.
        """
        if current_thread() is self:
            raise InputError("the runner's own thread cannot wait for it")
        return self._take(request, answer, share, b"", recomputation=True).session()

    def drain(self, timeout: float) -> bool:
        """Take no more requests, and return whether all have ended within ``timeout`` seconds.

        Recomputations are still taken, so that openings that have begun can end.
        """
        self.refuse()
        with self._changed:
            return self._changed.wait_for(lambda: not self._admission.jobs, timeout)

    def refuse(self) -> None:
        """Take no more requests, and return at once; see :meth:`drain`."""
        with self._changed:
            if self._state in (RunnerState.NEW, RunnerState.RUNNING):
                self._state = RunnerState.DRAINING

    def close(self, timeout: float | None = None) -> bool:
        """Stop after the step that runs now, and return whether the thread ended in ``timeout`` seconds.

        Tickets without an answer fail with StoppedError. Call :meth:`drain` before, to let them finish.
        """
        with self._changed:
            if self._state is not RunnerState.FAILED:
                self._state = RunnerState.STOPPED
            self._changed.notify_all()
        if self.ident is None:
            self._end()
        elif current_thread() is not self:
            self.join(timeout)
        return not self.is_alive()

    def start(self) -> None:
        """Start the thread; StoppedError if it was started or closed before."""
        with self._changed:
            if self._state is not RunnerState.NEW:
                raise StoppedError("a runner is started once")
            self._state = RunnerState.RUNNING
        super().start()
        atexit.register(self.close)

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Runner:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _take(
        self, request: Request, answer: Sequence[int], share: float, scope: bytes, *, recomputation: bool
    ) -> Ticket:
        nbytes = self.engine.nbytes(given(request, Request, "a request"), answer)
        rows = rows_of(request, self.model.program)
        job = Job(Ticket(request, self._cancel), tuple(answer), share, scope, nbytes, rows, recomputation)
        job.check(self.limits)
        with self._changed:
            if self._state is RunnerState.FAILED:
                raise (self._failure or StoppedError("the runner failed")).with_traceback(None)
            if self._state is RunnerState.STOPPED:
                raise StoppedError("the runner was closed")
            if self._state is RunnerState.DRAINING and not recomputation:
                wait = self._admission.retry_after()
                raise BusyError("the node takes no more requests, because it is about to stop", wait)
            self._admission.put(job)
            self._changed.notify_all()
        return job.ticket

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            if (job := self._admission.jobs.get(ticket)) is not None:
                self._leaving.append(job)
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- the thread --------------------------------------------------------------------------------------
    def run(self) -> None:
        """Compute until the runner is closed; :meth:`start` calls this in a new thread."""
        try:
            while self._turn():
                pass
        except DeviceError as error:
            self._fail(error)
            _log.error("the device failed, so the runner ends: %s", error)
        finally:
            self._end()

    def _turn(self) -> bool:
        """Let requests leave and join, run a step, and return whether to go on."""
        with self._changed:
            self._changed.wait_for(self._awake)
            if self._state is RunnerState.STOPPED:
                return False
            ended = [future for future in self._commits if future.done()]
            self._commits = [future for future in self._commits if future not in ended]
            leaving, self._leaving = self._leaving, []
        for future in ended:
            future.result()  # raises what ends the runner; an error of one request is its ticket's
        bell = Bell()
        try:
            for job in leaving:
                self._leave(job, bell)
            self._join(bell)
            if self._live:
                self._step(bell)
        finally:
            bell.ring()
        return True

    def _awake(self) -> bool:
        return bool(
            self._live
            or self._leaving
            or self._state is RunnerState.STOPPED
            or any(future.done() for future in self._commits)
            or self._admission.next(self._live)
        )

    def _join(self, bell: Bell) -> None:
        while True:
            with self._changed:
                job = self._admission.next(self._live)
                if job is None:
                    return
                self._admission.join(job)
            try:
                job.session = self.engine.add(job.ticket.request, job.known, share=job.share, scope=job.scope)
            except (InputError, MemoryError) as error:
                self._settle(job, error, bell)
            else:
                self._live.append(job)

    def _leave(self, job: Job, bell: Bell) -> None:
        """Remove a job that was cancelled; what it has computed gets an answer of its own."""
        cancelled = StoppedError("the request was cancelled")
        with self._changed:
            waited = self._admission.withdraw(job)
        if waited:
            self._settle(job, cancelled, bell, joined=False)
        elif job.session is not None and job in self._live:  # else it has ended meanwhile
            self._live.remove(job)
            self.engine.remove(job.session)
            if shorten(job.session):
                self._send(job, job.session, bell)
                self._commit(job, job.session)
            else:
                self._settle(job, cancelled, bell)

    def _step(self, bell: Bell) -> None:
        running = {job.session: job for job in self._live if job.session is not None}
        before, start = sum(s.done for s in running), time.monotonic()
        changed, failed = self.engine.step()
        seconds = time.monotonic() - start
        rows, tokens = sum(s.done for s in running) - before, 0
        for session, error in failed:
            self._live.remove(running[session])
            self._settle(running[session], error, bell)
        for session in changed:
            if session.error is not None:
                continue  # known tokens that were computed before one differed
            tokens += self._send(running[session], session, bell)
            if not session.running:
                self._live.remove(running[session])
                self._commit(running[session], session)
        with self._changed:
            self._admission.measured(rows, seconds)
        if self._events is not None:
            self._events.stepped(rows, tokens, seconds)

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
        with self._changed:
            self._commits.append(future)
        future.add_done_callback(lambda _: self._wake())

    def _sign(self, job: Job, session: Session) -> None:
        """Commit to a finished session's trace and sign its receipt, in the committing thread."""
        bell = Bell()
        try:
            self._settle(job, session if job.recomputation else self._committer.answer(session), bell)
        except DeviceError:
            raise  # to the runner's thread, which ends
        except (ProofcomputeError, MemoryError) as error:
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
        with self._changed:
            self._admission.end(job, joined=joined)
            self._changed.notify_all()
        if self._events is not None:
            report(self._events, outcome, cancelled=job.ticket.cancelled)

    # -- the end of the runner -------------------------------------------------------------------------
    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._state, self._failure = RunnerState.FAILED, error.with_traceback(None)

    def _end(self) -> None:
        """Fail all tickets that are left; nothing is computed any more."""
        if self.state not in (RunnerState.STOPPED, RunnerState.FAILED):
            self._fail(
                StoppedError("the runner ended by a fault in the program, whose traceback was printed")
            )
        self._committer.close()
        atexit.unregister(self.close)
        bell = Bell()
        with self._changed:
            left = self._admission.clear()
        for job in left:
            self._settle(job, self.failure or StoppedError("the runner was closed"), bell)
        self._live.clear()
        bell.ring()
