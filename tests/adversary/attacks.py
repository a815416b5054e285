"""All attacks on one verification, on the small model: each gives a case, and the step that rejects it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from adversary.setting import target
from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Case
from proofcompute.attacks.challenges import CHALLENGES
from proofcompute.attacks.closings import CLOSINGS
from proofcompute.attacks.hints import HINTS
from proofcompute.attacks.openings import OPENINGS, audited
from proofcompute.attacks.receipts import RECEIPTS
from proofcompute.attacks.rows import ROWS_AND_PROOFS

TABLES: tuple[Mapping[str, Forged], ...] = (
    RECEIPTS,
    CHALLENGES,
    OPENINGS,
    CLOSINGS,
    HINTS,
    ROWS_AND_PROOFS,
)
Attack = Callable[[], Case]
ATTACKS: dict[str, tuple[Attack, int]] = {
    name: (partial(made.build, target()), made.step) for table in TABLES for name, made in table.items()
}
CELLS = audited(target())
"""The cells that most attacks are asked for."""

assert len(ATTACKS) == sum(map(len, TABLES)), "two attacks have one name"
