"""All attacks: their subjects, names, modes, and what must stop each in each mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.attacks.answers import ANSWERS
from proofcompute.attacks.attack import KINDS, Cheat, Forged, Mode
from proofcompute.attacks.bundles import Shown
from proofcompute.attacks.challenges import CHALLENGES
from proofcompute.attacks.closings import CLOSINGS
from proofcompute.attacks.experts import EXPERTS
from proofcompute.attacks.framing import FRAMING
from proofcompute.attacks.hints import HINTS
from proofcompute.attacks.lying import LYING
from proofcompute.attacks.openings import OPENINGS
from proofcompute.attacks.programs import PROGRAMS
from proofcompute.attacks.proofs import PROOFS, PublicForged
from proofcompute.attacks.receipts import RECEIPTS
from proofcompute.attacks.rows import ROWS_AND_PROOFS
from proofcompute.attacks.values import VALUES
from proofcompute.attacks.weights import WEIGHTS

__all__ = ["ATTACKS", "SUBJECTS", "Attack", "chosen"]

Made = Cheat | Forged | PublicForged | Shown

SUBJECTS: Final[Mapping[str, tuple[str, Mapping[str, Made]]]] = {
    "weights": ("a node runs other weights than it says, and commits to what they give", WEIGHTS),
    "program": ("a node runs another program than it says, and commits to what it gives", PROGRAMS),
    "values": ("a node runs the program on altered, stale or cut values, and commits to them", VALUES),
    "answer": ("a node answers other tokens than the model gives, and commits to them", ANSWERS),
    "experts": ("a node cheats with experts or latents, and commits to what follows", EXPERTS),
    "receipt": ("a receipt says something else, and is signed anew where that is possible", RECEIPTS),
    "challenge": ("a receipt is replaced after the challenge, or cells are named that are none", CHALLENGES),
    "opening": ("an opening lacks parts, has too many, or has them in another form or order", OPENINGS),
    "closing": ("the end of an opening is another, so that it is nobody's or somebody else's", CLOSINGS),
    "rows": ("opened rows or their Merkle proofs are others than were committed", ROWS_AND_PROOFS),
    "hint": ("a product is another than that of the rows and the weights", HINTS),
    "proof": ("a public proof is of false products, or is put together wrongly", PROOFS),
    "framing": ("an auditor makes up evidence about an honest node", FRAMING),
    "denial": ("a node lies, and wants the evidence to be nobody's", LYING),
}
"""Of each subject what its attacks have in common, and the attacks."""

_HELD: Final = frozenset(
    {
        "a card of another model",
        "under other terms",
        "under no terms",
        "kept for less than its terms say",
        "kept for less than is wanted",
        "opened after the deadline of the terms",
        "signed by another node than the terms",
        "token without a logit",
    }
)
"""Attacks on receipts against what only the private auditor of a case holds: a card, terms, another model."""


@dataclass(frozen=True)
class Attack:
    """One attack of the registry."""

    subject: str
    """One of :data:`SUBJECTS`."""
    name: str
    made: Made
    """How it is made."""

    @property
    def label(self) -> str:
        """Subject and name, which no other attack has."""
        return f"{self.subject}/{self.name}"

    @property
    def does(self) -> str:
        """What is done, in words."""
        return getattr(self.made, "does", "") or f"{SUBJECTS[self.subject][0]}: {self.name}"

    @property
    def kind(self) -> str:
        """One of :data:`~proofcompute.attacks.attack.KINDS`."""
        return self.subject if isinstance(self.made, Shown) else self.made.kind

    @property
    def source(self) -> str:
        """Where this kind of attack was published or found."""
        return KINDS[self.kind]

    @property
    def expected(self) -> Mapping[Mode, tuple[str, ...]]:
        """For each mode in which the attack is made the steps or findings of which one must stop it.

        Steps are those of docs/spec/verification.md. What a judge says is one of
        :class:`proofcompute.verifier.findings.Finding`, for judges that hold a key, the model, a card.
        """
        made = self.made
        if isinstance(made, Cheat):
            return {
                Mode.PRIVATE: ("9",),
                Mode.PUBLIC: ("9",),
                Mode.REPLAY: ("7", "9"),
                Mode.EVIDENCE: ("contradicted",),
            }
        if isinstance(made, Shown):
            return {Mode.EVIDENCE: tuple(dict.fromkeys((made.key, made.model, made.card)))}
        if isinstance(made, PublicForged):
            return {Mode.PUBLIC: (str(made.step),)}
        step = (str(made.step),)
        if self.subject == "receipt" and made.step < 6 and self.name not in _HELD:
            return {Mode.PRIVATE: step, Mode.PUBLIC: (str(made.public or made.step),), Mode.REPLAY: step}
        return {Mode.PRIVATE: step}


ATTACKS: Final[Mapping[str, Attack]] = {
    attack.label: attack
    for subject, (_, table) in SUBJECTS.items()
    for attack in (Attack(subject, name, made) for name, made in table.items())
}
"""All attacks by their labels."""


def chosen(only: tuple[str, ...], modes: frozenset[Mode]) -> list[Attack]:
    """Return the attacks in some modes whose label, kind or subject holds one of some texts; none: all."""
    found = []
    for attack in ATTACKS.values():
        texts = (attack.label, attack.kind)
        if modes.isdisjoint(attack.expected):
            continue
        if not only or any(wanted in text for wanted in only for text in texts):
            found.append(attack)
    return found
