"""The messages between client, node and verifier (design, section 7)."""

from __future__ import annotations

from proofcompute.messages.challenge import Challenge, all_cells, count_cells, draw_cells, public_challenge
from proofcompute.messages.claim import Claim
from proofcompute.messages.closing import OpeningEnd, frame_digest, frames_digest
from proofcompute.messages.openable import CellBytes, most_bytes, require_openable
from proofcompute.messages.opening import (
    GroupOpening,
    OpeningHead,
    Part,
    TableOpening,
    check_hint,
    encode_hint,
    pack_set,
    row_bytes,
)
from proofcompute.messages.pieces import CutRows, cut
from proofcompute.messages.receipt import STOP_REASONS, Receipt
from proofcompute.messages.request import Generation, Request
from proofcompute.messages.signed import require_addressed
from proofcompute.messages.terms import (
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
    "CellBytes",
    "Challenge",
    "Claim",
    "CutRows",
    "Generation",
    "GroupOpening",
    "OpeningEnd",
    "OpeningHead",
    "Part",
    "Receipt",
    "Request",
    "TableOpening",
    "Terms",
    "all_cells",
    "check_hint",
    "check_promise",
    "check_terms",
    "count_cells",
    "cut",
    "draw_cells",
    "encode_hint",
    "frame_digest",
    "frames_digest",
    "most_bytes",
    "pack_set",
    "public_challenge",
    "require_addressed",
    "require_openable",
    "require_within",
    "retention_of",
    "row_bytes",
]
