"""Bundles of evidence by the name of what is wrong with them, each with what a judge must say.

Most are an auditor's: it signs whatever it likes, so none may count against an honest node. The rest are a
node's that lies, and wants its lie to be nobody's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from adversary.case import Case, case
from adversary.cheats import CHEATS
from adversary.closings import end_of, flipped, framed
from adversary.openings import CELLS
from adversary.setting import ANSWER, BLOCK_1, KERNELS, NODE, STRANGER, forge, honest, key, model, request
from adversary.taken_apart import opened
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, EvidenceError, FormatError, VerificationError
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle, measured
from proofcompute.protocol.messages import Challenge, Evidence, Outcome, Request, Terms
from proofcompute.protocol.messages.evidence import no_opening
from proofcompute.testing import Forgery
from proofcompute.verifier import Key
from proofcompute.verifier.evidence import Found, make_evidence
from proofcompute.verifier.findings import EvidenceVerdict
from proofcompute.verifier.judging import verify_evidence

AUDITOR = NodeIdentity(bytes(range(2, 34)))
TERMS = Terms.of(NODE, base=10, rate=100, retention=3600)
INVALID = "invalid"
Holds = Key | Model | ModelCard


def judge_key() -> Key:
    """A key that no auditor ever saw."""
    return key(secret=9)


HOLDERS: dict[str, Callable[[], Holds]] = {
    "key": judge_key,
    "model": model,
    "card": lambda: model().card,
}


def judged(bundle: Bundle, holds: Holds | None = None, **options: Any) -> EvidenceVerdict:
    return verify_evidence(bundle, holds or judge_key(), kernels=KERNELS, **options)


def said(bundle: Bundle, holds: Holds | None = None) -> str:
    """The finding, or that the bundle is invalid."""
    try:
        return judged(bundle, holds).finding.value
    except EvidenceError:
        return INVALID


def found(c: Case) -> Found:
    """What an auditor comes to."""
    try:
        return c.verify()
    except VerificationError as e:
        return e


def bundle(c: Case, outcome: Found | None = None, **options: Any) -> Bundle:
    """What an honest auditor makes of a verification."""
    options = {"challenge": c.challenge, "opening": c.opening, "waited": 1.0, **options}
    return make_evidence(AUDITOR, c.request, c.receipt, outcome or found(c), **options)


def signed(made: Bundle, opening: bytes | None = None, **changes: Any) -> Bundle:
    """The same with fields changed, properly signed: whatever an auditor may sign."""
    evidence = made.evidence
    if opening is not None:
        changes["opening_size"], changes["opening_digest"] = len(opening), digest_of(opening)
    evidence = replace(evidence, **changes)
    evidence = evidence.signed(AUDITOR.sign(evidence.signed_digest))
    stream = made.opening if opening is None else io.BytesIO(opening)
    return Bundle(evidence, stream)


def digest_of(opening: bytes) -> bytes:
    return measured(io.BytesIO(opening))[1] if opening else no_opening()


# -- honest answers, and auditors that want them rejected ----------------------------------------------------
def good(*cells: Cell) -> Case:
    return case(honest(), *(cells or CELLS))


ACCUSED = Outcome("contradicted", 8, CELLS[0], "block.0.attention.qkv")
"""What an auditor says that makes something up."""


def accusing(**changes: Any) -> Callable[[], Bundle]:
    """An honest node's answer and opening, called false."""
    return lambda: signed(bundle(good()), **{"outcome": ACCUSED, **changes})


def opened_otherwise(data: Callable[[], bytes]) -> Callable[[], Bundle]:
    """The opening is something else."""
    return lambda: signed(bundle(good()), data(), outcome=ACCUSED)


def with_end(make: Callable[..., list[bytes]]) -> Callable[[], Bundle]:
    """The honest frames, ended otherwise, by an auditor that has no key of the node's."""

    def build() -> bytes:
        opening = opened(honest(), good().challenge)
        return b"".join(map(framed, [*opening.frames(), *make(opening)]))

    return opened_otherwise(build)


def other_challenge() -> Challenge:
    return honest().challenge(Cell(BLOCK_1, 2, 5))


def opening_of_another_receipt() -> bytes:
    other = forge(asked=request(nonce=bytes([1] * 32)))
    return case(other, *CELLS).opening


def waited(seconds: float, outcome: Found = "silent", opening: bytes = b"") -> Callable[[], Bundle]:
    """An honest answer under terms, which the auditor says was not opened."""

    def build() -> Bundle:
        forgery = honest().signed(terms_digest=TERMS.digest)
        c = case(forgery, *CELLS)
        return make_evidence(
            AUDITOR, c.request, c.receipt, outcome, challenge=c.challenge, waited=seconds, terms=TERMS,
            opening=c.opening if opening else b"",
        )  # fmt: skip

    return build


def answered(asked: Request) -> Bundle:
    """An honest answer; the auditor shows another request."""
    c = good()
    return signed(bundle(c), outcome=ACCUSED, request=asked.encode(), request_digest=asked.digest)


def sock_puppet() -> Bundle:
    """The auditor answers itself, badly, and signs with a key of its own."""
    return bundle(case(CHEATS["one layer skipped"].build().signed(STRANGER), Cell(BLOCK_1, 4, 6)))


@dataclass(frozen=True)
class Shown:
    """A bundle, and what judges say who hold a key, the model, a card."""

    build: Callable[[], Bundle]
    key: str
    model: str
    card: str


def everyone(build: Callable[[], Bundle], finding: str) -> Shown:
    return Shown(build, finding, finding, finding)


FRAMING: dict[str, Shown] = {
    "a cell that is right": Shown(accusing(), "refuted", "refuted", "undecided"),
    "a receipt that is right": everyone(accusing(outcome=Outcome("contradicted", 5)), "refuted"),
    "an answer that is right, without an opening": Shown(
        lambda: signed(
            make_evidence(AUDITOR, honest().request, honest().receipt.encode(), found(good())),
            outcome=Outcome("contradicted", 7),
        ),
        "undecided", "refuted", "undecided",
    ),
    "a receipt that is right, without an opening": everyone(
        lambda: signed(
            make_evidence(AUDITOR, honest().request, honest().receipt.encode(), found(good())),
            outcome=Outcome("contradicted", 2),
        ),
        "refuted",
    ),
    "an opening of another receipt": everyone(opened_otherwise(opening_of_another_receipt), "unattributable"),
    "an opening of another challenge": everyone(
        opened_otherwise(lambda: case(honest(), Cell(BLOCK_1, 2, 5)).opening), "unattributable"
    ),
    "a flipped bit": everyone(opened_otherwise(lambda: flipped(-1000)().opening), "unattributable"),
    "an opening cut off": everyone(opened_otherwise(lambda: good().opening[:-1]), "unattributable"),
    "an opening that goes on": everyone(opened_otherwise(lambda: good().opening + b"\0"), "unattributable"),
    "no bytes": everyone(opened_otherwise(lambda: b""), "unattributable"),
    "bytes that are no frames": everyone(opened_otherwise(lambda: b"no opening"), "unattributable"),
    "a frame that is announced and never comes": everyone(
        opened_otherwise(lambda: b"\x5b" + bytes(3) + b"\x01" + bytes(4)), "unattributable"
    ),
    "no closing frame": everyone(with_end(lambda o: []), "unattributable"),
    "a closing frame of the auditor's": everyone(with_end(lambda o: [end_of(o, AUDITOR)]), "unattributable"),
    "a closing frame that is not signed": everyone(
        with_end(lambda o: [end_of(o)[:-64] + bytes(64)]), "unattributable"
    ),
    "a frame more, after which comes the right closing frame": everyone(
        with_end(lambda o: [b"more", end_of(o)]), "unattributable"
    ),
    "a challenge for another receipt": everyone(
        accusing(challenge=replace(other_challenge(), receipt_digest=bytes(32)).encode()), INVALID
    ),
    "a challenge that is none": everyone(accusing(challenge=b"challenge"), INVALID),
    "a cell that does not exist": everyone(
        accusing(challenge=Challenge(honest().receipt.digest, (Cell(40, 0, 1),)).encode()), INVALID
    ),
    "another challenge than was answered": everyone(
        lambda: signed(bundle(good()), outcome=ACCUSED, challenge=other_challenge().encode()),
        "unattributable",
    ),
    "terms of another node": everyone(
        accusing(terms=Terms.of(STRANGER, base=0, rate=1, retention=0).encode()), INVALID
    ),
    "terms that the receipt does not name": everyone(accusing(terms=TERMS.encode()), INVALID),
    "another request": everyone(lambda: answered(request(nonce=bytes([1] * 32))), "unattributable"),
    "a request for more than was asked": everyone(
        lambda: answered(request(max_tokens=ANSWER + 1)), "unattributable"
    ),
    "another receipt's signature": everyone(
        lambda: signed(
            bundle(good()), outcome=ACCUSED, receipt=honest().receipt.signed(bytes(64)).encode()
        ),
        "unattributable",
    ),
    "a receipt that is none": everyone(accusing(receipt=b"receipt"), "unattributable"),
    "a receipt with a byte more": everyone(
        accusing(receipt=honest().receipt.encode() + b"\0"), "unattributable"
    ),
    "another version of the arithmetic": everyone(
        lambda: bundle(case(honest().signed(numerics=2), *CELLS)), "undecided"
    ),
    "silence that was shorter than the terms allow": everyone(waited(10.0), "refuted"),
    "silence": everyone(waited(11.0), "asserted"),
    "silence, and an opening that came in time": everyone(waited(10.0, opening=b"*"), "refuted"),
    "silence, and an opening that came late": everyone(waited(11.0, opening=b"*"), "asserted"),
    "a refusal": everyone(waited(0.0, "refused"), "asserted"),
    "a refusal, and an opening": Shown(waited(0.0, "refused", b"*"), "refuted", "refuted", "asserted"),
    "what holds, accepted": Shown(lambda: bundle(good()), "confirmed", "confirmed", "undecided"),
    "what holds, accepted by replay": Shown(
        lambda: make_evidence(AUDITOR, honest().request, honest().receipt.encode(), found(good())),
        "undecided", "confirmed", "undecided",
    ),
    "what holds, accepted without an opening that the node signed": Shown(
        lambda: signed(bundle(good()), flipped(-1000)().opening),
        "unattributable", "confirmed", "unattributable",
    ),
}  # fmt: skip
"""Evidence about an honest node: nothing may come to a contradiction."""


# -- nodes that lie ------------------------------------------------------------------------------------------
def lying() -> Forgery:
    return CHEATS["one layer skipped"].build()


def lie(*cells: Cell) -> Case:
    return case(lying(), *(cells or (Cell(BLOCK_1, 4, 6),)))


def lie_opened(make: Callable[..., list[bytes]]) -> Callable[[], Bundle]:
    """The frames of a lie, ended otherwise."""

    def build() -> Bundle:
        c = lie()
        opening = opened(lying(), c.challenge)
        return bundle(replace(c, opening=b"".join(map(framed, [*opening.frames(), *make(opening)]))))

    return build


def right_and_more() -> Bundle:
    """Every cell is right, and the node signs a frame more."""
    c = good()
    opening = opened(honest(), c.challenge)
    return bundle(replace(c, opening=opening.closed([*opening.frames(), b"more"])))


def right_and_larger() -> Bundle:
    """The node signs a frame that is larger than the challenge takes."""
    c = good()
    opening = opened(honest(), c.challenge)
    first, *rest = opening.frames()
    return bundle(replace(c, opening=opening.closed([first + bytes(4096), *rest])))


def hintless() -> Bundle:
    """Opened for somebody who holds the model."""
    return bundle(case(lying(), Cell(BLOCK_1, 4, 6), holder=model()))


def signed_nothing() -> Bundle:
    """The node signs that it opens nothing."""
    c = good()
    return bundle(replace(c, opening=opened(honest(), c.challenge).closed([])))


def disagreeing(**changes: Any) -> Callable[[], Bundle]:
    """A receipt that does not follow from the request."""
    return lambda: bundle(case(honest().signed(**changes), *CELLS))


def promising(terms: Terms, retention: int) -> Callable[[], Bundle]:
    """A receipt that names terms which it does not keep, or which are not the node's."""

    def build() -> Bundle:
        c = case(honest().signed(terms_digest=terms.digest, retention=retention), *CELLS)
        return bundle(c, terms=terms)

    return build


def of_another_kind(hints: bool, tables: bool) -> Bundle:
    """A lie, asked for as no private verifier asks."""
    c = lie()
    return signed(bundle(c), challenge=replace(c.challenge, hints=hints, tables=tables).encode())


CONTRADICTED = "contradicted"
LYING: dict[str, Shown] = {
    "a false cell": Shown(lambda: bundle(lie()), CONTRADICTED, CONTRADICTED, "undecided"),
    "a false cell, accepted": Shown(
        lambda: signed(bundle(lie()), outcome=Outcome("accepted")), CONTRADICTED, CONTRADICTED, "undecided"
    ),
    "a false cell, called silence": Shown(
        lambda: bundle(lie(), "silent"), CONTRADICTED, CONTRADICTED, "asserted"
    ),
    "a false cell, blamed on another": Shown(
        lambda: signed(bundle(lie()), outcome=ACCUSED), CONTRADICTED, CONTRADICTED, "undecided"
    ),
    "a false cell without hints": Shown(hintless, "undecided", CONTRADICTED, "undecided"),
    "a false cell that the node does not sign": Shown(
        lie_opened(lambda o: []), "unattributable", CONTRADICTED, "unattributable"
    ),
    "a false cell under a wrong digest": Shown(
        lie_opened(lambda o: [end_of(o, frames=bytes(32))]), "unattributable", CONTRADICTED, "unattributable"
    ),
    "a false answer that is not opened": Shown(
        lambda: bundle(lie(), "silent", opening=b""), "asserted", CONTRADICTED, "asserted"
    ),
    "a frame more": everyone(right_and_more, CONTRADICTED),
    "a frame that is too large": everyone(right_and_larger, CONTRADICTED),
    "nothing, signed": Shown(signed_nothing, CONTRADICTED, CONTRADICTED, "undecided"),
    "another row count": everyone(disagreeing(rows=40), CONTRADICTED),
    "another stop reason": everyone(disagreeing(stop_reason="stop"), CONTRADICTED),
    "another model id": everyone(disagreeing(model_id=bytes(32)), CONTRADICTED),
    "another hash suite": everyone(disagreeing(suite="blake3"), CONTRADICTED),
    "kept for less than its terms say": everyone(promising(TERMS, 3599), CONTRADICTED),
    "terms of another node, named": everyone(
        promising(Terms.of(STRANGER, base=1, rate=1, retention=0), 3600), CONTRADICTED
    ),
    "terms that are not signed, named": everyone(
        promising(replace(TERMS, signature=bytes(64)), 3600), CONTRADICTED
    ),
    "an answer to a request for another node": everyone(
        lambda: bundle(case(forge(asked=request(node=NODE.public)).signed(STRANGER), *CELLS)), CONTRADICTED
    ),
    "an answer that is the auditor's own": Shown(sock_puppet, CONTRADICTED, CONTRADICTED, "undecided"),
}
"""Evidence about a node that lies, and what is left of its lie."""

SHOWN = {**FRAMING, **LYING}
assert len(SHOWN) == len(FRAMING) + len(LYING)


# -- bytes ---------------------------------------------------------------------------------------------------
def refused(data: bytes) -> str:
    """The error of reading a bundle or of its signatures; AssertionError if there is none."""
    try:
        made = Bundle.decode(data)
        made.check()
    except (FormatError, EvidenceError) as e:
        return str(e)
    raise AssertionError("the bundle is accepted")


def evidence_of(data: bytes) -> Evidence:
    return Bundle.decode(data).evidence
