"""Attacks on receipts and challenges, signed anew wherever possible; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np

from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Build, Case, case
from proofcompute.attacks.identities import NODE, STRANGER
from proofcompute.attacks.narrow import narrow
from proofcompute.attacks.target import ANSWER, ROWS, Target
from proofcompute.encoding import wire
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Receipt, Terms

__all__ = ["RECEIPTS", "TERMS"]

TERMS: Final = Terms.of(NODE, base=10, rate=100, retention=3600)
"""The terms of the node."""
LONGER: Final = Terms.of(NODE, base=10, rate=100, retention=3601)
"""Terms that promise a second more."""


def _receipt(change: Callable[[Receipt], bytes]) -> Build:
    """Return an honest audit, apart from the receipt's bytes."""

    def build(t: Target) -> Case:
        good = case(t, t.honest())
        return replace(good, receipt=change(Receipt.decode(good.receipt)))

    return build


def _signed(**changes: Any) -> Build:
    """Receipt fields are changed and signed again; the challenge and the opening are for that receipt."""
    return lambda t: case(t, t.honest().signed(**changes), Cell(t.first, 4, 6))


# -- form --------------------------------------------------------------------------------------------------
def _long_head(receipt: Receipt) -> bytes:
    """Return the same fields with the array's head in two bytes instead of one."""
    data = receipt.encode()
    return bytes([0x98, data[0] & 0x1F]) + data[1:]


def _next_version(receipt: Receipt) -> bytes:
    kind, version, *rest = cast("list[Any]", wire.decode(receipt.encode(), limit=1 << 20, what="receipt"))
    return wire.encode((kind, version + 1, *rest))


# -- signatures --------------------------------------------------------------------------------------------
def _signed_by_another(t: Target) -> Case:
    return case(t, t.forge(t.request(node=NODE.public)).signed(STRANGER))


def _signed_by_another_than_expected(t: Target) -> Case:
    return replace(case(t, t.honest().signed(STRANGER)), node=NODE.public)


def _under_terms_of_another(t: Target) -> Case:
    """The right answer, signed by somebody else, who names the terms that the verifier holds."""
    forgery = t.honest().signed(STRANGER, terms_digest=TERMS.digest, retention=TERMS.retention)
    return replace(case(t, forgery), terms=TERMS)


def _relayed(t: Target) -> Case:
    """Another node's receipt is handed on as it is, for a request that names this one."""
    asked = t.request(node=NODE.public)
    return replace(case(t, t.honest().signed(STRANGER)), request=asked)


def _unsigned(t: Target) -> Case:
    return case(t, replace(t.honest(), receipt=t.honest().receipt.signed(bytes(64))))


def _signature_of_another_receipt(t: Target) -> Case:
    other = t.honest(t.request(nonce=bytes([1] * 32)))
    return case(t, replace(t.honest(), receipt=t.honest().receipt.signed(other.receipt.signature)))


# -- the request -------------------------------------------------------------------------------------------
def _answering(**changes: Any) -> Build:
    """The receipt is that of the request; the auditor asked something else."""
    return lambda t: replace(case(t, t.honest()), request=t.request(**changes))


def _of_another_prompt(t: Target) -> Case:
    asked = t.request([t.another(token) for token in t.prompt])
    return replace(case(t, t.honest()), request=asked)


def _another_suite(t: Target) -> Case:
    forgery = replace(t.honest(), stored=replace(t.honest().stored, suite="blake3"))
    return case(t, forgery.signed(suite="blake3").recommitted(forgery.stored.groups))


# -- the answer --------------------------------------------------------------------------------------------
def _unchecked_output(t: Target) -> Case:
    """An output that the program does not have, and that therefore no cell checks."""
    logits = np.zeros((ANSWER, t.logits), "<f4")
    return case(t, t.honest().signed(outputs=(*t.honest().receipt.outputs, ("logits", logits.tobytes()))))


def _renamed_output(t: Target) -> Case:
    return case(t, t.honest().signed(outputs=((t.exit(t.first), bytes(64)),)), Cell(t.first, 4, 6))


def _outputs(data: Callable[[bytes], bytes]) -> Build:
    """The bytes of the answer are others."""

    def build(t: Target) -> Case:
        ((name, old),) = t.honest().receipt.outputs
        return case(t, t.honest().signed(outputs=((name, data(old)),)), Cell(t.first, 4, 6))

    return build


def _cut_short(reason: str = "length") -> Build:
    return lambda t: case(t, t.forge(stop=lambda answer: reason if len(answer) == 3 else None))


def _too_long(t: Target) -> Case:
    return case(t, t.forge(stop=lambda answer: "length" if len(answer) == ANSWER + 1 else None))


def _goes_on_after_the_end(t: Target) -> Case:
    end = t.need_end()
    forgery = t.forge(
        choose=lambda n, token: end if n == 1 else token,
        stop=lambda a: "length" if len(a) == ANSWER else None,
    )
    return case(t, forgery, Cell(t.middle, 3, 9))


def _token_outside_the_vocabulary(t: Target) -> Case:
    forgery = t.forge(choose=lambda n, token: 1 << 30 if n == ANSWER - 1 else token)
    return case(t, forgery, Cell(t.middle, 3, 9))


def _token_without_a_logit(t: Target, number: int = ANSWER - 1) -> Case:
    """The table has such a token; the program can never give it."""
    own = narrow(t)
    forgery = own.forge(choose=lambda n, token: own.logits if n == number else token)
    return case(own, forgery, Cell(0, 3, 9))


def _ended_at_an_ignored_token(t: Target) -> Case:
    end = t.need_end()
    forgery = t.forge(
        t.request(ignore_end=True),
        choose=lambda n, token: end if n == 2 else token,
        stop=lambda answer: "end" if answer[-1] == end else None,
    )
    return case(t, forgery, Cell(t.middle, 3, 9))


# -- promises ----------------------------------------------------------------------------------------------
def _promised(terms: Terms | None, held: Terms, **changes: Any) -> Build:
    """A receipt under some terms, or none, for a verifier that holds ``held``."""

    def build(t: Target) -> Case:
        signed = t.honest().signed(terms_digest=terms.digest if terms else b"")
        return replace(case(t, signed, Cell(t.first, 4, 6)), terms=held, **changes)

    return build


def _card(t: Target) -> Case:
    return replace(case(t, t.honest()), card=t.another_model.card.encode())


RECEIPTS: Final[Mapping[str, Forged]] = {
    "receipt in a longer encoding": Forged(_receipt(_long_head), 1, "binding"),
    "receipt with a trailing byte": Forged(_receipt(lambda r: r.encode() + b"\0"), 1, "binding"),
    "receipt of another version": Forged(_receipt(_next_version), 1, "binding"),
    "receipt cut off": Forged(_receipt(lambda r: r.encode()[:-1]), 1, "binding"),
    "empty receipt": Forged(_receipt(lambda r: b""), 1, "binding"),
    "signed by another node than the request names": Forged(_signed_by_another, 2, "relay"),
    "signed by another node than the verifier expects": Forged(_signed_by_another_than_expected, 2, "relay"),
    "signed by another node than the terms": Forged(_under_terms_of_another, 2, "relay"),
    "receipt of another node, handed on": Forged(_relayed, 2, "relay", public=4),
    "not signed": Forged(_unsigned, 2, "binding"),
    "signature of another receipt": Forged(_signature_of_another_receipt, 2, "stale receipt"),
    "a signature scheme that nobody knows": Forged(_signed(scheme="ed448"), 1, "binding"),
    "a signature scheme that is reserved": Forged(_signed(scheme="eip712-secp256k1"), 1, "binding"),
    "a card of another model": Forged(_card, 3, "another model"),
    "another model id": Forged(_signed(model_id=bytes(32)), 3, "another model"),
    "another version of the arithmetic": Forged(_signed(numerics=2), 3, "binding"),
    "another hash suite": Forged(_another_suite, 4, "binding"),
    "replayed receipt": Forged(_answering(nonce=bytes([1] * 32)), 4, "stale receipt"),
    "answer to other settings": Forged(_answering(seed=bytes([1] * 32)), 4, "sampler"),
    "answer to another choice": Forged(_answering(choice=1), 4, "stale receipt"),
    "answer to another prompt": Forged(_of_another_prompt, 4, "stale receipt"),
    "answer to a shorter request": Forged(_answering(max_tokens=ANSWER + 1), 4, "early stop"),
    "an output that nothing checks": Forged(_unchecked_output, 5, "binding"),
    "no output": Forged(_signed(outputs=()), 5, "binding"),
    "output of another name": Forged(_renamed_output, 5, "binding"),
    "outputs that are no whole rows": Forged(_outputs(lambda data: data[:-1]), 5, "binding"),
    "an empty answer": Forged(_outputs(lambda data: b""), 5, "early stop"),
    "answer cut short": Forged(_cut_short(), 5, "early stop"),
    "answer cut short as if ended": Forged(_cut_short("end"), 5, "early stop"),
    "answer longer than allowed": Forged(_too_long, 5, "edited answer"),
    "answer goes on after its end": Forged(_goes_on_after_the_end, 5, "edited answer"),
    "token outside the vocabulary": Forged(_token_outside_the_vocabulary, 5, "edited answer"),
    "token without a logit": Forged(_token_without_a_logit, 5, "edited answer"),
    "ended at an end token that is to be ignored": Forged(_ended_at_an_ignored_token, 5, "early stop"),
    "under other terms": Forged(_promised(LONGER, TERMS), 5, "retention"),
    "under no terms": Forged(_promised(None, TERMS), 5, "retention"),
    "kept for less than its terms say": Forged(_promised(LONGER, LONGER), 5, "retention"),
    "kept for less than is wanted": Forged(
        lambda t: replace(case(t, t.honest()), retention=3601), 5, "retention"
    ),
    "opened after the deadline of the terms": Forged(_promised(TERMS, TERMS, waited=10.5), 10, "retention"),
    "another row count": Forged(_signed(rows=ROWS + 1), 5, "challenge"),
    "another stop reason": Forged(_signed(stop_reason="stop"), 5, "early stop"),
}
"""Attacks on receipts."""
