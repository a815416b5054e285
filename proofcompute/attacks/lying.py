"""Evidence about a node that lies, and wants its lie to be nobody's; with what each judge must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from proofcompute.attacks.bundles import Shown, accused, bundle, everyone, good, signed
from proofcompute.attacks.case import Case, case
from proofcompute.attacks.closings import end_of, framed
from proofcompute.attacks.identities import NODE, STRANGER
from proofcompute.attacks.openings import audited
from proofcompute.attacks.receipts import TERMS
from proofcompute.attacks.taken_apart import opened
from proofcompute.attacks.target import Target
from proofcompute.attacks.weights import WEIGHTS
from proofcompute.errors import Cell
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Outcome, Terms
from proofcompute.testing.forging import Forgery

__all__ = ["LYING", "lie", "lying", "of_another_kind"]

CONTRADICTED: Final = "contradicted"


def lying(t: Target) -> Forgery:
    """Return the answer of a node that skips a layer."""
    return t.once("a lie", WEIGHTS["one layer skipped"].build)


def lie(t: Target, *cells: Cell) -> Case:
    """Return an audit of it, opened with the products that it made."""
    return case(t, lying(t), *(cells or (Cell(t.middle, 4, 6),)))


def _opened(make: Callable[..., list[bytes]]) -> Callable[[Target], Bundle]:
    """The frames of a lie, ended otherwise."""

    def build(t: Target) -> Bundle:
        c = lie(t)
        opening = opened(lying(t), c.challenge)
        return bundle(t, replace(c, opening=b"".join(map(framed, [*opening.frames(), *make(opening)]))))

    return build


def _right_and_more(t: Target) -> Bundle:
    """Every cell is right, and the node signs a frame more."""
    c = good(t)
    opening = opened(t.honest(), c.challenge)
    return bundle(t, replace(c, opening=opening.closed([*opening.frames(), b"more"])))


def _right_and_larger(t: Target) -> Bundle:
    """The node signs a frame that is larger than the challenge takes."""
    c = good(t)
    opening = opened(t.honest(), c.challenge)
    first, *rest = opening.frames()
    return bundle(t, replace(c, opening=opening.closed([first + bytes(4096), *rest])))


def _hintless(t: Target) -> Bundle:
    """Opened for somebody who holds the model."""
    return bundle(t, case(t, lying(t), Cell(t.middle, 4, 6), holder=t.model))


def _signed_nothing(t: Target) -> Bundle:
    """The node signs that it opens nothing."""
    c = good(t)
    return bundle(t, replace(c, opening=opened(t.honest(), c.challenge).closed([])))


def _disagreeing(**changes: Any) -> Callable[[Target], Bundle]:
    """A receipt that does not follow from the request."""
    return lambda t: bundle(t, case(t, t.honest().signed(**changes), *audited(t)))


def _promising(terms: Terms, retention: int) -> Callable[[Target], Bundle]:
    """A receipt that names terms which it does not keep, or which are not the node's."""

    def build(t: Target) -> Bundle:
        forgery = t.honest().signed(terms_digest=terms.digest, retention=retention)
        return bundle(t, case(t, forgery, *audited(t)), terms=terms)

    return build


def _sock_puppet(t: Target) -> Bundle:
    """The auditor answers itself, badly, and signs with a key of its own."""
    return bundle(t, case(t, lying(t).signed(STRANGER), Cell(t.middle, 4, 6)))


def _of_another(t: Target) -> Bundle:
    """A request that names one node, answered by another."""
    return bundle(t, case(t, t.forge(t.request(node=NODE.public)).signed(STRANGER), *audited(t)))


def of_another_kind(t: Target, hints: bool, tables: bool) -> Bundle:
    """Return a lie, asked for as no private verifier asks."""
    c = lie(t)
    challenge = replace(c.challenge, hints=hints, tables=tables)
    return signed(bundle(t, c), challenge=challenge.encode())


LYING: Final[Mapping[str, Shown]] = {
    "a false cell": Shown(lambda t: bundle(t, lie(t)), CONTRADICTED, CONTRADICTED, "undecided"),
    "a false cell, accepted": Shown(
        lambda t: signed(bundle(t, lie(t)), outcome=Outcome("accepted")),
        CONTRADICTED,
        CONTRADICTED,
        "undecided",
    ),
    "a false cell, called silence": Shown(
        lambda t: bundle(t, lie(t), "silent"), CONTRADICTED, CONTRADICTED, "asserted"
    ),
    "a false cell, blamed on another": Shown(
        lambda t: signed(bundle(t, lie(t)), outcome=accused(t)), CONTRADICTED, CONTRADICTED, "undecided"
    ),
    "a false cell without hints": Shown(_hintless, "undecided", CONTRADICTED, "undecided"),
    "a false cell that the node does not sign": Shown(
        _opened(lambda o: []), "unattributable", CONTRADICTED, "unattributable"
    ),
    "a false cell under a wrong digest": Shown(
        _opened(lambda o: [end_of(o, frames=bytes(32))]), "unattributable", CONTRADICTED, "unattributable"
    ),
    "a false answer that is not opened": Shown(
        lambda t: bundle(t, lie(t), "silent", opening=b""), "asserted", CONTRADICTED, "asserted"
    ),
    "a frame more": everyone(_right_and_more, CONTRADICTED),
    "a frame that is too large": everyone(_right_and_larger, CONTRADICTED),
    "nothing, signed": Shown(_signed_nothing, CONTRADICTED, CONTRADICTED, "undecided"),
    "another row count": everyone(_disagreeing(rows=40), CONTRADICTED),
    "another stop reason": everyone(_disagreeing(stop_reason="stop"), CONTRADICTED),
    "another model id": everyone(_disagreeing(model_id=bytes(32)), CONTRADICTED),
    "another hash suite": everyone(_disagreeing(suite="blake3"), CONTRADICTED),
    "kept for less than its terms say": everyone(_promising(TERMS, 3599), CONTRADICTED),
    "terms of another node, named": everyone(
        _promising(Terms.of(STRANGER, base=1, rate=1, retention=0), 3600), CONTRADICTED
    ),
    "terms that are not signed, named": everyone(
        _promising(replace(TERMS, signature=bytes(64)), 3600), CONTRADICTED
    ),
    "an answer to a request for another node": everyone(_of_another, CONTRADICTED),
    "an answer that is the auditor's own": Shown(_sock_puppet, CONTRADICTED, CONTRADICTED, "undecided"),
}
"""Evidence about a node that lies, and what is left of its lie."""
