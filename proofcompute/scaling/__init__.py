"""Spread audits, proofs and keys over processes, or over a cluster of machines (docs/guides/scaling.md).

Work is the same code either way: a function of one item, or an actor that holds a model on a device. An
:class:`Executor` runs it, and runs it again where a worker dies. So work may be done twice, and what comes of
it is kept once: a :class:`Store` never replaces what it has.
"""

from __future__ import annotations

from proofcompute.scaling.audits import Auditing, AuditWork, audit_all
from proofcompute.scaling.executor import Executor, Failed, Processes, Result, WorkerLost
from proofcompute.scaling.proving import OpeningWork, ProofWork, Proving, ToProve, prove_all
from proofcompute.scaling.sharding import keygen_sharded, publish_sharded
from proofcompute.scaling.standing import Standing
from proofcompute.scaling.storage import Store

__all__ = [
    "AuditWork",
    "Auditing",
    "Executor",
    "Failed",
    "OpeningWork",
    "Processes",
    "ProofWork",
    "Proving",
    "Result",
    "Standing",
    "Store",
    "ToProve",
    "WorkerLost",
    "audit_all",
    "keygen_sharded",
    "prove_all",
    "publish_sharded",
]
