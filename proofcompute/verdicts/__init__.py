"""Let a quorum of auditors sign verdicts about receipts, and verify them (docs/spec/verdicts.md)."""

from __future__ import annotations

from proofcompute.verdicts.messages import QuorumVerdict, SignedVerdict
from proofcompute.verdicts.policy import Member, QuorumPolicy
from proofcompute.verdicts.precompiles import PrecompileInputs, precompile_inputs
from proofcompute.verdicts.quorum import Expected, combine, sign_verdict, verify_verdict
from proofcompute.verdicts.statement import CHECKS, VerdictStatement

__all__ = [
    "CHECKS",
    "Expected",
    "Member",
    "PrecompileInputs",
    "QuorumPolicy",
    "QuorumVerdict",
    "SignedVerdict",
    "VerdictStatement",
    "combine",
    "precompile_inputs",
    "sign_verdict",
    "verify_verdict",
]
