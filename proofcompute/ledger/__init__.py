"""Keep a fleet's nodes, receipts, audits and verdicts in a database, and all verdicts in an append-only log.

It takes the extra ``ledger``: ``pip install 'proofcompute[ledger]'``.
"""

from __future__ import annotations

from proofcompute.errors.extras import lacking

try:
    import sqlalchemy  # noqa: F401
except ModuleNotFoundError as e:
    raise lacking(e, "a ledger") from e

from proofcompute.ledger.ledger import Ledger
from proofcompute.ledger.messages import PARTS, AuditVerdict, TreeHead
from proofcompute.ledger.records import (
    Done,
    Job,
    NewJob,
    NewNode,
    NewReceipt,
    NodeRecord,
    ReceiptRecord,
    Recorded,
    Throughput,
    VerdictRecord,
)
from proofcompute.ledger.trust import Counts, Trust, TrustPolicy, trust_of

__all__ = [
    "PARTS",
    "AuditVerdict",
    "Counts",
    "Done",
    "Job",
    "Ledger",
    "NewJob",
    "NewNode",
    "NewReceipt",
    "NodeRecord",
    "ReceiptRecord",
    "Recorded",
    "Throughput",
    "TreeHead",
    "Trust",
    "TrustPolicy",
    "VerdictRecord",
    "trust_of",
]
