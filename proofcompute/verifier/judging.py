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
from collections.abc import Callable
from dataclasses import dataclass, field

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.version import NUMERICS
from proofcompute.commitments.hashing import message_digest
from proofcompute.commitments.signing import signature_holds
from proofcompute.errors import EvidenceError, InputError, MismatchError, VerificationError
from proofcompute.errors.arguments import given
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import signed_frames
from proofcompute.protocol.messages import Challenge, Outcome, Receipt, Request, Terms
from proofcompute.protocol.messages.terms import SUITE
from proofcompute.protocol.openable import require_openable
from proofcompute.protocol.receipts import check_signer, decoded
from proofcompute.protocol.requests import inputs_of
from proofcompute.verifier.claim import check_challenge, check_receipt
from proofcompute.verifier.findings import NOT_CHALLENGED, EvidenceVerdict, Finding, Known, conclude
from proofcompute.verifier.frames import frame_limits
from proofcompute.verifier.holders import Holder, KeyHolder, WeightsHolder
from proofcompute.verifier.key import Key
from proofcompute.verifier.keymaking import keygen
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verify import audit

__all__ = ["JudgeProgress", "verify_evidence"]

_log = service_log(__name__)

JudgeProgress = Callable[[str, int, int], None]
"""Is called with the name of a stage (``weights``, ``cells``, ``replay``), the bytes or rows that are done
since the last call, and those of the whole stage."""


def verify_evidence(
    bundle: Bundle,
    holds: Key | Model | ModelCard,
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
        holds: what the judge has of the model: a key of its own, the model, or its card. With a card, no cell
            is checked; the verdict says so.
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
    judge = _Judge(Bundle(evidence, bundle.opening), holds, kernels, progress or _quiet)
    verdict = judge.judge(node)
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


@dataclass(eq=False)
class _Judge:
    """What a judge knows so far."""

    bundle: Bundle
    holds: Key | Model | ModelCard
    kernels: Kernels
    progress: JudgeProgress
    checked: list[str] = field(default_factory=lambda: ["the auditor's signature over the whole bundle"])
    unchecked: list[str] = field(default_factory=list)
    node: bytes | None = None
    receipt_digest: bytes | None = None
    verified: Verified | None = None
    opening_holds: bool = False
    replayed: bool = False

    @property
    def card(self) -> ModelCard:
        """The card of the model that the judge holds."""
        return self.holds.card

    def judge(self, node: bytes | None) -> EvidenceVerdict:
        """Carry out the steps from E3 on."""
        receipt = self._receipt()
        if isinstance(receipt, str):
            return self._verdict(Finding.UNATTRIBUTABLE, receipt)
        if node is not None and receipt.node != node:
            raise MismatchError(f"the evidence is about another node, {receipt.node.hex()}")
        if receipt.numerics != NUMERICS:  # E4
            return self._verdict(
                Finding.UNDECIDED,
                f"the receipt names version {receipt.numerics} of the arithmetic; here is version {NUMERICS}",
            )
        encoded, challenge, request = self._chosen(receipt)
        terms = self._terms(encoded)
        try:
            claim = self._claim(receipt, terms, request)
            doubt = self._opening(receipt, claim, challenge)
            if self._replay_decides() and request is not None:
                self._replay(request)
        except VerificationError as e:
            return self._contradicted(e)
        return self._conclude(receipt, terms, doubt, whole=claim is not None)

    # -- the steps -------------------------------------------------------------------------------------------
    def _receipt(self) -> Receipt | str:
        """Return the receipt if the node signed it for the request that is named, or what is wrong (E3)."""
        evidence = self.bundle.evidence
        try:
            receipt = decoded(Receipt.decode, evidence.receipt, "receipt")
        except VerificationError as e:
            return f"what was received is no receipt: {e.reason}"
        self.receipt_digest = receipt.digest
        if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):
            return "no node signed the receipt"
        self.node = receipt.node
        self.checked.append("the node's signature of the receipt")
        if receipt.request_digest != evidence.request_digest:
            return "the receipt names another request; nothing of the node's ties it to this one"
        self.checked.append("that the receipt names the request's digest")
        return receipt

    def _chosen(self, receipt: Receipt) -> tuple[bytes, Challenge | None, Request | None]:
        """Return terms, encoded, challenge and request, which belong to receipt and model (E5).

        Raises EvidenceError if they do not.
        """
        evidence, challenge = self.bundle.evidence, None
        if evidence.terms and message_digest(SUITE, "terms", evidence.terms) != receipt.terms_digest:
            raise EvidenceError("the receipt does not name the terms in the evidence")
        if evidence.challenge:
            try:
                challenge = Challenge.decode(evidence.challenge)
            except InputError as e:
                raise EvidenceError(f"the challenge in the evidence is none: {e}") from e
            if challenge.receipt_digest != receipt.digest:
                raise EvidenceError("the challenge in the evidence is for another receipt")
        request = evidence.disclosed()
        asked = receipt.model_id if request is None else request.model_id
        if asked != self.card.model_id:
            raise MismatchError(
                f"the evidence is about model {asked.hex()}, not {self.card.model_id.hex()}, which you hold"
            )
        if request is not None:
            try:
                inputs_of(request, self.card.program, self.card.model_id)
            except InputError as e:
                raise EvidenceError(f"the request in the evidence is none that the model can run: {e}") from e
        return evidence.terms, challenge, request

    def _terms(self, terms: bytes) -> Terms | None:
        """Decode the terms; None if there are none, or if this version cannot read them."""
        try:
            return decoded(Terms.decode, terms, "terms") if terms else None
        except VerificationError as e:  # a later version may have others, which is nobody's fault
            self.unchecked.append(f"the terms, which cannot be read: {e.reason}")
            return None

    def _claim(self, receipt: Receipt, terms: Terms | None, request: Request | None) -> Claim | None:
        """Check terms and receipt (E6), and return the claim; None if the request is not disclosed.

        Raises VerificationError if a step fails: then the node signed what contradicts itself.
        """
        if terms is not None:
            check_signer(terms, receipt.node)
            self.checked.append("the node's signature of the terms that the receipt names")
        if request is None:
            self.unchecked.append("the receipt against the request, which is not disclosed")
            return None
        claim = check_receipt(self.card, request, self.bundle.evidence.receipt, terms=terms)
        self.checked.append("the receipt against the request and the stop rule (steps 1-5)")
        return claim

    def _opening(self, receipt: Receipt, claim: Claim | None, challenge: Challenge | None) -> str:
        """Check challenge and opening (E7 to E9); return why the node is not known to have signed it, or "".

        Raises EvidenceError if the node need not answer the challenge, and VerificationError if the node
        signed an opening that is false.
        """
        if challenge is None:
            return NOT_CHALLENGED
        limits = None
        if claim is not None:
            self._require_answerable(claim, challenge)
            limits = frame_limits(claim, challenge)
        if not self.bundle.evidence.opening_size:
            return "there is no opening"
        opening = self.bundle.opening
        opening.seek(0)
        found = signed_frames(opening, receipt, challenge.digest, limits)  # E8
        if found.doubt:
            self.unchecked.append(f"the opening's contents, since the node did not sign it: {found.doubt}")
            return found.doubt
        self.checked.append("the node's signature of the opening, over every frame of it")
        if found.excess is not None:
            raise found.excess
        holder = None if claim is None else self._holder(challenge)
        if claim is None or holder is None:
            return ""
        total = sum(c.b - c.a for c in challenge.cells)
        opening.seek(0)
        try:
            self.verified = audit(  # E9
                holder,
                given(self.bundle.evidence.disclosed(), Request, "the request"),
                claim,
                challenge,
                opening,
                kernels=self.kernels,
                progress=lambda done: self.progress("cells", done, total),
                evidence=True,
            )
        except VerificationError as e:
            if not e.attributable:  # the node signed the frames that were read the first time
                raise EvidenceError("the opening was changed while it was read") from e
            raise
        self.opening_holds = True
        self.checked.append(f"{total} of {claim.statement.cells} cells, as opened (steps 1, 2, 6-10)")
        return ""

    def _require_answerable(self, claim: Claim, challenge: Challenge) -> None:
        """Raise EvidenceError unless a node must answer the challenge (E7)."""
        try:
            check_challenge(claim, challenge)
            require_openable(
                self.card.program, challenge.cells, tables=challenge.tables, hints=challenge.hints
            )
        except (InputError, VerificationError) as e:
            raise EvidenceError(f"no node must answer the challenge in the evidence: {e}") from e

    def _holder(self, challenge: Challenge) -> Holder | None:
        """Return what checks the opened cells, or None if what the judge holds cannot."""
        kind, holds = (challenge.hints, challenge.tables), self.holds
        if isinstance(holds, ModelCard):
            self.unchecked.append("the opened cells: a card checks receipts and signatures only")
        elif kind == (KeyHolder.hints, KeyHolder.tables):
            key = holds if isinstance(holds, Key) else keygen(holds, self.kernels, progress=self._weights())
            return KeyHolder(key, foreign=True)
        elif kind == (WeightsHolder.hints, WeightsHolder.tables) and isinstance(holds, Model):
            holds.require_roots(self.kernels.hash_rows, self._weights())
            return WeightsHolder(holds)
        elif kind == (WeightsHolder.hints, WeightsHolder.tables):
            self.unchecked.append("the opened cells: they were opened without hints, which takes the model")
        else:
            self.unchecked.append("the opened cells: they were opened for a public proof")
        return None

    def _weights(self) -> Callable[[int], None]:
        total = sum(s.rows * s.row_bytes for s in self.card.program.weights)
        return lambda done: self.progress("weights", done, total)

    def _replay_decides(self) -> bool:
        """Return whether to compute the answer again, with the model, since something is still open."""
        accepted = self.bundle.evidence.outcome.kind == "accepted"
        if accepted and self.verified is not None:
            self.unchecked.append("the cells that were not opened")
            return False
        if not isinstance(self.holds, Model):
            self.unchecked.append("whether the whole answer is right: a replay takes the model")
            return False
        return True

    def _replay(self, request: Request) -> None:
        """Compute the answer again (E10). Raises VerificationError if the receipt is false."""
        from proofcompute.verifier.replay import replay  # only replaying takes an engine

        model = given(self.holds, Model, "the model")
        model.require_roots(self.kernels.hash_rows, self._weights())
        receipt = self.bundle.evidence.receipt
        rows = Receipt.decode(receipt).rows
        self.verified = replay(
            model,
            request,
            receipt,
            kernels=self.kernels,
            progress=lambda done: self.progress("replay", done, rows),
        )
        self.replayed = True
        self.checked.append("the whole answer and the trace root, computed again")

    # -- the verdict -----------------------------------------------------------------------------------------
    def _conclude(self, receipt: Receipt, terms: Terms | None, doubt: str, *, whole: bool) -> EvidenceVerdict:
        evidence = self.bundle.evidence
        known = Known(
            receipt_holds=whole,
            doubt=doubt,
            opening_holds=self.opening_holds,
            answer_holds=self.replayed,
            waited=evidence.waited / 1000,
            allowed=None if terms is None else terms.deadline(receipt.rows, math.inf),
        )
        return self._verdict(*conclude(evidence.outcome, known))

    def _contradicted(self, error: VerificationError) -> EvidenceVerdict:
        found = Outcome("contradicted", error.step, error.cell, error.operation or "")
        self.verified = None
        return self._verdict(Finding.CONTRADICTED, str(error), found)

    def _verdict(
        self, finding: Finding, reason: str, contradiction: Outcome | None = None
    ) -> EvidenceVerdict:
        evidence = self.bundle.evidence
        return EvidenceVerdict(
            finding=finding,
            reason=reason,
            claimed=evidence.outcome,
            contradiction=contradiction,
            auditor=evidence.auditor,
            node=self.node,
            request_digest=evidence.request_digest,
            receipt_digest=self.receipt_digest,
            verified=self.verified,
            replayed=self.replayed,
            checked=tuple(self.checked),
            unchecked=tuple(self.unchecked),
        )
