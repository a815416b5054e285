"""Make a validator's weights of miners from what audits found.

A miner's weight is proportional to the work that it did times the lower end of the interval of trust, to a
power. The lower end grows with audits and not with the miner's word, so a miner that nobody checked weighs
nothing; and a contradiction, which anybody can check again, takes all of its weight. What is below a share of
the whole is dropped, since the chain keeps 16 bits.

How many audits find miners that alter a share s of their answers, each found with probability d where it is
audited, follows from 1 - (1 - s d)^n (docs/spec/adversary.md): :func:`audits_needed` solves it for n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import InputError

__all__ = ["Score", "audits_needed", "chain_weights", "score_to_weights"]

MAX_UID: Final = (1 << 16) - 1
U16_MAX: Final = (1 << 16) - 1
"""The greatest weight of the chain, which it gives to the best miner."""
MAX_AUDITS: Final = 1 << 40


@dataclass(frozen=True)
class Score:
    """What a validator knows of a miner. Raises InputError for a number that is none."""

    low: float
    """Lower end of the interval of trust: of the share of its answers that are right, 0 to 1."""
    high: float
    """Upper end."""
    contradicted: bool = False
    """Whether a contradiction of its was ever found."""
    work: float = 1.0
    """What it did, in any unit that is one for all miners, such as audited rows."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1 or not 0 <= self.work < math.inf:
            raise InputError("a score is an interval between 0 and 1, and an amount of work")


def score_to_weights(
    scores: Mapping[int, Score], *, power: float = 2.0, least: float = 0.001
) -> dict[int, float]:
    """Return the weights of miners by their UID; they add up to 1, or are all 0.

    Args:
        scores: by UID.
        power: how much more trusted miners are preferred: 0 pays for work alone.
        least: the share of the whole below which a miner gets none.

    Raises InputError for a UID or another number that is none.
    """
    if not all(type(uid) is int and 0 <= uid <= MAX_UID for uid in scores):
        raise InputError(f"a UID is from 0 to {MAX_UID}")
    if not 0 <= power < math.inf or not 0 <= least < 1:
        raise InputError("the power is 0 or more, and the least share is below 1")
    raw = {uid: 0.0 if s.contradicted else s.work * s.low**power for uid, s in scores.items()}
    if math.isinf(total := sum(raw.values())):
        raise InputError("the work of all miners is beyond what can be added up")
    kept = {uid: value if total and value / total >= least else 0.0 for uid, value in raw.items()}
    whole = sum(kept.values())
    return {uid: value / whole if whole else 0.0 for uid, value in kept.items()}


def chain_weights(weights: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """Return UIDs and 16-bit weights as the chain takes them: the greatest is 65,535, zeros are left out."""
    top = max(weights.values(), default=0.0)
    scaled = {uid: round(value / top * U16_MAX) for uid, value in sorted(weights.items())} if top else {}
    return [uid for uid, value in scaled.items() if value], [value for value in scaled.values() if value]


def audits_needed(share: float, found: float, confidence: float) -> int:
    """Return how many audits of a miner find it with a probability of ``confidence`` or more.

    Args:
        share: of the answers that it alters.
        found: the probability that the audit of an altered answer finds it.
        confidence: below 1.

    Raises InputError if no number of audits suffices.
    """
    if not 0 < share <= 1 or not 0 < found <= 1 or not 0 <= confidence < 1:
        raise InputError("what is never altered or never found takes more than any number of audits")
    if share * found == 1:
        return 1
    needed = math.ceil(math.log1p(-confidence) / math.log1p(-share * found))
    if needed > MAX_AUDITS:
        raise InputError(f"more than {MAX_AUDITS} audits would be needed")
    return max(1, needed)
