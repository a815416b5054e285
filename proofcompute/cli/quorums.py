"""What is printed of verdicts of quorums."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proofcompute.errors import VerdictError

if TYPE_CHECKING:
    from proofcompute.protocol.bundle import Bundle
    from proofcompute.verdicts import QuorumPolicy, VerdictStatement
    from proofcompute.verifier.findings import EvidenceVerdict

__all__ = ["ShownQuorum", "shown_quorum", "statement_fields"]


@dataclass(frozen=True)
class ShownQuorum:
    """What is shown of a quorum's verdict in a bundle."""

    fields: dict[str, object] | None
    """For JSON; None if there is nothing to say."""
    text: str
    """For people."""
    against: bool = False
    """Whether the verdict does not hold, or is not what was found here."""


def shown_quorum(bundle: Bundle, verdict: EvidenceVerdict, policy: QuorumPolicy | None) -> ShownQuorum:
    """Check the quorum's verdict in a bundle and compare it with what was found; see verify-evidence."""
    from proofcompute.verifier.quorums import quorum_of

    if policy is None:
        if not bundle.verdict:
            return ShownQuorum(None, "")
        return ShownQuorum({"holds": None}, "NOT checked, which takes --policy")
    try:
        found = quorum_of(bundle, verdict, policy, time.time())
    except VerdictError as e:
        return ShownQuorum(
            {"holds": False, "fault": e.fault.value, "error": str(e)}, f"INVALID: {e}", against=True
        )
    outcome, count = found.statement.outcome, len(found.signers)
    so = {True: "as found here", False: "NOT what was found here", None: "not decided here"}[found.agrees]
    fields: dict[str, object] = {
        "holds": True,
        "agrees": found.agrees,
        "outcome": outcome.kind,
        "step": outcome.step or None,
        "check": found.statement.check,
        "signers": [key.hex() for key in found.signers],
    }
    text = f"{count} of {len(policy.members)} say: {outcome} ({found.statement.check}); {so}"
    return ShownQuorum(fields, text, against=found.agrees is False)


def statement_fields(statement: VerdictStatement) -> dict[str, object]:
    """Return the JSON fields of what a quorum says."""
    outcome = statement.outcome
    return {
        "outcome": outcome.kind,
        "step": outcome.step or None,
        "cell": None if outcome.cell is None else list(outcome.cell),
        "operation": outcome.operation or None,
        "check": statement.check,
        "policy": statement.policy.hex(),
        "receipt_digest": statement.receipt_digest.hex(),
        "request_digest": statement.request_digest.hex(),
        "challenge_digest": statement.challenge_digest.hex() or None,
        "terms_digest": statement.terms_digest.hex() or None,
        "valid_from": statement.valid_from,
        "valid_until": statement.valid_until,
        "statement": statement.digest.hex(),
        "subject": statement.subject.hex(),
    }
