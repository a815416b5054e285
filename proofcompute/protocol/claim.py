"""Define the claim of a receipt that passed the steps that need no opening
(docs/spec/verification.md#the-receipt).
"""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.protocol.messages.receipt import Receipt
from proofcompute.protocol.statement import Statement

__all__ = ["Claim"]


@dataclass(frozen=True, eq=False)
class Claim:
    """A receipt that passed steps 1 to 5: it fits the request and the model, and its node signed it.

    Only an audit finds out whether the model computes this answer. Cells are drawn from a claim, never from
    a receipt alone, because program, request and answer determine which cells exist.
    """

    receipt: Receipt
    statement: Statement
    """Request and answer together."""
