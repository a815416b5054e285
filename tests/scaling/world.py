"""Audits of a tiny model: honest answers and a false one, opened and not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import proofcompute as pc
import synthetic
from proofcompute.protocol.messages import Receipt
from proofcompute.scaling.audits import AuditWork

AUDITOR = pc.NodeIdentity(bytes([55] * 32))
FALSE = 2
"""The number of the false answer."""


@cache
def works(count: int = 6) -> tuple[AuditWork, ...]:
    """Receipts with openings of some cells for who holds the model; one states another root."""
    model = synthetic.model()
    made = []
    for number in range(count):
        asked = synthetic.request(model, nonce=bytes([100 + number] * 32), max_tokens=3)
        run = synthetic.prove(model, asked)
        receipt = run.data
        if number == FALSE:
            false = replace(Receipt.decode(receipt), trace_root=bytes(32), signature=b"")
            receipt = false.signed(synthetic.NODE.sign(false.signed_digest)).encode()
            made.append(AuditWork(asked.encode(), receipt))
        elif number % 2:
            made.append(AuditWork(asked.encode(), receipt))
        else:
            auditor = pc.Auditor(model, device=synthetic.KERNELS)
            challenge = auditor.challenge(asked, receipt, 4)
            made.append(AuditWork(asked.encode(), receipt, challenge.encode(), run.open(challenge), 0.5))
    return tuple(made)
