"""The messages between client, node and verifier (design, section 7)."""

from __future__ import annotations

from proofcompute.messages.challenge import Challenge, all_cells, count_cells, draw_cells, public_challenge
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
from proofcompute.messages.receipt import STOP_REASONS, Receipt
from proofcompute.messages.request import Generation, Request

__all__ = [
    "STOP_REASONS",
    "Challenge",
    "Generation",
    "GroupOpening",
    "OpeningHead",
    "Part",
    "Receipt",
    "Request",
    "TableOpening",
    "all_cells",
    "check_hint",
    "count_cells",
    "draw_cells",
    "encode_hint",
    "pack_set",
    "public_challenge",
    "row_bytes",
]
