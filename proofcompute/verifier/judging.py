"""Judge a bundle of evidence by the steps of docs/spec/evidence.md#verifying-a-bundle.

E1. The bundle decodes, limits hold, nothing is missing and nothing is left over.
E2. The auditor's signature holds, and the opening has the digest that was signed.
E3. The node signed the receipt, and the receipt names the request.
E4. The receipt names this version of the arithmetic.
E5. Terms, challenge and request, which the auditor chose, belong to the receipt and to the model.
E6. The terms are signed, and the receipt passes steps 1 to 5.
E7. The challenge is one that the node must answer.
E8. The node signed the opening, frame by frame.
E9. The opening passes steps 1, 2 and 6 to 10.
E10. A replay gives the receipt's answer and trace root.

An honest node is safe, because whatever counts against it is covered by its own signatures: the request and
the terms by digests in the receipt, challenge and opening by the closing frame. What the auditor alone chose
makes a bundle invalid (EvidenceError) and never the node guilty. A node's lie stays attributable, because
replay needs nothing but the receipt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.version import NUMERICS
from proofcompute.errors import MismatchError, VerificationError
from proofcompute.errors.arguments import given
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Challenge, Outcome, Receipt, Request, Terms
from proofcompute.verifier.findings import EvidenceVerdict, Finding, Known, conclude
from proofcompute.verifier.judge import Judge, JudgeProgress
from proofcompute.verifier.judging_openings import judge_opening
from proofcompute.verifier.judging_receipts import (
    challenge_chosen,
    claim_of,
    receipt_sent,
    request_chosen,
    signed_for,
    terms_of,
)
from proofcompute.verifier.key import Key
from proofcompute.verifier.proven import ProofHolds
from proofcompute.verifier.result import Verified

__all__ = ["JudgeProgress", "verify_evidence"]

_log = service_log(__name__)


def verify_evidence(
    bundle: Bundle,
    holds: Key | Model | ModelCard | ProofHolds,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    auditor: bytes | None = None,
    request: Request | None = None,
    progress: JudgeProgress | None = None,
) -> EvidenceVerdict:
    """Decide again what a bundle of evidence says, believing nothing of it.

    Args:
        bundle: the bundle, as it was read.
        holds: what the judge has of the model: a key of its own, the model, its public key (as
            :class:`proofcompute.public.openings.ByPublicProof`), or its card. With a card, no cell is
            checked; the verdict says so.
        kernels: the backend.
        node: public key of the node that it must be about; None: any.
        auditor: public key of the auditor that must have made it; None: any.
        request: the request, if the bundle does not disclose it and the judge has it.
        progress: is called as the judge proceeds.

    Raises:
        EvidenceError: the bundle says nothing about anybody: its auditor did not sign it, or it holds things
            that do not belong together, each of them the auditor's to choose.
        MismatchError: it is about another model, node, auditor or request than the caller's.
        InputError: a key was used too often.
    """
    given(bundle, Bundle, "a bundle of evidence")
    evidence = bundle.evidence
    if auditor is not None and evidence.auditor != auditor:
        raise MismatchError(f"the evidence is another auditor's, {evidence.auditor.hex()}")
    if request is not None:
        evidence = evidence.with_request(request)
    bundle.check()  # E2; E1 was when it was read
    judge = Judge(replace(bundle, evidence=evidence), holds, kernels, progress or _quiet)
    verdict = _Judging(judge).decide(node)
    _log.info(
        "evidence about request %s: auditor %s says %s, found %s",
        short(evidence.request_digest),
        short(evidence.auditor),
        evidence.outcome.kind,
        verdict.finding.value,
    )
    return verdict


def _quiet(stage: str, done: int, total: int) -> None:
    """Show no progress."""


def _promised(challenge: Challenge | None, terms: Terms | None) -> bool:
    """Return whether the node's terms, if they are known, promise the proof that a challenge asks for."""
    if challenge is None or challenge.proof is None or terms is None:
        return True
    return challenge.proof.public_id in terms.proofs


@dataclass(eq=False)
class _Judging:
    """What a judge has come to so far."""

    judge: Judge
    node: bytes | None = None
    receipt_digest: bytes | None = None
    verified: Verified | None = None
    replayed: bool = False
    check: str = ""

    def decide(self, node: bytes | None) -> EvidenceVerdict:
        """Carry out the steps from E3 on."""
        judge, receipt = self.judge, receipt_sent(self.judge)
        if isinstance(receipt, str):
            return self._verdict(Finding.UNATTRIBUTABLE, receipt)
        self.receipt_digest = receipt.digest
        self.node, foreign = signed_for(judge, receipt)
        if foreign:
            return self._verdict(Finding.UNATTRIBUTABLE, foreign)
        if node is not None and receipt.node != node:
            raise MismatchError(f"the evidence is about another node, {receipt.node.hex()}")
        if receipt.numerics != NUMERICS:  # E4
            return self._verdict(
                Finding.UNDECIDED,
                f"the receipt names version {receipt.numerics} of the arithmetic; here is version {NUMERICS}",
            )
        challenge, request = challenge_chosen(judge, receipt), request_chosen(judge, receipt)
        terms = terms_of(judge)
        try:
            self.check = "receipt"
            claim = claim_of(judge, receipt, terms, request)
            self.check = "cells"
            doubt, self.verified = judge_opening(judge, receipt, claim, challenge)
            opening_holds = self.verified is not None
            if self._replay_decides(receipt) and request is not None:
                self.check = "replay"
                self._replay(request)
            if opening_holds:  # whoever holds a key comes to the same
                self.check = "cells"
            elif not self.replayed:
                self.check = "receipt" if claim is not None else ""
        except VerificationError as e:
            return self._contradicted(e)
        known = Known(
            receipt_holds=claim is not None,
            doubt=doubt,
            opening_holds=opening_holds,
            answer_holds=self.replayed,
            waited=judge.evidence.waited / 1000,
            allowed=None if terms is None else terms.deadline(receipt.rows, math.inf),
            promised=_promised(challenge, terms),
        )
        return self._verdict(*conclude(judge.evidence.outcome, known))

    def _replay_decides(self, receipt: Receipt) -> bool:
        """Return whether to compute the answer again, with the model, since something is still open."""
        judge = self.judge
        if receipt.pipeline is not None:
            judge.unchecked.append("the cells of other stages: another trace root may be their nodes' fault")
            return False
        if judge.evidence.outcome.kind == "accepted" and self.verified is not None:
            judge.unchecked.append("the cells that were not opened")
            return False
        if not isinstance(judge.holds, Model):
            judge.unchecked.append("whether the whole answer is right: a replay takes the model")
            return False
        return True

    def _replay(self, request: Request) -> None:
        """Compute the answer again (E10). Raises VerificationError if the receipt is false."""
        from proofcompute.verifier.replay import replay  # only replaying takes an engine

        judge = self.judge
        model = given(judge.holds, Model, "the model")
        model.require_roots(judge.kernels.hash_rows, judge.weights())
        receipt = judge.evidence.receipt
        rows = Receipt.decode(receipt).rows
        self.verified = replay(
            model,
            request,
            receipt,
            kernels=judge.kernels,
            progress=lambda done: judge.progress("replay", done, rows),
        )
        self.replayed = True
        judge.checked.append("the whole answer and the trace root, computed again")

    def _contradicted(self, error: VerificationError) -> EvidenceVerdict:
        found = Outcome("contradicted", error.step, error.cell, error.operation or "")
        self.verified = None
        return self._verdict(Finding.CONTRADICTED, str(error), found)

    def _verdict(
        self, finding: Finding, reason: str, contradiction: Outcome | None = None
    ) -> EvidenceVerdict:
        judge = self.judge
        return EvidenceVerdict(
            finding=finding,
            reason=reason,
            claimed=judge.evidence.outcome,
            contradiction=contradiction,
            auditor=judge.evidence.auditor,
            node=self.node,
            request_digest=judge.evidence.request_digest,
            receipt_digest=self.receipt_digest,
            verified=self.verified,
            replayed=self.replayed,
            check=self.check,
            checked=tuple(judge.checked),
            unchecked=tuple(judge.unchecked),
        )
