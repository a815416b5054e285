"""Limits of the client's side (sizes in bytes, times in seconds)."""

from __future__ import annotations

from typing import Final

from proofcompute.limits import KIB, MIB

__all__ = [
    "ANSWER_SECONDS",
    "CARD_SECONDS",
    "IDLE_SECONDS",
    "KEPT_ANSWERS",
    "KEPT_BYTES",
    "MAX_BODY",
    "MAX_CHUNK",
    "MAX_ENVELOPE",
    "MAX_ERROR",
    "MAX_FAILURES",
    "REFUSAL_SECONDS",
    "SAME_QUESTION_SECONDS",
    "TAIL_SECONDS",
    "WAITING_CHALLENGES",
]

MAX_BODY: Final = 16 * MIB
"""The body of a request for an answer."""
MAX_ENVELOPE: Final = 64 * KIB
"""The part of a response that is neither text nor receipt: names, ids, digests, usage."""
MAX_CHUNK: Final = 2 * KIB
"""The part of one chunk of a stream that is neither text nor receipt."""
MAX_ERROR: Final = 1 * MIB
"""The body of a response that reports an error, or that needs no proof."""
MAX_FAILURES: Final = 256
"""Contradictions that are kept."""
KEPT_ANSWERS: Final = 1024
"""Checked answers that are kept for later audits."""
KEPT_BYTES: Final = 64 * MIB
"""Requests and receipts that are kept for later audits, together."""
IDLE_SECONDS: Final = 300.0
"""Time within which a node must send the next chunk, however slowly its bytes come."""
ANSWER_SECONDS: Final = 3600.0
"""Time within which a whole answer must have come."""
SAME_QUESTION_SECONDS: Final = 60.0
"""Time for which a question is not asked again after its answer was contradicted."""
TAIL_SECONDS: Final = 10.0
"""Time between the end mark of a stream and the end of the response."""
CARD_SECONDS: Final = 120.0
"""Time within which a card or terms must have come."""
REFUSAL_SECONDS: Final = 60.0
"""The longest wait that a node's ``Retry-After`` can ask for between two attempts."""
WAITING_CHALLENGES: Final = 64
"""Challenges in the background that wait or run; further answers wait for their own verdict."""
