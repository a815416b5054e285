"""Evidence about an honest node that an auditor made up; with what each judge must say.

An auditor signs whatever it likes, so nothing here may count against the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from proofcompute.attacks.bundles import (
    INVALID,
    Shown,
    accused,
    accusing,
    bundle,
    everyone,
    found,
    good,
    opened_otherwise,
    other_challenge,
    signed,
    waited,
    with_end,
)
from proofcompute.attacks.case import case
from proofcompute.attacks.closings import end_of, flipped
from proofcompute.attacks.identities import AUDITOR, STRANGER
from proofcompute.attacks.openings import audited
from proofcompute.attacks.receipts import TERMS
from proofcompute.attacks.target import ANSWER, Target
from proofcompute.errors import Cell
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Challenge, Outcome, Request, Terms
from proofcompute.verifier.evidence import make_evidence

__all__ = ["FRAMING"]


def opening_of_another_receipt(t: Target) -> bytes:
    """Return the opening of the answer to another request."""
    return case(t, t.honest(t.request(nonce=bytes([1] * 32))), *audited(t)).opening


def answered(t: Target, asked: Request) -> Bundle:
    """Return an honest answer of which the auditor shows another request."""
    made = bundle(t, good(t))
    return signed(made, outcome=accused(t), request=asked.encode(), request_digest=asked.digest)


FRAMING: Final[Mapping[str, Shown]] = {
    "a cell that is right": Shown(accusing(), "refuted", "refuted", "undecided"),
    "a receipt that is right": everyone(
        accusing(lambda t: {"outcome": Outcome("contradicted", 5)}), "refuted"
    ),
    "an answer that is right, without an opening": Shown(
        lambda t: signed(
            make_evidence(AUDITOR, t.honest().request, t.honest().receipt.encode(), found(t, good(t))),
            outcome=Outcome("contradicted", 7),
        ),
        "undecided",
        "refuted",
        "undecided",
    ),
    "a receipt that is right, without an opening": everyone(
        lambda t: signed(
            make_evidence(AUDITOR, t.honest().request, t.honest().receipt.encode(), found(t, good(t))),
            outcome=Outcome("contradicted", 2),
        ),
        "refuted",
    ),
    "an opening of another receipt": everyone(opened_otherwise(opening_of_another_receipt), "unattributable"),
    "an opening of another challenge": everyone(
        opened_otherwise(lambda t: case(t, t.honest(), Cell(t.middle, 2, 5)).opening), "unattributable"
    ),
    "a flipped bit": everyone(opened_otherwise(lambda t: flipped(-1000)(t).opening), "unattributable"),
    "an opening cut off": everyone(opened_otherwise(lambda t: good(t).opening[:-1]), "unattributable"),
    "an opening that goes on": everyone(
        opened_otherwise(lambda t: good(t).opening + b"\0"), "unattributable"
    ),
    "no bytes": everyone(opened_otherwise(lambda t: b""), "unattributable"),
    "bytes that are no frames": everyone(opened_otherwise(lambda t: b"no opening"), "unattributable"),
    "a frame that is announced and never comes": everyone(
        opened_otherwise(lambda t: b"\x5b" + bytes(3) + b"\x01" + bytes(4)), "unattributable"
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
        accusing(lambda t: {"challenge": replace(other_challenge(t), receipt_digest=bytes(32)).encode()}),
        INVALID,
    ),
    "a challenge that is none": everyone(accusing(lambda t: {"challenge": b"challenge"}), INVALID),
    "a cell that does not exist": everyone(
        accusing(
            lambda t: {
                "challenge": Challenge(t.honest().receipt.digest, (Cell(len(t.plans), 0, 1),)).encode()
            }
        ),
        INVALID,
    ),
    "another challenge than was answered": everyone(
        lambda t: signed(bundle(t, good(t)), outcome=accused(t), challenge=other_challenge(t).encode()),
        "unattributable",
    ),
    "terms of another node": everyone(
        accusing(lambda t: {"terms": Terms.of(STRANGER, base=0, rate=1, retention=0).encode()}), INVALID
    ),
    "terms that the receipt does not name": everyone(accusing(lambda t: {"terms": TERMS.encode()}), INVALID),
    "another request": everyone(lambda t: answered(t, t.request(nonce=bytes([1] * 32))), "unattributable"),
    "a request for more than was asked": everyone(
        lambda t: answered(t, t.request(max_tokens=ANSWER + 1)), "unattributable"
    ),
    "another receipt's signature": everyone(
        lambda t: signed(
            bundle(t, good(t)), outcome=accused(t), receipt=t.honest().receipt.signed(bytes(64)).encode()
        ),
        "unattributable",
    ),
    "a receipt that is none": everyone(accusing(lambda t: {"receipt": b"receipt"}), "unattributable"),
    "a receipt with a byte more": everyone(
        accusing(lambda t: {"receipt": t.honest().receipt.encode() + b"\0"}), "unattributable"
    ),
    "another version of the arithmetic": everyone(
        lambda t: bundle(t, case(t, t.honest().signed(numerics=2), *audited(t))), "undecided"
    ),
    "silence that was shorter than the terms allow": everyone(waited(10.0), "refuted"),
    "silence": everyone(waited(11.0), "asserted"),
    "silence, and an opening that came in time": everyone(waited(10.0, opening=b"*"), "refuted"),
    "silence, and an opening that came late": everyone(waited(11.0, opening=b"*"), "asserted"),
    "a refusal": everyone(waited(0.0, "refused"), "asserted"),
    "a refusal, and an opening": Shown(waited(0.0, "refused", b"*"), "refuted", "refuted", "asserted"),
    "what holds, accepted": Shown(lambda t: bundle(t, good(t)), "confirmed", "confirmed", "undecided"),
    "what holds, accepted by replay": Shown(
        lambda t: make_evidence(AUDITOR, t.honest().request, t.honest().receipt.encode(), found(t, good(t))),
        "undecided",
        "confirmed",
        "undecided",
    ),
    "what holds, accepted without an opening that the node signed": Shown(
        lambda t: signed(bundle(t, good(t)), flipped(-1000)(t).opening),
        "unattributable",
        "confirmed",
        "unattributable",
    ),
}
"""Evidence about an honest node: nothing may come to a contradiction."""
