"""Define what a client requires of receipts, and what it keeps of an answer that it checked."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.client.terms import TermsBook
from proofcompute.openai.proof import NonceBy
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Request

__all__ = ["Checked", "Rules"]


@dataclass(frozen=True, eq=False)
class Checked:
    """One answer that passed steps 1 to 5; its text, finish reason and usage follow from its receipt."""

    request: Request
    """What had to be computed."""
    receipt: bytes
    """The receipt, exactly as the node signed it."""
    claim: Claim
    """What the receipt claims; cells are drawn from it."""
    nonce_by: NonceBy
    """Who chose the nonce."""
    terms: bytes | None
    """The node's terms that the receipt names, encoded; None if they were not looked at or there are none."""
    when: float
    """Seconds since 1970, by the client's clock."""
    seconds: float | None = None
    """Seconds from when the question was sent to when the last bytes of the answer and its receipts came, by
    the client's clock; None: they were not measured. All choices of one answer have the same."""

    @property
    def nbytes(self) -> int:
        """Bytes of the request's inputs and text and of the receipt, about half of what this object takes."""
        return len(self.receipt) + len(self.request.text) + sum(len(data) for _, data in self.request.inputs)


@dataclass(frozen=True)
class Rules:
    """What a client requires of every receipt."""

    node: bytes | None
    """Public key that must have signed, or None for any."""
    terms: TermsBook
    retention: int
    """Seconds for which challenges must be answered."""
    require: bool
    """Whether an answer without a receipt is a contradiction."""
