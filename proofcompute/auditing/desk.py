"""Work at a ledger's audit jobs, beside other auditors: schedule, take, carry out, finish.

A job is taken for some minutes, and a heartbeat moves the deadline while it is worked on. If this process is
killed, another auditor takes the job when the deadline has passed. A database that is away for a while is
waited for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.auditing.committee import SIGN, Committee
from proofcompute.auditing.events import DeskEvents, JobEvent, NoEvents
from proofcompute.auditing.fleet import FleetModel, FleetNode
from proofcompute.auditing.patience import patiently
from proofcompute.auditing.scheduling import CANARY, Plan, schedule
from proofcompute.auditing.working import ANSWER, DRAWN, Worked, Worker
from proofcompute.client.budget import Budget
from proofcompute.errors import EquivocationError, InputError, ProofcomputeError, StorageError
from proofcompute.ledger import Done, Job, Ledger, NewNode
from proofcompute.logs import service_log

__all__ = ["Desk", "Told"]

_log = service_log(__name__)

LEASE: Final = 120.0
"""Seconds for which a job is taken; a heartbeat comes three times in them."""
_IDLE: Final = 1.0
AGAIN: Final = 60.0
"""Seconds after which a job that could not be done is tried again."""
ATTEMPTS: Final = 5
"""How often a job is taken before it is finished undone."""

Told = Callable[[Job, dict[str, Any]], None]
"""Is called with each job that was carried out, and its result."""


@dataclass
class Spent:
    """What a run cost, and what it came to."""

    jobs: int = 0
    states: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    nbytes: int = 0
    stopped: str = ""
    """Why the run ended before the work did; empty if it did not."""


class Desk:
    """One auditor's work at a ledger.

    Args:
        ledger: the ledger that the auditors share.
        nodes: the fleet's nodes; they are added to the ledger.
        models: the fleet's models.
        worker: carries out audits.
        plan: what is scheduled, and the budget of this run.
        owner: a name for this auditor, of its own.
        committee: the quorum that this auditor is a member of, if any.
        kernels: the backend that decides about evidence.
        told: hears of jobs that were carried out.
        events: hears of all that happens to jobs, to count it.
        lease: seconds for which a job is taken.
        clock: seconds since the Unix epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        nodes: Sequence[FleetNode],
        models: Sequence[FleetModel],
        worker: Worker,
        plan: Plan,
        *,
        owner: str,
        kernels: Kernels,
        committee: Committee | None = None,
        told: Told | None = None,
        events: DeskEvents | None = None,
        lease: float = LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._nodes, self._worker, self._plan = ledger, nodes, worker, plan
        self._models = {model.name: model for model in models}
        self._owner, self._committee, self._kernels = owner, committee, kernels
        self._told = told or (lambda job, result: None)
        self._events = events or NoEvents()
        self._lease, self._clock = lease, clock
        self._stop = threading.Event()
        self._began = time.monotonic()
        self.spent = Spent()
        """What this run cost so far."""

    @property
    def budget(self) -> Budget:
        """What this run may cost."""
        return self._plan.budget

    @property
    def passed(self) -> float:
        """Seconds since the desk was made."""
        return time.monotonic() - self._began

    def stop(self) -> None:
        """End the run after the job at hand. Any thread may call it, and the handler of a signal."""
        self._stop.set()

    def run(self, *, until_idle: bool = False) -> Spent:
        """Work until the budget is used up or somebody stops it; with ``until_idle``, until no job is due.

        Raises StorageError if the database stays away.
        """
        for node in self._nodes:
            new = NewNode(node.key, node.url, node.name)
            patiently(partial(self._ledger.fleet.add_node, new))
        while not self._stop.is_set():
            left = self._left()
            if left is None:
                break
            if not until_idle:
                patiently(lambda: schedule(self._ledger, self._nodes, self._plan, self._clock()))
            job = patiently(self._take)
            if job is not None:
                self._events.job(job, "leased")
                self._carry_out(job, left)
            elif until_idle:
                break
            else:
                self._stop.wait(_IDLE)
        return self.spent

    def _take(self) -> Job | None:
        """Take one job that is due: what the committee needs comes first."""
        if self._committee is not None:
            for job in self._ledger.jobs.lease(self._committee.owner, self._lease, kinds=[SIGN]):
                return job
        for job in self._ledger.jobs.lease(self._owner, self._lease, kinds=[CANARY, ANSWER, DRAWN]):
            return job
        return None

    def _left(self) -> Budget | None:
        """Return what is left of the budget; None: nothing."""
        budget, spent = self._plan.budget, self.spent
        left = Budget(
            None if budget.tokens is None else budget.tokens - spent.tokens,
            None if budget.seconds is None else int(budget.seconds - self.passed),
            None if budget.nbytes is None else budget.nbytes - spent.nbytes,
        )
        if any(one is not None and one <= 0 for one in (left.tokens, left.seconds, left.nbytes)):
            spent.stopped = spent.stopped or "the budget is used up"
            return None
        return left

    def _carry_out(self, job: Job, left: Budget) -> None:
        """Carry out a job and finish it, or give it back."""
        if job.kind == DRAWN and not self._worker.knows(job):
            # no audit that was drawn is lost because somebody looked at it who cannot make it
            self._release(job, self._clock() + AGAIN, untried=True)
            return
        if job.attempts > ATTEMPTS:  # whoever took it was killed each time
            self._finish(job, {"error": "given up"}, "given_up")
            return
        event: JobEvent = "finished"
        with self._heartbeat(job):
            try:
                result, stopped = self._work(job, left)
            except (EquivocationError, StorageError):
                raise
            except ProofcomputeError as e:
                # this auditor's own fault or the node's: another may do better, but not for ever
                _log.error("a job could not be carried out", extra={"job": job.name, "error": str(e)})
                if job.attempts < ATTEMPTS:
                    self._release(job, self._clock() + AGAIN)
                    return
                result, stopped, event = {"error": str(e)[:1000]}, "", "given_up"
        if stopped:
            self.spent.stopped = stopped
            self._release(job, self._clock())
            self._stop.set()
            return
        self._finish(job, result, event)
        self.spent.jobs += 1
        self._told(job, result)

    def _finish(self, job: Job, result: dict[str, Any], event: JobEvent) -> None:
        """Finish a job; it is another auditor's if the lease ended before."""
        (held,) = patiently(lambda: self._ledger.jobs.finish(Done(job, (), result)))
        self._events.job(job, event if held else "expired")

    def _release(self, job: Job, due: float, *, untried: bool = False) -> None:
        """Give a job back, to be taken again from a time on."""
        held = patiently(lambda: self._ledger.jobs.release(job, due, untried=untried))
        self._events.job(job, "given_back" if held else "expired")

    def _work(self, job: Job, left: Budget) -> tuple[dict[str, Any], str]:
        if job.kind == SIGN:
            if self._committee is None:
                raise InputError("this auditor is in no committee")
            sign = partial(self._committee.sign, self._ledger, job, self._models, self._kernels, self._clock)
            return patiently(sign), ""  # what was signed before is there once
        worked: Worked = self._worker.work(job, left)
        self._events.worked(job, worked)
        self.spent.states.update(worked.states)
        self.spent.tokens += worked.tokens
        self.spent.nbytes += worked.nbytes
        return {"states": worked.states, "tokens": worked.tokens}, worked.stopped

    @contextmanager
    def _heartbeat(self, job: Job) -> Iterator[None]:
        """Move the deadline of a job while the block runs."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._lease / 3):
                with suppress(StorageError):  # the next one may do
                    if self._ledger.jobs.heartbeat(job, self._lease) is None:
                        return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
