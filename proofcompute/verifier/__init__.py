"""Make keys and verify receipts and openings in ten numbered steps (docs/spec/verification.md)."""

from __future__ import annotations

from proofcompute.verifier.claim import check_card, check_receipt
from proofcompute.verifier.key import Key
from proofcompute.verifier.keymaking import keygen, write_key
from proofcompute.verifier.public import verify_public
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verify import verify

__all__ = [
    "Key",
    "Verified",
    "check_card",
    "check_receipt",
    "keygen",
    "verify",
    "verify_public",
    "write_key",
]
