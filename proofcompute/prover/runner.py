"""Run many requests at once in a thread of its own, for services and for programs that embed a node.

A runner is the only caller of its engine. Requests join and leave between two steps, and what a step computed
reaches their tickets at once. A finished request is hashed and signed by a second thread, while the engine
goes on with its neighbours; on a GPU, the runner's thread hashes it between two steps (:mod:`.turns`). A
DeviceError ends the runner: the device may compute anything afterwards, so every ticket fails with that error
and nothing is tried again. A lack of memory ends only what lacks it.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Sequence
from threading import Thread, current_thread
from typing import Final, final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine, Keep, Session
from proofcompute.errors import InputError
from proofcompute.errors.arguments import given
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.prover.admission import Job, RunnerLimits, RunnerLoad, rows_of
from proofcompute.prover.desk import Desk
from proofcompute.prover.finishing import Committer
from proofcompute.prover.loop import Loop
from proofcompute.prover.opener import TRACE_BYTES, Opener
from proofcompute.prover.reporting import RunnerEvents, RunnerState
from proofcompute.prover.ticket import Ticket
from proofcompute.prover.turns import turns_for

__all__ = ["RECOMPUTING", "Runner"]

RECOMPUTING: Final = 0.16
"""Share of the time that recomputations get by default while requests have rows."""


@final
class Runner(Thread):
    """A thread that computes many requests to one model at once, and signs their answers.

    Args:
        model: the model that the node serves, weights included.
        identity: the key pair that signs; None: a new one.
        device: name of a device (``cpu``, ``cuda``, ``numpy``, or ``auto`` for a GPU if there is one), or a
            backend. Several runners may share one; nothing else may use that of a GPU meanwhile.
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
        self.limits = limits or RunnerLimits()
        self._desk = Desk(self.limits)
        turns = turns_for(self.kernels, self, self._desk.wake)
        with turns.using():
            self.engine = Engine(
                model, self.kernels, node=self.public, rows=rows, chunk=chunk, keep=keep, prefixes=prefixes
            )
        self.opener = Opener(
            model, self.kernels, self.identity, compute=self.compute, trace_bytes=trace_bytes, turns=turns
        )
        """Opens the runner's answers; any thread may use it, on a GPU while the runner runs."""
        kept = self.opener if keep is Keep.ALL and trace_bytes else None
        committer = Committer(model, self.kernels, self.identity, self.retention, terms, kept, turns)
        self._loop = Loop(self.engine, self._desk, turns, committer, events)

    @property
    def state(self) -> RunnerState:
        """What the runner does now."""
        return self._desk.state

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the runner; None if it did not fail."""
        return self._desk.failure

    @property
    def load(self) -> RunnerLoad:
        """How much the runner has taken."""
        return self._desk.load(len(self._loop.live))

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

    def _take(
        self, request: Request, answer: Sequence[int], share: float, scope: bytes, *, recomputation: bool
    ) -> Ticket:
        nbytes = self.engine.nbytes(given(request, Request, "a request"), answer)
        rows = rows_of(request, self.model.program)
        ticket = Ticket(request, self._desk.cancel)
        job = Job(ticket, tuple(answer), share, scope, nbytes, rows, recomputation)
        job.check(self.limits)
        self._desk.take(job)
        return ticket

    def drain(self, timeout: float) -> bool:
        """Take no more requests, and return whether all have ended within ``timeout`` seconds.

        Recomputations are still taken, so that openings that have begun can end.
        """
        self.refuse()
        return self._desk.ended(timeout)

    def refuse(self) -> None:
        """Take no more requests, and return at once; see :meth:`drain`."""
        self._desk.refuse()

    # -- the thread --------------------------------------------------------------------------------------
    def run(self) -> None:
        """Compute until the runner is closed; :meth:`start` calls this in a new thread."""
        try:
            self._loop.run()
        finally:
            self._end()

    def start(self) -> None:
        """Start the thread; StoppedError if it was started or closed before."""
        self._desk.start()
        super().start()
        atexit.register(self.close)

    def close(self, timeout: float | None = None) -> bool:
        """Stop after the step that runs now, and return whether the thread ended in ``timeout`` seconds.

        Tickets without an answer fail with StoppedError. Call :meth:`drain` before, to let them finish.
        """
        self._desk.stop()
        if self.ident is None:
            self._end()
        elif current_thread() is not self:
            self.join(timeout)
        return not self.is_alive()

    def _end(self) -> None:
        self._loop.end()
        atexit.unregister(self.close)

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
