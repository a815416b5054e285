"""The messages between client, node and verifier (docs/spec/messages.md)."""

from __future__ import annotations

from proofcompute.protocol.messages.challenge import Challenge
from proofcompute.protocol.messages.closing import OpeningEnd, frame_digest, frames_digest
from proofcompute.protocol.messages.opening import GroupOpening, OpeningHead, Part, TableOpening
from proofcompute.protocol.messages.receipt import STOP_REASONS, Receipt
from proofcompute.protocol.messages.request import Generation, Request
from proofcompute.protocol.messages.signed import require_addressed
from proofcompute.protocol.messages.terms import (
    RETENTION,
    Terms,
    check_promise,
    check_terms,
    require_within,
    retention_of,
)

__all__ = [
    "RETENTION",
    "STOP_REASONS",
    "Challenge",
    "Generation",
    "GroupOpening",
    "OpeningEnd",
    "OpeningHead",
    "Part",
    "Receipt",
    "Request",
    "TableOpening",
    "Terms",
    "check_promise",
    "check_terms",
    "frame_digest",
    "frames_digest",
    "require_addressed",
    "require_within",
    "retention_of",
]
