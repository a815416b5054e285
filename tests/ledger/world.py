"""Nodes, receipts and verdicts to fill ledgers with."""

from __future__ import annotations

import hashlib
from typing import Any

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.ledger import PARTS, AuditVerdict, Ledger, NewNode, NewReceipt
from proofcompute.protocol.messages import Outcome

ACCEPTED = Outcome("accepted")
WRONG = Outcome("contradicted", 9)


def digest(name: object) -> bytes:
    return hashlib.sha256(repr(name).encode()).digest()


AUDITORS = [NodeIdentity(digest(("auditor", n))) for n in range(3)]
NODES = [NodeIdentity(digest(("node", n))).public for n in range(3)]
MODEL = digest("model")


def receipt(n: int, node: int = 0, **more: Any) -> NewReceipt:
    about = {"digest": digest(("receipt", n)), "request_digest": digest(("request", n)), "model_id": MODEL}
    return NewReceipt(
        **{**about, "node": NODES[node], "made": 1000.0 + n, "tokens": 7, "seconds": 2.0, **more}
    )


def verdict(n: int, outcome: Outcome = ACCEPTED, by: int = 0, node: int = 0, **more: Any) -> AuditVerdict:
    about = receipt(n, node)
    fields: dict[str, Any] = {
        "receipt_digest": about.digest,
        "request_digest": about.request_digest,
        "model_id": about.model_id,
        "node": about.node,
        "check": "replay",
        "outcome": outcome,
        "detection": PARTS,
        "made": 5000 + n,
    }
    return AuditVerdict(**{**fields, **more}).signed(AUDITORS[by])


def filled(where: str, receipts: int = 3, **options: Any) -> Ledger:
    """A new ledger with all nodes, and receipts of the first."""
    ledger = Ledger.make(where, **options)
    for key in NODES:
        ledger.fleet.add_node(NewNode(key, "http://127.0.0.1:1"))
    ledger.fleet.add_receipts([receipt(n) for n in range(receipts)])
    return ledger
