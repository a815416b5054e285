"""State what an audit would have found of a node that cheats
(docs/spec/adversary.md#what-an-audit-of-several-answers-finds).

Let a node alter each answer with probability s, not knowing which are audited. Let d_i be the probability
that the audit of answer i finds the alteration: 1 if it alters every cell or if the whole answer is checked,
and :attr:`.Verified.detects_one` or :meth:`.Verified.detects_share` otherwise. The node gets through answer i
with probability 1 - s d_i. So the audit finds it with probability

    1 - (1 - s d_1) (1 - s d_2) ... (1 - s d_n)

Each cell that is checked and wrong is found but for 2^-61 or less, which is left out here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from proofcompute.errors import InputError

__all__ = ["detects", "share_ruled_out"]


def detects(share: float, chances: Iterable[float]) -> float:
    """Return the probability that an audit finds a node that alters this share of its answers.

    Args:
        share: the probability s with which the node alters an answer, 0 to 1.
        chances: for each audited answer, the probability d_i that its audit finds the alteration.

    Raises InputError for a number that is no probability.
    """
    missed = 0.0
    for chance in (_probability(share) * _probability(d) for d in chances):
        if chance == 1:
            return 1.0
        missed += math.log1p(-chance)
    return -math.expm1(missed)


def share_ruled_out(answers: int, confidence: float) -> float:
    """Return the least share of wholly altered answers that an audit which found nothing rules out.

    A node that alters more than this share is found with probability ``confidence`` or more by an audit of
    this many ``answers``: the share is 1 - (1 - confidence)^(1 / answers), and 1 without answers.

    Raises InputError for a negative number, or for a confidence that is no probability below 1.
    """
    if answers < 0 or not 0 <= confidence < 1:
        raise InputError(f"{answers} answers and a confidence of {confidence} say nothing about an audit")
    return -math.expm1(math.log1p(-confidence) / answers) if answers else 1.0


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{value} is no probability")
    return value
