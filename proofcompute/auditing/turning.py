"""Turn what an audit came to into a verdict for the ledger."""

from __future__ import annotations

import time

from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.entries import State
from proofcompute.errors import VerificationError
from proofcompute.ledger import PARTS, AuditVerdict, NewReceipt
from proofcompute.protocol.cells import drawn_as, segment_rows
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Outcome
from proofcompute.verdicts import CHECKS
from proofcompute.verifier import Verified

__all__ = ["chance_of", "receipt_of", "verdict_of"]


def receipt_of(checked: Checked, *, keep: bool = False) -> NewReceipt:
    """Return what the ledger keeps of an answer; with ``keep`` its request and receipt too."""
    receipt = checked.claim.receipt
    return NewReceipt(
        digest=receipt.digest,
        node=receipt.node,
        request_digest=receipt.request_digest,
        model_id=checked.request.model_id,
        terms_digest=receipt.terms_digest,
        made=checked.when,
        tokens=receipt.tokens,
        seconds=checked.seconds,
        nonce_by=checked.nonce_by,
        request=checked.request.encode() if keep else b"",
        receipt=checked.receipt if keep else b"",
    )


def verdict_of(
    audited: Audited, state: State, *, extent: float | str, evidence: bytes = b""
) -> AuditVerdict | None:
    """Return the verdict, which nobody signed yet; None if the audit says nothing for or against the node.

    Args:
        audited: the audit.
        state: what it came to.
        extent: the alteration whose detection is stated: a share of the cells, or ``one``.
        evidence: SHA-256 digest of the bundle of evidence, or empty.
    """
    found, challenge = audited.found, audited.challenge
    check = "replay" if challenge is None else "cells"
    if isinstance(found, Verified):
        outcome = Outcome("accepted")
    elif state in ("silent", "refused"):
        outcome = Outcome(state)
    elif state == "contradicted":
        check = _check_of(found, challenge)
        outcome = Outcome("contradicted", found.step, found.cell, found.operation or "")
    else:
        return None
    claim, receipt = audited.checked.claim, audited.checked.claim.receipt
    cells = None if challenge is None or check != "cells" else challenge
    return AuditVerdict(
        receipt_digest=receipt.digest,
        request_digest=receipt.request_digest,
        model_id=audited.checked.request.model_id,
        node=receipt.node,
        check=check,
        challenge_digest=b"" if cells is None else cells.digest,
        outcome=outcome,
        cells=claim.statement.cells if cells is None else sum(c.b - c.a for c in cells.cells),
        total=claim.statement.cells,
        detection=PARTS if cells is None else round(PARTS * chance_of(claim, cells, extent)),
        evidence_digest=evidence,
        made=int(1000 * time.time()),
    )


def _check_of(error: VerificationError, challenge: Challenge | None) -> str:
    """Return what failed: the receipt alone, before anything was asked for, or what the audit checks."""
    if challenge is not None:
        return "cells"
    # a replay compares one root, which is no step before the sixth
    return "receipt" if error.step in CHECKS["receipt"] else "replay"


def chance_of(claim: Claim, challenge: Challenge, extent: float | str) -> float:
    """Return the probability with which such a challenge finds an alteration, whether it finds one or not."""
    statement = claim.statement
    planned = Verified(
        cells=sum(c.b - c.a for c in challenge.cells),
        total=statement.cells,
        rows=statement.rows,
        outputs=1,
        stop_reason=claim.receipt.stop_reason,
        node=claim.receipt.node,
        soundness_bits=0.0,
        bytes_opened=0,
        segments=segment_rows(statement),
        drawn=drawn_as(statement, challenge.cells),
    )
    return planned.detects_one if isinstance(extent, str) else planned.detects_share(extent)
