"""Count what the canaries of an audit came to, from the entries of its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from proofcompute.client.detection import detects, share_ruled_out
from proofcompute.client.entries import (
    FAILED,
    STATES,
    Answer,
    Asked,
    Begun,
    Challenged,
    Entry,
    Published,
    State,
    Verdict,
)
from proofcompute.errors import FormatError

__all__ = ["CONFIDENCE", "EXTENTS", "SHARES", "Cheat", "Sent", "Tally"]

CONFIDENCE: Final = 0.95
"""With which confidence the tally says how many answers a node may have altered unnoticed."""
SHARES: Final = (0.01, 0.1, 1.0)
"""Shares of answers for which the probability of detection is stated."""
EXTENTS: Final = (0.01, 0.1)
"""Shares of an altered answer's cells for which it is stated."""


@dataclass(frozen=True)
class Cheat:
    """How a node cheats, for a statement about detection."""

    share: float
    """Share of its answers that it alters."""
    extent: float | Literal["one", "all"]
    """Share of the cells of an altered answer that it alters, or one cell, or all."""


@dataclass
class Sent:
    """A canary, and what is known of it."""

    asked: Asked
    warned: bool = False
    """Whether it was sent after a challenge or a look at the terms: the node may know its auditor."""
    answers: dict[int, Answer] = field(default_factory=dict)
    challenged: dict[int, Challenged] = field(default_factory=dict)
    """The last challenge of each answer that was challenged."""
    verdicts: dict[int | None, Verdict] = field(default_factory=dict)

    @property
    def waiting(self) -> Iterator[Answer]:
        """The answers that have no verdict yet."""
        return (a for choice, a in self.answers.items() if choice not in self.verdicts)

    @property
    def lacks(self) -> bool:
        """Whether an answer is missing, and nothing says so yet."""
        return len(self.answers) < self.asked.choices and None not in self.verdicts

    @property
    def state(self) -> State | None:
        """The worst that it came to; None as long as something is open."""
        found = {v.state for v in self.verdicts.values()}
        if not found & FAILED and (not found or any(True for _ in self.waiting)):
            return None
        return min(found, key=STATES.index)

    @property
    def tokens(self) -> int:
        """The most tokens that it can have cost."""
        asked, whole = self.asked, self.verdicts.get(None)
        most = asked.prompt + asked.most
        lost = 0 if whole is None else whole.lost
        if not self.answers:
            return most * (1 if whole is None else lost)
        complete = len(self.answers) == asked.choices
        took = asked.prompt + sum(a.tokens for a in self.answers.values()) if complete else most
        return most * max([lost, *(a.lost for a in self.answers.values())]) + took


class Tally:
    """What an audit came to so far."""

    def __init__(self) -> None:
        self.sent: dict[int, Sent] = {}
        """Canaries by number."""
        self._known = False
        self.terms: list[bytes] = []
        """Terms that the node published."""
        self.begun: Begun | None = None

    def take(self, entry: Entry) -> None:
        """Count an entry. Raises FormatError if it does not follow from those before."""
        if isinstance(entry, Begun) != (self.begun is None):
            raise FormatError("a record begins with what is audited, once")
        if isinstance(entry, Begun):
            self.begun = entry
        elif isinstance(entry, Asked):
            if entry.id != len(self.sent) or entry.choices < 1:
                raise FormatError("canaries are numbered one after the other, and have a choice each")
            self.sent[entry.id] = Sent(entry, self._known)
        elif isinstance(entry, Answer):
            sent = self._canary(entry.id)
            if entry.choice in sent.answers or entry.choice >= sent.asked.choices or sent.verdicts:
                raise FormatError("an answer that nobody waited for")
            sent.answers[entry.choice] = entry
        elif isinstance(entry, Challenged):
            sent = self._canary(entry.id)
            if entry.choice not in sent.answers or entry.choice in sent.verdicts:
                raise FormatError("a challenge of nothing, or of what has a verdict")
            sent.challenged[entry.choice] = entry
            self._known = True  # only an auditor challenges
        elif isinstance(entry, Published):
            self.terms.append(entry.terms)
            self._known = True  # only who checks receipts asks for terms
        else:
            sent = self._canary(entry.id)
            unknown = entry.choice is not None and entry.choice not in sent.answers
            if entry.choice in sent.verdicts or unknown:
                raise FormatError("a verdict about nothing, or the second one")
            sent.verdicts[entry.choice] = entry

    def _canary(self, number: int) -> Sent:
        if number not in self.sent:
            raise FormatError(f"there is no canary {number}")
        return self.sent[number]

    # -- counts ----------------------------------------------------------------------------------------------
    @property
    def verdicts(self) -> list[Verdict]:
        """All verdicts."""
        return [v for sent in self.sent.values() for v in sent.verdicts.values()]

    @property
    def states(self) -> Counter[State]:
        """Canaries by what they came to; those that are open are left out."""
        return Counter(s for s in (sent.state for sent in self.sent.values()) if s is not None)

    @property
    def open(self) -> int:
        """Canaries of which something is open."""
        return sum(sent.state is None for sent in self.sent.values())

    @property
    def failed(self) -> int:
        """Canaries that count against the node."""
        return sum(self.states[s] for s in FAILED)

    def checked(self, *, cells: bool) -> int:
        """Canaries of which all was checked that the auditor can check: receipts, or cells too."""
        return self.states["verified"] + (0 if cells else self.states["receipted"])

    @property
    def tokens(self) -> int:
        """The most tokens that prompts and answers can have cost."""
        return sum(sent.tokens for sent in self.sent.values())

    @property
    def cells(self) -> int:
        """Single-row cells that were checked and hold."""
        return sum(v.cells for v in self.verdicts)

    @property
    def warned(self) -> int:
        """Canaries that were sent when the node may have known its auditor, and treated it better."""
        return sum(sent.warned for sent in self.sent.values())

    @property
    def unpublished(self) -> int:
        """Answers whose receipts name terms that the node does not publish."""
        return sum(v.unpublished for v in self.verdicts)

    def by_nonce(self) -> dict[str, int]:
        """Return the canaries whose answers were checked by who chose the nonce, which a node can see."""
        good: tuple[State | None, ...] = ("verified", "receipted")
        found = Counter(s.asked.nonce_by for s in self.sent.values() if s.state in good)
        return {by: found[by] for by in ("client", "node")}

    def nodes(self) -> dict[str, int]:
        """Return the number of answers by the public key that signed them."""
        return dict(Counter(v.found["node"] for v in self.verdicts if "node" in v.found))

    # -- what it would have found ------------------------------------------------------------------------
    def detects(self, cheat: Cheat) -> float:
        """Return the probability that this audit would have found a node that cheats so.

        It holds for a node that cannot tell canaries from other requests. Canaries that were sent after a
        challenge count as nothing.
        """
        return detects(cheat.share, [min(_chance(cheat, v) for v in held) for held in self._unwarned()])

    @property
    def ruled_out(self) -> float:
        """The share of wholly altered answers above which a node would have been found, with CONFIDENCE."""
        return share_ruled_out(len(self._unwarned()), CONFIDENCE)

    def _unwarned(self) -> list[list[Verdict]]:
        """The verdicts on each canary that was checked, and answered before the node knew its auditor.

        A node decides once for all choices of a canary whether it alters them, so they are one chance: the
        least one, since it may alter a single choice.
        """
        sent = (s for s in self.sent.values() if not s.warned)
        return [[*s.verdicts.values()] for s in sent if s.state == "verified"]


def _chance(cheat: Cheat, verdict: Verdict) -> float:
    """Return the probability that the audit of an answer finds that it was altered so."""
    if cheat.extent == "all":
        return 1.0
    return (
        verdict.detects_one if cheat.extent == "one" else verdict.detects_shares.get(str(cheat.extent), 0.0)
    )
