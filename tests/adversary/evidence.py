"""Bundles of evidence about answers of the small model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adversary.setting import target
from proofcompute.attacks import bundles, lying
from proofcompute.attacks.bundles import INVALID, Holds, Shown, signed
from proofcompute.attacks.framing import FRAMING
from proofcompute.attacks.identities import AUDITOR
from proofcompute.attacks.lying import LYING
from proofcompute.attacks.receipts import TERMS
from proofcompute.errors import EvidenceError, FormatError
from proofcompute.protocol.bundle import Bundle
from proofcompute.verifier.evidence import Found

__all__ = [
    "ACCUSED",
    "AUDITOR",
    "FRAMING",
    "HOLDERS",
    "INVALID",
    "LYING",
    "SHOWN",
    "TERMS",
    "Holds",
    "Shown",
    "bundle",
    "good",
    "judge_key",
    "judged",
    "lie",
    "of_another_kind",
    "refused",
    "said",
    "signed",
    "waited",
]

ACCUSED = bundles.accused(target())
HOLDERS = {name: partial(hold, target()) for name, hold in bundles.HOLDERS.items()}
SHOWN = {**FRAMING, **LYING}
assert len(SHOWN) == len(FRAMING) + len(LYING)
judge_key = partial(bundles.judge_key, target())
judged = partial(bundles.judged, target())
said = partial(bundles.said, target())
found = partial(bundles.found, target())
bundle = partial(bundles.bundle, target())
good = partial(bundles.good, target())
lie = partial(lying.lie, target())
of_another_kind = partial(lying.of_another_kind, target())


def waited(seconds: float, outcome: Found = "silent", opening: bytes = b"") -> Callable[[], Bundle]:
    """An honest answer under terms, which the auditor says was not opened."""
    return partial(bundles.waited(seconds, outcome, opening), target())


def refused(data: bytes) -> str:
    """The error of reading a bundle or of its signatures; AssertionError if there is none."""
    try:
        made = Bundle.decode(data)
        made.check()
    except (FormatError, EvidenceError) as e:
        return str(e)
    raise AssertionError("the bundle is accepted")
