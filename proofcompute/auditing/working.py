"""Carry out one audit job: canaries to a node, or an answer that a gateway kept.

Each verdict is in the ledger as soon as it is found, before the job is finished: whoever takes the job again
after a kill finds other canaries, and nothing that was found is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, Final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.auditing.challenging import challenge_of, is_late, note_challenge
from proofcompute.auditing.fleet import FleetModel, FleetNode
from proofcompute.auditing.patience import patiently
from proofcompute.auditing.scheduling import CANARY, Plan
from proofcompute.auditing.turning import receipt_of, verdict_of
from proofcompute.client import campaign, libraries
from proofcompute.client.asking import Asker
from proofcompute.client.budget import Budget, Meter
from proofcompute.client.canaries import Traffic
from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction, evidence_of
from proofcompute.client.entries import FAILED, Begun, Verdict
from proofcompute.client.line import Line
from proofcompute.client.pins import Pins, Served
from proofcompute.client.tally import Tally
from proofcompute.client.verdicts import about_answer, audited_state
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    VerificationError,
)
from proofcompute.ledger import AuditVerdict, Job, Ledger
from proofcompute.ledger.recording import MAX_KEPT_EVIDENCE
from proofcompute.limits import MAX_EVIDENCE
from proofcompute.models.card import ModelCard
from proofcompute.protocol.messages import Request, Terms
from proofcompute.verifier import check_receipt
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["ANSWER", "DRAWN", "Worked", "Worker", "kept_answer"]

ANSWER: Final = "answer"
"""The kind of jobs about answers whose request and receipt the ledger has; the body names the ``model``."""
DRAWN: Final = "drawn"
"""The kind of jobs about answers of which a gateway drew that they are audited; the body names the ``model``.
The gateway has taken the job, and whoever takes it after the deadline makes the audit in its place."""
Failed = Callable[[AuditVerdict, bytes], None]
"""Is called with a verdict against a node, and the digest of evidence that the ledger has of it, or empty."""


@dataclass
class Worked:
    """What a job came to."""

    states: dict[str, int] = field(default_factory=dict)
    """Answers and canaries by what they came to."""
    stopped: str = ""
    """Why it was not carried out to its end."""
    tokens: int = 0
    nbytes: int = 0

    def note(self, state: str) -> None:
        """Count one."""
        self.states[state] = self.states.get(state, 0) + 1


class Worker:
    """Does what jobs ask for, with an auditor's keys.

    Args:
        ledger: where verdicts and evidence go.
        nodes: the fleet's nodes.
        models: the fleet's models.
        identity: signs verdicts and evidence.
        plan: how much is audited.
        device: name of a device, or a backend.
        patience: the most seconds to wait for an answer or an opening.
        failed: hears of verdicts against nodes.
        library: the module httpx or httpx2; None: whichever is installed.
        inner: returns the transport to a node; None: the library's own.
    """

    def __init__(
        self,
        ledger: Ledger,
        nodes: Mapping[bytes, FleetNode],
        models: Mapping[str, FleetModel],
        identity: NodeIdentity,
        plan: Plan,
        *,
        device: str | Kernels = "cpu",
        patience: float = 600.0,
        failed: Failed | None = None,
        library: ModuleType | None = None,
        inner: Callable[[FleetNode], Any] | None = None,
    ) -> None:
        self._ledger, self._nodes, self._models = ledger, nodes, models
        self._identity, self._plan, self._patience = identity, plan, patience
        self._kernels = kernels_for(device) if isinstance(device, str) else device
        self._failed = failed or (lambda verdict, evidence: None)
        self._library = libraries.load() if library is None else library
        self._inner = inner

    def knows(self, job: Job) -> bool:
        """Whether a job is about a node and a model that this auditor knows."""
        return (job.node or b"") in self._nodes and str(job.body.get("model")) in self._models

    def work(self, job: Job, budget: Budget) -> Worked:
        """Carry out a job within what is left of the budget.

        Raises InputError for a job about nodes or models that this auditor does not know.
        """
        node = self._nodes.get(job.node or b"")
        model = self._models.get(str(job.body.get("model")))
        if node is None or model is None:  # as `knows` says
            raise InputError(
                f"the job {job.name!r} is about a node or a model that this auditor does not know"
            )
        meter = Meter(budget)
        if job.kind == CANARY:
            return self._canaries(job, node, model, meter)
        return self._answer(job, node, model, meter)

    # -- canaries --------------------------------------------------------------------------------------------
    def _canaries(self, job: Job, node: FleetNode, model: FleetModel, meter: Meter) -> Worked:
        worked, tally = Worked(), Tally()
        tally.take(Begun(node.url, model.card.model_id.hex()))
        pins = Pins(model.card)
        served = pins.served(model.card.model_id) or Served(model.card)
        asker = Asker(
            node.url,
            pins,
            library=self._library,
            line=Line(self._library, meter, patience=self._patience, fresh=True, inner=self._to(node)),
            meter=meter,
            node=node.key,
            key=node.api_key,
        )
        challenger = self._challenger(node, model, meter)
        name = str(job.body["model"])
        running = campaign.Campaign(
            asker,
            Traffic(name, chat=bool(model.card.template), key=node.api_key, max_tokens=self._plan.max_tokens),
            campaign.Plan(_count_of(job), self._plan.cells, self._plan.replay),
            served=served,
            tally=tally,
            meter=meter,
            write=tally.take,
            tell=lambda verdict, about: self._tell(verdict, about, node, model),
            challenger=challenger,
        )
        try:
            running.run()
        finally:
            asker.close()
            challenger.close()
        worked.states = {str(state): n for state, n in tally.states.items()}
        worked.stopped, worked.tokens, worked.nbytes = running.stopped, tally.tokens, meter.nbytes
        return worked

    def _tell(
        self, verdict: Verdict, about: Audited | Contradiction | None, node: FleetNode, model: FleetModel
    ) -> Mapping[str, Any]:
        audited = about.audited if isinstance(about, Contradiction) else about
        if audited is None:
            # a response that contradicts itself, or silence: nothing that the node signed
            return {}
        self._record(audited, verdict, node, model)
        return {}

    def _record(self, audited: Audited, verdict: Verdict, node: FleetNode, model: FleetModel) -> None:
        """Write an audit into the ledger, with evidence if it counts against the node."""
        receipt = audited.checked.claim.receipt
        if receipt.node != node.key:
            return  # an asker that pins the key lets none of these pass
        patiently(lambda: self._ledger.fleet.add_receipts([receipt_of(audited.checked)]))
        evidence = b""
        if verdict.state in FAILED:
            evidence = self._evidence(audited, model)
        made = verdict_of(audited, verdict.state, extent=self._ledger.policy.extent, evidence=evidence)
        if made is None:
            return
        signed = made.signed(self._identity)
        patiently(lambda: self._ledger.verdicts.record(signed))
        if verdict.state in FAILED:
            self._failed(signed, evidence)

    def _evidence(self, audited: Audited, model: FleetModel) -> bytes:
        """Keep a bundle of evidence, and return its digest; empty if nobody else could judge it."""
        bundle, _ = evidence_of(audited, model.card, self._identity)
        if bundle is None:
            return b""
        if bundle.evidence.opening_size + MAX_EVIDENCE > MAX_KEPT_EVIDENCE:
            return b""  # too large for a database; the verdict stands without it
        digest, data = audited.checked.claim.receipt.digest, bundle.encode()
        return patiently(lambda: self._ledger.verdicts.keep_evidence(digest, data))

    # -- answers that a gateway kept -------------------------------------------------------------------------
    def _answer(self, job: Job, node: FleetNode, model: FleetModel, meter: Meter) -> Worked:
        worked = Worked()
        if job.receipt is None:
            raise InputError(f"the job {job.name!r} names no receipt")
        receipt = job.receipt
        if job.kind == DRAWN and self._has_said(receipt):  # and was killed before the job was finished
            return worked
        checked = patiently(lambda: kept_answer(self._ledger, receipt, model.card))
        if job.kind == DRAWN and not self._plan.replay and is_late(job, checked, time.time()):
            raise InputError("the time is over in which the node promised to answer challenges")
        challenger = self._challenger(node, model, meter)
        try:
            if self._plan.replay:
                audited = challenger.replay(checked)
            else:
                cells = self._plan.cells
                chosen = cells.choose() if isinstance(cells, AuditPolicy) else cells
                audited = challenger.audit(
                    checked,
                    "all" if chosen is None else chosen,
                    earlier=challenge_of(job),
                    drawn=partial(note_challenge, self._ledger, job),
                )
            deadline = challenger.auditor(checked.terms).deadline(checked.claim)
        finally:
            challenger.close()
        state = audited_state(audited, deadline)
        self._record(audited, about_answer(0, 0, state, checked, audited.found), node, model)
        worked.note(state)
        worked.nbytes = meter.nbytes
        return worked

    def _has_said(self, receipt: bytes) -> bool:
        """Whether the ledger has a verdict of this auditor about a receipt."""
        found = patiently(lambda: self._ledger.verdicts.of_receipt(receipt))
        return any(one.verdict.auditor == self._identity.public for one in found)

    def _challenger(self, node: FleetNode, model: FleetModel, meter: Meter) -> Challenger:
        headers = {} if node.api_key is None else {"authorization": f"Bearer {node.api_key}"}
        return Challenger(
            node.url,
            model.holds,
            device=self._kernels,
            node=node.key,
            patience=self._patience,
            inner=Line(self._library, meter, inner=self._to(node)),
            library=self._library,
            headers=headers,
        )

    def _to(self, node: FleetNode) -> Any:
        return None if self._inner is None else self._inner(node)


def kept_answer(ledger: Ledger, digest: bytes, card: ModelCard) -> Checked:
    """Return an answer of the ledger, as it was when its receipt had been checked.

    Raises InputError if it is not there, or none of this model's, and StorageError if the database is away.
    """
    known, answer = ledger.fleet.receipt(digest), ledger.fleet.answer(digest)
    if known is None or answer is None:
        raise InputError(f"the ledger has no request and receipt {digest.hex()}")
    terms = ledger.fleet.terms(known.node)
    try:
        request = Request.decode(answer[0])
        claim = check_receipt(card, request, answer[1])
    except (FormatError, LimitError, VerificationError) as e:
        raise InputError(f"the answer {digest.hex()} in the ledger cannot be audited: {e}") from e
    named = next((t for t in terms if _digest_of(t) == known.terms_digest), None)
    by = "client" if known.nonce_by == "client" else "node"
    return Checked(request, answer[1], claim, by, named, known.made, known.seconds)  # type: ignore[arg-type]


def _count_of(job: Job) -> int:
    count = job.body.get("count")
    if type(count) is not int or not 1 <= count <= 1000:
        raise InputError(f"the job {job.name!r} says no number of canaries")
    return count


def _digest_of(terms: bytes) -> bytes:
    return Terms.decode(terms).digest
