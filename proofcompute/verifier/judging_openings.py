"""Judge the opening in a bundle: steps E7 to E9 of docs/spec/evidence.md#verifying-a-bundle."""

from __future__ import annotations

from proofcompute.errors import EvidenceError, InputError, VerificationError
from proofcompute.errors.arguments import given
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import signed_frames
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.openable import require_openable
from proofcompute.verifier.claim import check_challenge
from proofcompute.verifier.findings import NOT_CHALLENGED
from proofcompute.verifier.frames import frame_limits
from proofcompute.verifier.holders import Holder, KeyHolder, WeightsHolder
from proofcompute.verifier.judge import Judge
from proofcompute.verifier.key import Key
from proofcompute.verifier.keymaking import keygen
from proofcompute.verifier.proven import Checks, ProofHolds
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verify import audit

__all__ = ["judge_opening"]


def judge_opening(
    judge: Judge, receipt: Receipt, claim: Claim | None, challenge: Challenge | None
) -> tuple[str, Verified | None]:
    """Check challenge and opening.

    Return why the node is not known to have signed the opening, or "", and what holds of it; None if its
    cells were not checked.

    Raises EvidenceError if the node need not answer the challenge, and VerificationError if the node signed
    an opening that is false.
    """
    if challenge is None:
        return NOT_CHALLENGED, None
    limits = None
    if claim is not None:
        _require_answerable(judge, claim, challenge)
        limits = frame_limits(claim, challenge)
    if not judge.evidence.opening_size:
        return "there is no opening", None
    opening = judge.bundle.opening
    opening.seek(0)
    found = signed_frames(opening, receipt, challenge.digest, limits)  # E8
    if found.doubt:
        judge.unchecked.append(f"the opening's contents, since the node did not sign it: {found.doubt}")
        return found.doubt, None
    judge.checked.append("the node's signature of the opening, over every frame of it")
    if found.excess is not None:
        raise found.excess
    checks = None if claim is None else _checks(judge, claim, challenge)
    if claim is None or checks is None:
        return "", None
    total = sum(c.b - c.a for c in challenge.cells)
    opening.seek(0)
    try:
        verified = audit(  # E9
            checks.holder,
            given(judge.evidence.disclosed(), Request, "the request"),
            claim,
            challenge,
            opening,
            kernels=judge.kernels,
            progress=lambda done: judge.progress("cells", done, total),
            evidence=True,
            hearer=checks.hearer,
            ending=checks.ending,
        )
    except VerificationError as e:
        if not e.attributable:  # the node signed the frames that were read the first time
            raise EvidenceError("the opening was changed while it was read") from e
        raise
    judge.checked.append(f"{total} of {claim.statement.cells} cells, as opened (steps 1, 2, 6-10)")
    return "", verified


def _require_answerable(judge: Judge, claim: Claim, challenge: Challenge) -> None:
    """Raise EvidenceError unless a node must answer the challenge (E7)."""
    try:
        check_challenge(claim, challenge)
        require_openable(
            judge.card.program,
            claim.statement.rows,
            challenge.cells,
            tables=challenge.tables,
            hints=challenge.hints,
        )
    except (InputError, VerificationError) as e:
        raise EvidenceError(f"no node must answer the challenge in the evidence: {e}") from e


def _checks(judge: Judge, claim: Claim, challenge: Challenge) -> Checks | None:
    """Return what checks the opened cells, or None if what the judge holds cannot."""
    if isinstance(judge.holds, ProofHolds):
        return _proof_checks(judge, judge.holds, claim, challenge)
    holder = _holder(judge, judge.holds, challenge)
    return None if holder is None else Checks(holder)


def _proof_checks(judge: Judge, holds: ProofHolds, claim: Claim, challenge: Challenge) -> Checks | None:
    """Return what checks cells that were opened with a public proof.

    Raises EvidenceError if the challenge asks for one that no node must make.
    """
    if challenge.proof is None:
        judge.unchecked.append("the opened cells: they were opened without a public proof")
        return None
    if challenge.proof.public_id != holds.asked.public_id:
        judge.unchecked.append("the opened cells: the public proof is by other codes than those of your key")
        return None
    try:
        return holds.checks(claim, challenge, judge.kernels)
    except InputError as e:
        raise EvidenceError(f"no node must answer the challenge in the evidence: {e}") from e


def _holder(judge: Judge, holds: Key | Model | ModelCard, challenge: Challenge) -> Holder | None:
    kind = (challenge.hints, challenge.tables)
    if isinstance(holds, ModelCard):
        judge.unchecked.append("the opened cells: a card checks receipts and signatures only")
    elif challenge.proof is not None:
        judge.unchecked.append("the opened cells: their public proof takes the model's public key")
    elif kind == (KeyHolder.hints, KeyHolder.tables):
        key = holds if isinstance(holds, Key) else keygen(holds, judge.kernels, progress=judge.weights())
        return KeyHolder(key, foreign=True)
    elif kind == (WeightsHolder.hints, WeightsHolder.tables) and isinstance(holds, Model):
        holds.require_roots(judge.kernels.hash_rows, judge.weights())
        return WeightsHolder(holds)
    elif kind == (WeightsHolder.hints, WeightsHolder.tables):
        judge.unchecked.append("the opened cells: they were opened without hints, which takes the model")
    else:
        judge.unchecked.append("the opened cells: they were opened for a public proof")
    return None
