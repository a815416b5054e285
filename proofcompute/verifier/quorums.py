"""Turn what a judge found into a statement that a quorum signs, and compare a quorum's with what one found
(docs/spec/verdicts.md#from-evidence-to-a-verdict).
"""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    UnsupportedError,
    VerdictError,
    VerdictFault,
)
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Challenge, Evidence, Outcome, Receipt
from proofcompute.verdicts.policy import QuorumPolicy
from proofcompute.verdicts.quorum import Expected, decoded, verify_verdict
from proofcompute.verdicts.statement import VerdictStatement
from proofcompute.verifier.findings import EvidenceVerdict, Finding

__all__ = ["QuorumFinding", "quorum_of", "statement_of"]


@dataclass(frozen=True)
class QuorumFinding:
    """What a quorum says in a bundle of evidence, and whether its judge comes to the same."""

    statement: VerdictStatement
    """What the quorum says; its signature holds."""
    signers: tuple[bytes, ...]
    """Public keys of the signers."""
    agrees: bool | None
    """Whether the judge came to the same; None if what the judge holds does not suffice to say so."""


def statement_of(
    found: EvidenceVerdict,
    evidence: Evidence,
    policy: QuorumPolicy,
    *,
    valid_from: int,
    valid_until: int,
    own_word: bool = False,
) -> VerdictStatement:
    """Return the statement for what a judge found of a bundle.

    Args:
        found: what :func:`.verify_evidence` came to.
        evidence: the evidence that was judged.
        policy: the quorum's policy.
        valid_from: the first second of the verdict.
        valid_until: the last second of the verdict.
        own_word: also make statements of silence and refusals, which the signer saw with its own eyes: the
            evidence has only its auditor's word.

    Raises InputError if the judge found nothing that can be signed, and FormatError if the times are out of
    order.
    """
    receipt = _receipt(evidence)
    if receipt is None:
        raise InputError("the evidence has no receipt of which a verdict could be")
    outcome = _outcome(found, own_word)
    # of silence nothing was checked but that the challenge was one that the node had to answer
    check = "cells" if outcome.kind in ("silent", "refused") else found.check
    return VerdictStatement(
        policy=policy.digest,
        request_digest=evidence.request_digest,
        receipt_digest=receipt.digest,
        terms_digest=receipt.terms_digest,
        check=check,
        challenge_digest=Challenge.decode(evidence.challenge).digest if check == "cells" else b"",
        outcome=outcome,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _outcome(found: EvidenceVerdict, own_word: bool) -> Outcome:
    if found.contradiction is not None:
        return found.contradiction
    if found.finding in (Finding.CONFIRMED, Finding.REFUTED) and found.verified is not None:
        return Outcome("accepted")
    if found.finding is Finding.ASSERTED and own_word:
        return found.claimed
    if found.finding is Finding.ASSERTED:
        raise InputError(f"of what the evidence says there is only the auditor's word: {found.reason}")
    raise InputError(f"nothing was found that could be signed: {found.reason}")


def quorum_of(bundle: Bundle, found: EvidenceVerdict, policy: QuorumPolicy, now: float) -> QuorumFinding:
    """Check the quorum's verdict in a bundle, and compare it with what a judge found.

    Raises VerdictError if the bundle has none, or it does not hold under the policy at the time ``now``, for
    the receipt and the request of the evidence.
    """
    if not bundle.verdict:
        raise VerdictError(VerdictFault.MALFORMED, "the evidence has no verdict of a quorum")
    verdict, receipt = decoded(bundle.verdict), _receipt(bundle.evidence)
    if receipt is None:
        raise VerdictError(VerdictFault.SUBJECT, "the evidence has no receipt that a verdict could be about")
    expected = Expected(receipt_digest=receipt.digest, request_digest=bundle.evidence.request_digest, now=now)
    statement = verify_verdict(policy, verdict, expected)
    signers = tuple(policy.members[n].key for n in verdict.signers)
    return QuorumFinding(statement, signers, _agrees(statement, found, bundle.evidence))


def _agrees(statement: VerdictStatement, found: EvidenceVerdict, evidence: Evidence) -> bool | None:
    said = statement.outcome.kind
    if said == "silent" or (said == "refused" and found.contradiction is not None):
        return None  # the quorum's word, whatever else is so
    if found.contradiction is not None and said == "contradicted":
        return True
    if found.contradiction is None and found.verified is None:
        return None
    if not _covers(found, statement, evidence):
        return None
    return (said == "accepted") == (found.contradiction is None)


def _covers(found: EvidenceVerdict, statement: VerdictStatement, evidence: Evidence) -> bool:
    """Return whether what the judge checked decides what the quorum checked."""
    if found.contradiction is not None and found.check == "receipt":
        return True  # steps 1 to 5 are a part of every check
    if statement.check == "cells":
        same = bool(evidence.challenge) and (
            statement.challenge_digest == Challenge.decode(evidence.challenge).digest
        )
        return (same and found.check == "cells") or (found.replayed and found.contradiction is None)
    return statement.check == "receipt" or found.contradiction is not None or found.replayed


def _receipt(evidence: Evidence) -> Receipt | None:
    try:
        return Receipt.decode(evidence.receipt)
    except (FormatError, LimitError, UnsupportedError):
        return None
