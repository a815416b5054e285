"""All attacks by name: each gives one whole verification, and the step that rejects it."""

from __future__ import annotations

from adversary.case import Attack
from adversary.closings import CLOSINGS
from adversary.hints import HINTS
from adversary.openings import OPENINGS
from adversary.receipts import CHALLENGES, RECEIPTS
from adversary.rows import ROWS_AND_PROOFS

TABLES = (RECEIPTS, CHALLENGES, OPENINGS, CLOSINGS, HINTS, ROWS_AND_PROOFS)
ATTACKS: dict[str, tuple[Attack, int]] = {name: entry for table in TABLES for name, entry in table.items()}

assert len(ATTACKS) == sum(map(len, TABLES)), "two attacks have one name"
