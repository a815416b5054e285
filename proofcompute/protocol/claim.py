"""What a receipt claims once it has passed the steps that need no opening
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

    Whether the model computes that is what an audit finds out. Cells are drawn from a claim, never from a
    receipt alone: which there are follows from program, request and answer.
    """

    receipt: Receipt
    statement: Statement
    """Request and answer together."""
