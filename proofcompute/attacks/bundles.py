"""Bundles of evidence, and what a judge says of them: what auditors sign, honest or not."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from proofcompute.attacks.case import Case, case
from proofcompute.attacks.closings import framed
from proofcompute.attacks.identities import AUDITOR
from proofcompute.attacks.openings import audited
from proofcompute.attacks.receipts import TERMS
from proofcompute.attacks.taken_apart import opened
from proofcompute.attacks.target import Target
from proofcompute.errors import Cell, EvidenceError, VerificationError
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle, measured
from proofcompute.protocol.messages import Challenge, Outcome
from proofcompute.protocol.messages.evidence import no_opening
from proofcompute.verifier import Key
from proofcompute.verifier.evidence import Found, make_evidence
from proofcompute.verifier.findings import EvidenceVerdict
from proofcompute.verifier.judging import verify_evidence

__all__ = [
    "HOLDERS",
    "INVALID",
    "Holds",
    "Shown",
    "accused",
    "accusing",
    "bundle",
    "everyone",
    "found",
    "good",
    "judge_key",
    "judged",
    "opened_otherwise",
    "other_challenge",
    "said",
    "signed",
    "waited",
    "with_end",
]

INVALID: Final = "invalid"
"""What is said of a bundle that shows nothing about anybody."""
Holds = Key | Model | ModelCard
"""What a judge may hold of the model."""


def judge_key(t: Target) -> Key:
    """Return a key that no auditor ever saw."""
    return t.key(secret=9)


HOLDERS: Final[Mapping[str, Callable[[Target], Holds]]] = {
    "key": judge_key,
    "model": lambda t: t.model,
    "card": lambda t: t.model.card,
}
"""The judges."""


def judged(t: Target, bundle: Bundle, holds: Holds | None = None, **options: Any) -> EvidenceVerdict:
    """Return what a judge says of a bundle, by default one that holds a key."""
    return verify_evidence(bundle, holds or judge_key(t), kernels=t.kernels, **options)


def said(t: Target, bundle: Bundle, holds: Holds | None = None) -> str:
    """Return the finding, or that the bundle is invalid."""
    try:
        return judged(t, bundle, holds).finding.value
    except EvidenceError:
        return INVALID


def found(t: Target, c: Case) -> Found:
    """Return what an auditor comes to."""
    try:
        return c.verify(t.kernels)
    except VerificationError as e:
        return e


def bundle(t: Target, c: Case, outcome: Found | None = None, **options: Any) -> Bundle:
    """Return what an honest auditor makes of a verification."""
    options = {"challenge": c.challenge, "opening": c.opening, "waited": 1.0, **options}
    return make_evidence(AUDITOR, c.request, c.receipt, outcome or found(t, c), **options)


def signed(made: Bundle, opening: bytes | None = None, **changes: Any) -> Bundle:
    """Return the same with fields changed, properly signed: whatever an auditor may sign."""
    evidence = made.evidence
    if opening is not None:
        digest = measured(io.BytesIO(opening))[1] if opening else no_opening()
        changes["opening_size"], changes["opening_digest"] = len(opening), digest
    evidence = replace(evidence, **changes)
    evidence = evidence.signed(AUDITOR.sign(evidence.signed_digest))
    stream = made.opening if opening is None else io.BytesIO(opening)
    return Bundle(evidence, stream)


@dataclass(frozen=True)
class Shown:
    """A bundle, and what judges say who hold a key, the model, a card."""

    build: Callable[[Target], Bundle]
    key: str
    model: str
    card: str


def everyone(build: Callable[[Target], Bundle], finding: str) -> Shown:
    """Return a bundle of which all judges say the same."""
    return Shown(build, finding, finding, finding)


# -- honest answers, and auditors that want them rejected ----------------------------------------------------
def good(t: Target, *cells: Cell) -> Case:
    """Return an audit of an honest answer."""
    return case(t, t.honest(), *(cells or audited(t)))


def accused(t: Target) -> Outcome:
    """Return what an auditor says that makes something up."""
    return Outcome("contradicted", 8, audited(t)[0], t.products(t.first)[0])


def accusing(changes: Callable[[Target], dict[str, Any]] = lambda t: {}) -> Callable[[Target], Bundle]:
    """Return an honest node's answer and opening, called false."""
    return lambda t: signed(bundle(t, good(t)), **{"outcome": accused(t), **changes(t)})


def opened_otherwise(data: Callable[[Target], bytes]) -> Callable[[Target], Bundle]:
    """Return an honest answer of which the auditor says that the opening was something else."""
    return lambda t: signed(bundle(t, good(t)), data(t), outcome=accused(t))


def with_end(make: Callable[..., list[bytes]]) -> Callable[[Target], Bundle]:
    """Return the honest frames, ended otherwise, by an auditor that has no key of the node's."""

    def build(t: Target) -> bytes:
        opening = opened(t.honest(), good(t).challenge)
        return b"".join(map(framed, [*opening.frames(), *make(opening)]))

    return opened_otherwise(build)


def other_challenge(t: Target) -> Challenge:
    """Return another challenge for the honest receipt."""
    return t.honest().challenge(Cell(t.middle, 2, 5))


def waited(seconds: float, outcome: Found = "silent", opening: bytes = b"") -> Callable[[Target], Bundle]:
    """Return an honest answer under terms, which the auditor says was not opened."""

    def build(t: Target) -> Bundle:
        forgery = t.honest().signed(terms_digest=TERMS.digest)
        c = case(t, forgery, *audited(t))
        return make_evidence(
            AUDITOR,
            c.request,
            c.receipt,
            outcome,
            challenge=c.challenge,
            waited=seconds,
            terms=TERMS,
            opening=c.opening if opening else b"",
        )

    return build
