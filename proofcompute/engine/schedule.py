"""Share out the rows of a step among sessions.

Sessions that decode have one row each and come first: whoever reads an answer waits for the next token. The
other rows are those of prompts. A step takes as long as its rows, so prompts get few rows while others
decode, and then a long prompt slows its neighbours down instead of stopping them. They also get few while
other prompts wait, because eight prompts of 64 rows in one step would all wait for the last one. On a CPU a
row costs as much in a step of 64 as in one of 512; on a device, steps of 64 rows and of 256 cost about the
same.

What is computed again has its share of the time: it gets as many rows in a step as a prompt, since pieces of
a dozen rows take several times as long for each row, and after such a step others go on alone until they had
the rest of the time (:class:`Pause`).

Prompts take turns. Whoever was served longest ago is first, and everybody is served once in as many steps as
there are sessions, so that nobody starves, whatever the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proofcompute.arrays import Span
from proofcompute.engine.session import Session

__all__ = ["Budget", "Pause", "pieces", "share_out"]


class Budget(NamedTuple):
    """How many rows a step may have."""

    rows: int
    """Most rows of all sessions."""
    chunk: int
    """Most rows of one session."""
    beside: int
    """Most rows of prompts while other sessions have rows."""
    whole: bool = False
    """Whether a session has all of its rows in one step; the first one may have more than ``rows``."""


def share_out(live: Sequence[Session], budget: Budget, turn: int, *, again: bool = True) -> dict[int, int]:
    """Return how many of its pending rows each session computes in a step, by the session's number.

    ``turn`` is the step's number. Without ``again``, sessions with a share get no rows while others have
    some. Sessions without rows in this step are left out; no other session is given
    less than one row.
    """
    waiting = sorted(live, key=lambda s: (s.turn, s.number))
    asking = [s for s in waiting if s.share == 1]
    if asking and not again:
        waiting = asking
    if budget.whole:
        return _whole(waiting, budget.rows)
    decoding = [s for s in asking if s.decoding]
    given: dict[int, int] = {}
    for session in (*(s for s in waiting if turn - s.turn > len(live)), *decoding):
        if len(given) < budget.rows:
            given[session.number] = 1
    alone = len(live) == 1 or not asking
    left = min(budget.rows - len(given), budget.rows if alone else budget.beside)
    left = _serve((s for s in waiting if s.share < 1), given, left, budget)
    _serve((s for s in asking if not s.decoding), given, left, budget)
    return given


def _whole(waiting: Iterable[Session], rows: int) -> dict[int, int]:
    """Give sessions all of their rows, in order, as long as there are ``rows``; the first has them always."""
    given: dict[int, int] = {}
    for session in waiting:
        if session.pending and (not given or session.pending <= rows):
            given[session.number] = session.pending
            rows -= session.pending
    return given


def _serve(sessions: Iterable[Session], given: dict[int, int], left: int, budget: Budget) -> int:
    """Give up to ``left`` rows to sessions, one after the other, and return what is left."""
    for session in sessions:
        before = given.get(session.number, 0)
        rows = min(left, budget.chunk - before, session.pending - before)
        if rows > 0:
            given[session.number] = before + rows
            left -= rows
    return left


def pieces(spans: Iterable[Span], rows: int) -> list[list[Span]]:
    """Return the same rows in lists of at most ``rows`` rows each, in order."""
    found: list[list[Span]] = []
    room = 0
    for trace, a, b in spans:
        while a < b:
            if not room:
                found.append([])
                room = rows
            n = min(room, b - a)
            found[-1].append(Span(trace, a, a + n))
            a, room = a + n, room - n
    return found


class Pause:
    """How long sessions with a share have no rows, so that others get their part of the time."""

    def __init__(self) -> None:
        self._left = 0.0

    @property
    def over(self) -> bool:
        """Whether sessions with a share may have rows."""
        return self._left <= 0

    def note(self, live: Iterable[Session], served: Iterable[Session], seconds: float) -> None:
        """Note a step of ``seconds``, the sessions at its beginning, and those that had rows in it."""
        least = min((s.share for s in served), default=1.0)
        if least < 1 and any(s.share == 1 for s in live):
            self._left = seconds * (1 - least) / least
        else:
            self._left = max(0.0, self._left - seconds)
