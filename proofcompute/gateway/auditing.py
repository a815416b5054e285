"""Audit a planned share of the answers in the background, and say what each came to.

What takes long is computed by a process for each model, of a lower priority than this one: a thread of this
process would hold the interpreter's lock, or a core, while an answer waits for it (docs/adr/0081).

The share is drawn after the receipt has come, so a node does not know which answers are audited, and the draw
is written with the receipt (docs/adr/0093): what waits here is in the ledger too, as jobs that this gateway
holds, and others make it if the gateway dies. Audits by openings, with public proofs or without, go to the
node that gave the answer; a replay asks nobody. Verdicts come after the client has the answer; its assurance
rises, or it is contradicted and the node is asked no more.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.auditing.challenging import challenge_of, is_late
from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.entries import FAILED, State
from proofcompute.client.verdicts import audited_state
from proofcompute.errors import ProofcomputeError, StorageError, VerificationError
from proofcompute.gateway.federation import Audits, ModelEntry
from proofcompute.gateway.fleet import Member
from proofcompute.gateway.journal import Books
from proofcompute.gateway.records import Audit, Record
from proofcompute.ledger import Job
from proofcompute.logs import service_log
from proofcompute.models.card import ModelCard
from proofcompute.models.file import ModelFile
from proofcompute.models.model import Model
from proofcompute.public.key import PublicKey
from proofcompute.public.openings import ByPublicProof
from proofcompute.scaling import Auditing as AuditingWork
from proofcompute.scaling import AuditWork, Standing
from proofcompute.verifier import Key, Verified

__all__ = ["Auditing", "Drawn", "Held"]

_log = service_log(__name__)

MOST: Final = 64
"""Answers of one node that wait for their audits, before it is asked no more until some are done."""
_RANDOM: Final = secrets.SystemRandom()
_BEHIND: Final = 10
"""By how much audits stand behind answers (``nice``). They still get a tenth of what an answer gets, several
times what a usual share of audits takes, so none waits for ever."""
_LEAST: Final = 1.0
"""Seconds that leaving jobs to others may take at the end, however long audits were waited for."""


@dataclass(frozen=True)
class Held:
    """What is held of a model to audit its answers."""

    plan: Audits
    holds: Model | Key | ModelCard | ByPublicProof
    """What challenges are drawn with; the card of a model that the process alone holds."""
    process: Standing[AuditWork, Verified | VerificationError] | None
    """What computes; None: the threads of this process."""

    @staticmethod
    def of(entry: ModelEntry, device: str | None, patience: float) -> Held | None:
        """Load what the audits of a model take; None if it is not audited. Raises InputError.

        Args:
            entry: the model.
            device: name of the device of a process that computes; None: this process does.
            patience: the most seconds that an opening may take.
        """
        plan = entry.audit
        if plan is None:
            return None
        keyed = plan.by == "opening" and entry.key is not None
        path = Path((entry.public if plan.by == "public" else entry.key if keyed else entry.weights) or "")
        process = None
        if device is not None:
            work = AuditingWork(str(path), device=device, patience=patience)
            process = Standing(work, device, behind=_BEHIND)
        if plan.by == "public":
            return Held(plan, ByPublicProof(PublicKey.load(path)), process)
        if keyed:
            return Held(plan, Key.load(path), process)
        if process is not None and plan.by == "replay":
            return Held(plan, ModelFile.open(path).card, process)
        return Held(plan, Model.load(path), process)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One choice of an answer that is audited."""

    member: Member
    record: Record
    checked: Checked
    job: Job
    """The job of the audit, which this gateway has taken."""


class Auditing:
    """Audits in the background: one answer of each node at a time.

    No audit that was drawn is left out for want of time. While MOST of a node's answers wait for theirs, the
    node is not asked, so one that opens slowly delays nobody else.

    Args:
        held: what is held of each audited model.
        kernels: the backend that computes, where no process does.
        patience: the most seconds to wait for an opening.
        books: where jobs are held, and what came to no verdict is written.
        ended: is called in the audit's thread with each verdict.
        left_out: is called for each audit that came to no verdict, with the reason.
    """

    def __init__(
        self,
        held: dict[str, Held],
        kernels: Kernels,
        patience: float,
        books: Books,
        ended: Callable[[Drawn, Audit, Audited, State], None],
        left_out: Callable[[str], None],
    ) -> None:
        self._held, self._kernels, self._patience = held, kernels, patience
        self._books, self._ended, self._left_out = books, ended, left_out
        self._challengers: dict[tuple[str, str], Challenger] = {}
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._waiting: Counter[str] = Counter()
        self._jobs: dict[int, Job] = {}
        self._hold_at = 0.0
        """When :meth:`hold` is due, by the monotonic clock."""
        self._futures: dict[Future[None], bool] = {}
        self._closed = False
        self._lock, self._computing = Lock(), Lock()

    def full(self, node: str) -> bool:
        """Whether so many answers of a node wait for their audits that it should not be asked."""
        return self._waiting[node] >= MOST

    @property
    def cards(self) -> dict[str, ModelCard]:
        """The cards of the models whose answers are audited, by name."""
        return {
            name: held.holds if isinstance(held.holds, ModelCard) else held.holds.card
            for name, held in self._held.items()
        }

    def draws(self, model: str) -> bool:
        """Draw whether an answer is audited; nothing but the model's share decides with the draw."""
        held = self._held.get(model)
        return held is not None and _RANDOM.random() < held.plan.share

    def add(self, drawn: Drawn) -> None:
        """Audit an answer soon; one whose audit this gateway has already is left alone."""
        held, name = self._held[drawn.record.model], drawn.member.name
        with self._lock:
            if drawn.job.id in self._jobs or self._closed:
                return  # at the end, it is others' when the lease ends
            self._jobs[drawn.job.id] = drawn.job
            self._waiting[name] += 1
        self._submit(name, partial(self._run, drawn, held), audits=True)

    def hold(self) -> None:
        """Keep what waits and what runs from being taken by others, as often as the books want it.

        Raises StorageError.
        """
        now = time.monotonic()
        if now < self._hold_at:
            return
        with self._lock:
            jobs = list(self._jobs.values())
        self._books.hold(jobs)
        self._hold_at = now + self._books.often

    def start(self) -> None:
        """Start the processes that compute, so that the first audit need not wait for them."""
        for held in self._held.values():
            if held.process is not None:
                held.process.start()

    def call(self, node: str, function: Callable[[], None]) -> None:
        """Call a function in the thread of a node's audits."""
        self._submit(node, partial(self._guarded, function), audits=False)

    def _submit(self, node: str, function: Callable[[], None], *, audits: bool) -> None:
        threads = self._of(node)
        with self._lock:
            if self._closed:
                _log.error("evidence could not be kept", extra={"error": "the gateway has ended"})
                return
            future = threads.submit(function)
            self._futures[future] = audits
        future.add_done_callback(self._forget)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._futures.pop(future, None)

    def close(self, seconds: float) -> None:
        """Finish the audits that run, and leave those to others that wait or are not finished in time.

        Args:
            seconds: for which what runs is waited for.
        """
        end = time.monotonic() + seconds
        with self._lock:
            self._closed = True
            futures = dict(self._futures)
        running = [future for future, audits in futures.items() if not (audits and future.cancel())]
        late = wait(running, seconds).not_done
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            jobs = list(self._jobs.values())
            self._jobs.clear()
        # a thread of its own, since a database that is away may keep it
        leaving = Thread(target=self._books.let_go, args=(jobs,), name="audits-left", daemon=True)
        leaving.start()
        leaving.join(max(_LEAST, end - time.monotonic()))
        for held in self._held.values():
            if held.process is not None:
                held.process.stop()
        if not late:
            for challenger in self._challengers.values():
                challenger.close()

    def settle(self) -> None:
        """Wait until nothing that was drawn by now is left to be audited."""
        for threads in list(self._threads.values()):
            threads.submit(lambda: None).result()

    def _of(self, node: str) -> ThreadPoolExecutor:
        with self._lock:
            if node not in self._threads:
                self._threads[node] = ThreadPoolExecutor(1, f"audits-{node[:20]}")
            return self._threads[node]

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except ProofcomputeError as e:
            _log.error("evidence could not be kept", extra={"error": str(e)})

    def _challenger(self, member: Member, model: str, held: Held) -> Challenger:
        key = member.name, model  # no other thread audits this node
        if key not in self._challengers:
            headers = {k: v for k, v in member.headers.items() if k == "authorization"}
            self._challengers[key] = Challenger(
                member.entry.url,
                held.holds,
                device=self._kernels,
                node=member.entry.public,
                patience=self._patience,
                headers=headers,
                elsewhere=held.process,
            )
        return self._challengers[key]

    def _run(self, drawn: Drawn, held: Held) -> None:
        start, checked = time.monotonic(), drawn.checked
        try:
            challenger = self._challenger(drawn.member, drawn.record.model, held)
            if held.plan.by == "replay":
                with self._computing:  # one at a time, since each takes all cores
                    audited = challenger.replay(checked)
            elif is_late(job := drawn.job, checked, time.time()):
                self._undone(job, "late")
                return
            else:
                audited = challenger.audit(
                    checked,
                    held.plan.cells,
                    earlier=challenge_of(job),
                    drawn=lambda challenge: self._books.drew(job, challenge),
                )
            deadline = challenger.auditor(checked.terms).deadline(checked.claim)
            state = audited_state(audited, deadline)
            if state != "verified" and state not in FAILED:
                self._undone(drawn.job, state)
                return
            self._ended(drawn, _audit_of(audited, held.plan.by, time.monotonic() - start), audited, state)
        except ProofcomputeError as e:  # the gateway's own fault, such as a key that is used up
            _log.error("an answer could not be audited", extra={"error": str(e)})
            self._undone(drawn.job, "fault")
        finally:
            with self._lock:
                self._waiting[drawn.member.name] -= 1
                self._jobs.pop(drawn.job.id, None)

    def _undone(self, job: Job, why: str) -> None:
        """Give an audit back that came to no verdict, or count it as left out if nobody tries again."""
        try:
            if self._books.undone(job, why):
                self._left_out(why)
        except StorageError as e:  # others take it when the lease ends
            _log.error("an audit cannot be given back", extra={"job": job.name, "error": str(e)})


def _audit_of(audited: Audited, by: str, seconds: float) -> Audit:
    found = audited.found
    cells = () if audited.challenge is None else tuple(audited.challenge.cells)
    if isinstance(found, Verified):
        whole = by == "replay" or found.complete
        return Audit(
            "fully audited" if whole else "sampled",
            by,
            time.time(),
            seconds,
            cells,
            detects_one=1.0 if whole else found.detects_one,
        )
    return Audit("contradicted", by, time.time(), seconds, cells, failed=found.cell, error=str(found))
