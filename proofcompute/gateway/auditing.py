"""Audit a planned share of the answers in the background, and say what each came to.

What takes long is computed by a process for each model, of a lower priority than this one: a thread of this
process would hold the interpreter's lock, or a core, while an answer waits for it (docs/adr/0081).

The share is drawn after the receipt has come, so a node does not know which answers are audited. Audits by
openings, with public proofs or without, go to the node that gave the answer; a replay asks nobody. Verdicts
come after the client has the answer; its assurance rises, or it is contradicted and the node is asked no
more.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.entries import FAILED, State
from proofcompute.client.verdicts import audited_state
from proofcompute.errors import ProofcomputeError, VerificationError
from proofcompute.gateway.federation import Audits, ModelEntry
from proofcompute.gateway.fleet import Member
from proofcompute.gateway.records import Audit, Record
from proofcompute.logs import service_log
from proofcompute.models.card import ModelCard
from proofcompute.models.file import ModelFile
from proofcompute.models.model import Model
from proofcompute.public.key import PublicKey
from proofcompute.public.openings import ByPublicProof
from proofcompute.scaling import Auditing as AuditingWork
from proofcompute.scaling import AuditWork, Standing
from proofcompute.verifier import Key, Verified

__all__ = ["Auditing", "Held", "Job"]

_log = service_log(__name__)

MOST: Final = 64
"""Answers of one node that wait for their audits, before it is asked no more until some are done."""
_RANDOM: Final = secrets.SystemRandom()
_BEHIND: Final = 10
"""By how much audits stand behind answers (``nice``). They still get a tenth of what an answer gets, several
times what a usual share of audits takes, so none waits for ever."""


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
class Job:
    """One choice of an answer that is audited."""

    member: Member
    record: Record
    at: int
    checked: Checked


class Auditing:
    """Audits in the background: one answer of each node at a time.

    No audit that was drawn is left out for want of time. While MOST of a node's answers wait for theirs, the
    node is not asked, so one that opens slowly delays nobody else.

    Args:
        held: what is held of each audited model.
        kernels: the backend that computes, where no process does.
        patience: the most seconds to wait for an opening.
        ended: is called in the audit's thread with each verdict.
        left_out: is called for each audit that came to no verdict, with the reason.
    """

    def __init__(
        self,
        held: dict[str, Held],
        kernels: Kernels,
        patience: float,
        ended: Callable[[Job, Audit, Audited, State], None],
        left_out: Callable[[str], None],
    ) -> None:
        self._held, self._kernels, self._patience = held, kernels, patience
        self._ended, self._left_out = ended, left_out
        self._challengers: dict[tuple[str, str], Challenger] = {}
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._waiting: Counter[str] = Counter()
        self._lock, self._computing = Lock(), Lock()

    def full(self, node: str) -> bool:
        """Whether so many answers of a node wait for their audits that it should not be asked."""
        return self._waiting[node] >= MOST

    def consider(self, job: Job) -> bool:
        """Draw whether a choice is audited; if so it is soon. Return whether it is."""
        held = self._held.get(job.record.model)
        if held is None or _RANDOM.random() >= held.plan.share:
            return False
        with self._lock:
            self._waiting[job.member.name] += 1
        self._of(job.member.name).submit(self._run, job, held)
        return True

    def start(self) -> None:
        """Start the processes that compute, so that the first audit need not wait for them."""
        for held in self._held.values():
            if held.process is not None:
                held.process.start()

    def call(self, node: str, function: Callable[[], None]) -> None:
        """Call a function in the thread of a node's audits."""
        self._of(node).submit(self._guarded, function)

    def close(self) -> None:
        """Finish the audits that run, and drop those that wait."""
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)
        for held in self._held.values():
            if held.process is not None:
                held.process.stop()
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

    def _run(self, job: Job, held: Held) -> None:
        start = time.monotonic()
        try:
            challenger = self._challenger(job.member, job.record.model, held)
            if held.plan.by == "replay":
                with self._computing:  # one at a time, since each takes all cores
                    audited = challenger.replay(job.checked)
            else:
                audited = challenger.audit(job.checked, held.plan.cells)
            deadline = challenger.auditor(job.checked.terms).deadline(job.checked.claim)
            state = audited_state(audited, deadline)
            if state != "verified" and state not in FAILED:
                self._left_out(state)
                return
            self._ended(job, _audit_of(audited, held.plan.by, time.monotonic() - start), audited, state)
        except ProofcomputeError as e:  # the gateway's own fault, such as a key that is used up
            _log.error("an answer could not be audited", extra={"error": str(e)})
            self._left_out("fault")
        finally:
            with self._lock:
                self._waiting[job.member.name] -= 1


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
