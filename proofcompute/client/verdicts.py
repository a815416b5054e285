"""Say what an answer of an audit came to, and keep what shows it."""

from __future__ import annotations

import base64
import math
import time
from typing import Any, Final

from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.entries import State, Verdict
from proofcompute.client.tally import EXTENTS
from proofcompute.errors import VerificationError
from proofcompute.limits import MIB
from proofcompute.protocol.messages import Terms
from proofcompute.verifier import Verified

__all__ = ["MAX_RESPONSE", "about_answer", "about_response", "audited_state", "gave_up"]

MAX_RESPONSE: Final = 16 * MIB
"""Bytes of a response that the record keeps."""


def audited_state(audited: Audited, deadline: float) -> State:
    """Return what an audit came to.

    Args:
        audited: the audit.
        deadline: seconds that the auditor was ready to wait, at most what the terms allow.

    Who gives up earlier than the node's terms allow has found nothing against the node.
    """
    found = audited.found
    if isinstance(found, Verified):
        return "verified"
    waited = 0.0 if audited.waited is None else audited.waited
    patient = waited > _allowed(audited.checked)
    if audited.elsewhere:
        return "unopened"
    if audited.refusal is not None:
        return "refused" if waited < deadline or patient else "unopened"
    if found.step == 10 and not found.attributable and audited.challenge is not None and waited >= deadline:
        return "silent" if patient else "unopened"
    return "contradicted"


def gave_up(audited: Audited, challenger: Challenger) -> bool:
    """Tell whether a challenger waited less than the node's terms allow, so that it has found nothing."""
    checked = audited.checked
    deadline = challenger.auditor(checked.terms).deadline(checked.claim)
    return audited_state(audited, deadline) == "unopened"


def _allowed(checked: Checked) -> float:
    """Return the seconds that the node's terms allow for an opening.

    Without terms it has no time of its own. Under terms that nobody can see it may have any time.
    """
    if checked.terms is None:
        return math.inf if checked.claim.receipt.terms_digest else -math.inf
    return Terms.decode(checked.terms).deadline(checked.claim.receipt.rows, math.inf)


def about_answer(
    number: int,
    choice: int,
    state: State,
    checked: Checked,
    found: Verified | VerificationError | None = None,
    **more: Any,
) -> Verdict:
    """Return the verdict on an answer; ``more`` are fields of the verdict."""
    receipt, statement = checked.claim.receipt, checked.claim.statement
    facts: dict[str, Any] = {
        "request_digest": receipt.request_digest.hex(),
        "receipt_digest": receipt.digest.hex(),
        "node": receipt.node.hex(),
        "rows": statement.rows,
        "total_cells": statement.cells,
    }
    if isinstance(found, Verified):
        facts |= {"soundness_bits": found.soundness_bits, "bytes_opened": found.bytes_opened}
        more |= {
            "cells": found.cells,
            "detects_one": found.detects_one,
            "detects_shares": {str(share): found.detects_share(share) for share in EXTENTS},
        }
    elif found is not None:
        facts |= _rejection(found)
        more |= {"error": str(found)}
    return Verdict(number, choice, state, time.time(), found=facts, **more)


def about_response(number: int, error: VerificationError, found: Contradiction | None, lost: int) -> Verdict:
    """Return the verdict on a response that is contradicted, with everything that was sent and came."""
    facts = _rejection(error)
    if found is not None:
        facts |= {
            "question": _text(found.question),
            "nonce": None if found.nonce is None else found.nonce.hex(),
            "response": _text(found.response[:MAX_RESPONSE]),
            "response_bytes": len(found.response),
            "rejected": found.rejected,
            "receipts": [
                {
                    "request": _text(stated.request.encode()),
                    "receipt": _text(stated.receipt),
                    "terms": None if stated.terms is None else _text(stated.terms),
                }
                for stated in found.stated
            ],
        }
    return Verdict(number, None, "contradicted", time.time(), error=str(error), lost=lost, found=facts)


def _rejection(error: VerificationError) -> dict[str, Any]:
    made: dict[str, Any] = {
        "step": error.step,
        "cell": None if error.cell is None else list(error.cell),
        "operation": error.operation,
        "attributable": error.attributable,
    }
    return made | ({} if error.node is None else {"node": error.node.hex()})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
