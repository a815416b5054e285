"""Define what a judge says of a bundle of evidence (docs/spec/evidence.md#findings)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from proofcompute.protocol.messages import Outcome
from proofcompute.verifier.result import Verified

__all__ = ["NOT_CHALLENGED", "EvidenceVerdict", "Finding", "Known", "conclude"]

NOT_CHALLENGED: Final = "no cell was challenged"
"""The doubt about an opening that nobody asked for."""


class Finding(Enum):
    """What a bundle of evidence comes to."""

    CONTRADICTED = "contradicted"
    """The node signed something that is false."""
    CONFIRMED = "confirmed"
    """What the auditor accepted holds."""
    REFUTED = "refuted"
    """The auditor accuses the node of something that is not so."""
    UNATTRIBUTABLE = "unattributable"
    """Nothing that the node signed is shown to be false; the auditor could have made up what is."""
    ASSERTED = "asserted"
    """Silence or a refusal, for which there is only the auditor's word."""
    UNDECIDED = "undecided"
    """What the judge holds does not suffice."""


@dataclass(frozen=True, kw_only=True)
class EvidenceVerdict:
    """What a judge came to, and what it checked for it."""

    finding: Finding
    reason: str
    """Why, in words."""
    claimed: Outcome
    """What the auditor says."""
    contradiction: Outcome | None
    """What the judge found false: step, cell and operation; only if the finding is CONTRADICTED."""
    auditor: bytes
    """Public key of the auditor, whose signature holds."""
    node: bytes | None
    """Public key of the node that signed the receipt; None if nobody did."""
    request_digest: bytes
    """Digest of the request that the auditor names."""
    receipt_digest: bytes | None
    """Digest of the receipt; None if it does not decode."""
    verified: Verified | None
    """What was found to hold of the opening or, after a replay, of the whole answer."""
    replayed: bool
    """Whether the whole answer was computed again."""
    check: str
    """What the finding rests on: ``receipt``, ``cells`` or ``replay``; empty if nothing was decided."""
    checked: tuple[str, ...]
    """What was checked, in words."""
    unchecked: tuple[str, ...]
    """What was not checked, in words, and why."""

    @property
    def as_claimed(self) -> bool:
        """Whether the contradiction is the one that the auditor names, to step, cell and operation."""
        return self.contradiction == self.claimed

    @property
    def stands(self) -> bool | None:
        """Whether what the auditor says is proven.

        False if it is not so or cannot be laid at the node's door, and None if that is open: silence, or what
        the judge holds does not suffice. A contradiction that the auditor had accepted makes it False.
        """
        if self.finding in (Finding.ASSERTED, Finding.UNDECIDED):
            return None
        if self.finding is Finding.CONTRADICTED:
            return self.claimed.kind != "accepted"
        return self.finding is Finding.CONFIRMED


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a judge knows once the node is not contradicted (E3 to E10 of docs/spec/evidence.md)."""

    receipt_holds: bool
    """Whether the receipt passed steps 1 to 5, which takes the request."""
    doubt: str
    """Why the node is not known to have signed the opening; empty if it did."""
    opening_holds: bool
    """Whether the opening passed all steps."""
    answer_holds: bool
    """Whether the whole answer was computed again."""
    waited: float
    """Seconds that the auditor says it waited."""
    allowed: float | None
    """Seconds that the node's terms allow; None if they are not known."""
    promised: bool = True
    """Whether the node's terms promise the public proof that was asked for, as far as that is known."""


def conclude(claimed: Outcome, known: Known) -> tuple[Finding, str]:
    """Return what the auditor's words come to if the node is not contradicted, and why."""
    if claimed.kind == "accepted":
        return _accepted(known)
    if claimed.kind == "contradicted":
        return _accused(claimed, known)
    return _silent(claimed, known)


def _accepted(known: Known) -> tuple[Finding, str]:
    if known.answer_holds:
        return Finding.CONFIRMED, "the whole answer is right"
    if known.opening_holds:
        return Finding.CONFIRMED, "every opened cell holds"
    if known.doubt and known.doubt != NOT_CHALLENGED:
        return Finding.UNATTRIBUTABLE, known.doubt
    return Finding.UNDECIDED, "what was accepted cannot be checked with what you hold"


def _accused(claimed: Outcome, known: Known) -> tuple[Finding, str]:
    about_receipt = claimed.step in (3, 4, 5) or (known.doubt == NOT_CHALLENGED and claimed.step <= 2)
    if about_receipt:
        if known.receipt_holds:
            return Finding.REFUTED, "the receipt passes steps 1 to 5"
        return Finding.UNDECIDED, "the receipt cannot be checked without the request"
    if known.opening_holds:
        return Finding.REFUTED, "every opened cell holds"
    if known.doubt and known.doubt != NOT_CHALLENGED:
        return Finding.UNATTRIBUTABLE, known.doubt
    if known.doubt and known.answer_holds:
        return Finding.REFUTED, "the whole answer is right"
    return Finding.UNDECIDED, "the accusation cannot be checked with what you hold"


def _silent(claimed: Outcome, known: Known) -> tuple[Finding, str]:
    if claimed.kind == "refused" and known.opening_holds:
        return Finding.REFUTED, "the node opened what was asked for"
    if not known.promised:
        return Finding.REFUTED, "the node's terms promise no public proof by these codes"
    if claimed.kind == "silent" and known.allowed is not None and known.waited <= known.allowed:
        return Finding.REFUTED, (
            f"the auditor waited {known.waited:.3f} s, and the node's terms allow {known.allowed:.3f} s"
        )
    what = (
        "a refusal" if claimed.kind == "refused" else "a late opening" if known.opening_holds else "silence"
    )
    right = "; the answer itself is right" if known.answer_holds else ""
    return Finding.ASSERTED, f"of {what} there is only the auditor's word{right}"
