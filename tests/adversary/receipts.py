"""Attacks on receipts and challenges, signed anew wherever possible; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from adversary.case import Attack, Case, case
from adversary.cheats import CHEATS
from adversary.setting import (
    ANSWER,
    BLOCK_0,
    BLOCK_1,
    EMBEDDING,
    FIRST_HEAD_ROW,
    HEAD,
    KERNELS,
    NODE,
    ROWS,
    SMALL,
    STRANGER,
    forge,
    honest,
    key,
    model,
    request,
)
from adversary.taken_apart import Opening, opened
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.encoding import wire
from proofcompute.errors import Cell
from proofcompute.importers.compiling import compile_decoder
from proofcompute.limits import MAX_CELL_ROWS
from proofcompute.models.model import Model
from proofcompute.program.operations import Embed, Linear, Sample
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Segment, Spec, WeightSpec
from proofcompute.protocol.messages import Challenge, GroupOpening, Receipt, Terms
from proofcompute.testing.forging import Forgery
from proofcompute.testing.models import byte_vocabulary, random_checkpoint
from proofcompute.verifier import keygen


def _receipt(change: Callable[[Receipt], bytes], forgery: Forgery | None = None) -> Case:
    """An honest audit, apart from the receipt's bytes."""
    good = case(forgery or honest())
    return replace(good, receipt=change(Receipt.decode(good.receipt)))


def _signed(**changes: object) -> Attack:
    """Receipt fields are changed and signed again; the challenge and the opening are for that receipt."""
    return lambda: case(honest().signed(**changes), Cell(BLOCK_0, 4, 6))  # type: ignore[arg-type]


# -- receipts ----------------------------------------------------------------------------------------------
def long_head(receipt: Receipt) -> bytes:
    """The same fields with the array's head in two bytes instead of one."""
    data = receipt.encode()
    assert data[0] == 0x8F
    return bytes([0x98, 0x0F]) + data[1:]


def next_version(receipt: Receipt) -> bytes:
    fields = wire.decode(receipt.encode(), limit=1 << 20, what="receipt")
    assert isinstance(fields, tuple)
    return wire.encode((fields[0], 3, *fields[2:]))


def signed_by_another() -> Case:
    return case(forge(asked=request(node=honest().receipt.node)).signed(STRANGER))


def signed_by_another_than_expected() -> Case:
    return replace(case(honest().signed(STRANGER)), node=honest().receipt.node)


def under_terms_of_another() -> Case:
    """The right answer, signed by somebody else, who names the terms that the verifier holds."""
    forgery = honest().signed(STRANGER, terms_digest=TERMS.digest, retention=TERMS.retention)
    return replace(case(forgery), terms=TERMS)


def unsigned() -> Case:
    forgery = replace(honest(), receipt=honest().receipt.signed(bytes(64)))
    return case(forgery)


def signature_of_another_receipt() -> Case:
    other = forge(asked=request(nonce=bytes([1] * 32)))
    return case(replace(honest(), receipt=honest().receipt.signed(other.receipt.signature)))


def replayed() -> Case:
    return replace(case(honest()), request=request(nonce=bytes([1] * 32)))


def other_settings() -> Case:
    """The client asked with a seed of its own; the node answered a request without it."""
    return replace(case(honest()), request=request(seed=bytes([1] * 32)))


def another_suite() -> Case:
    forgery = replace(honest(), stored=replace(honest().stored, suite="blake3"))
    return case(forgery.signed(suite="blake3").recommitted(forgery.stored.groups))


def unchecked_output() -> Case:
    """An output that the program does not have, and that therefore no cell checks."""
    logits = np.zeros((ANSWER, 260), "<f4")
    return case(honest().signed(outputs=(*honest().receipt.outputs, ("logits", logits.tobytes()))))


def cut_short(reason: str = "length") -> Attack:
    return lambda: case(forge(stop=lambda answer: reason if len(answer) == 3 else None))


def too_long() -> Case:
    return case(forge(stop=lambda answer: "length" if len(answer) == ANSWER + 1 else None))


def goes_on_after_the_end() -> Case:
    return case(
        forge(
            choose=lambda n, token: 257 if n == 1 else token,
            stop=lambda a: "length" if len(a) == ANSWER else None,
        ),
        Cell(BLOCK_1, 3, 9),
    )


def token_outside_the_vocabulary() -> Case:
    return case(forge(choose=lambda n, token: 1 << 30 if n == ANSWER - 1 else token), Cell(BLOCK_1, 3, 9))


@cache
def narrow() -> Model:
    """A program whose table has more rows than there are logits."""
    rng = np.random.default_rng(0)
    rows, logits, width = 300, 260, 16
    program = Program(
        inputs=(("tokens", Spec("i32", ())),),
        outputs=("next",),
        feedback=True,
        context=64,
        weights=(WeightSpec("emb", "matrix", (rows, width)), WeightSpec("head", "matrix", (logits, width))),
        committed=(Committed("x", ("x",)),),
        segments=(
            Segment("embed", (Node("e", Embed("emb"), ("tokens",), ("x",)),)),
            Segment(
                "head",
                (
                    Node("l", Linear("head", 2), ("x",), ("logits",)),
                    Node("s", Sample(), ("logits", "tokens"), ("next",)),
                ),
            ),
        ),
    )
    weights = {
        spec.name: Matrix(
            rng.integers(-127, 128, (1, spec.rows, width), dtype=np.int8),
            np.full(spec.rows, 0.01, np.float32),
        )
        for spec in program.weights
    }
    return Model.build(program, weights, tokenizer=byte_vocabulary().encode())


def token_without_a_logit(number: int = ANSWER - 1) -> Case:
    """The table has such a token; the program can never give it."""
    m = narrow()
    forgery = forge(m, request(m), choose=lambda n, token: 290 if n == number else token)
    return case(forgery, Cell(0, 3, 9), holder=keygen(m, KERNELS))


def ended_at_an_ignored_token() -> Case:
    return case(
        forge(
            asked=request(ignore_end=True),
            choose=lambda n, token: 257 if n == 2 else token,
            stop=lambda answer: "end" if answer[-1] == 257 else None,
        ),
        Cell(BLOCK_1, 3, 9),
    )


def other_choice() -> Case:
    """The first choice is answered again in the place of the second."""
    return replace(case(honest()), request=request(choice=1))


TERMS = Terms.of(NODE, base=10, rate=100, retention=3600)
LONGER = Terms.of(NODE, base=10, rate=100, retention=3601)


def promised(terms: Terms | None, held: Terms, **changes: object) -> Attack:
    """A receipt under some terms, or none, for a verifier that holds ``held``."""

    def build() -> Case:
        signed = honest().signed(terms_digest=terms.digest if terms else b"")
        return replace(case(signed, Cell(BLOCK_0, 4, 6)), terms=held, **changes)  # type: ignore[arg-type]

    return build


def receipt_replaced_after_the_challenge() -> Case:
    """The node sees the cells, and only then decides what it has answered."""
    asked = honest().challenge(Cell(EMBEDDING, 0, 4), Cell(BLOCK_0, 2, 3))
    forgery = CHEATS["first answer token edited"].build()
    mine = forgery.challenge(*asked.cells)
    opening = opened(forgery, mine)
    opening = replace(opening, head=replace(opening.head, challenge_digest=asked.digest))
    return Case(key(), forgery.request, forgery.receipt.encode(), asked, opening.encode())


RECEIPTS: dict[str, tuple[Attack, int]] = {
    "receipt in a longer encoding": (lambda: _receipt(long_head), 1),
    "receipt with a trailing byte": (lambda: _receipt(lambda r: r.encode() + b"\0"), 1),
    "receipt of another version": (lambda: _receipt(next_version), 1),
    "receipt cut off": (lambda: _receipt(lambda r: r.encode()[:-1]), 1),
    "empty receipt": (lambda: _receipt(lambda r: b""), 1),
    "signed by another node than the request names": (signed_by_another, 2),
    "signed by another node than the verifier expects": (signed_by_another_than_expected, 2),
    "signed by another node than the terms": (under_terms_of_another, 2),
    "not signed": (unsigned, 2),
    "signature of another receipt": (signature_of_another_receipt, 2),
    "a signature scheme that nobody knows": (_signed(scheme="ed448"), 1),
    "a signature scheme that is reserved": (_signed(scheme="eip712-secp256k1"), 1),
    "a card of another model": (lambda: replace(case(honest()), card=model(1).card.encode()), 3),
    "another model id": (_signed(model_id=bytes(32)), 3),
    "another version of the arithmetic": (_signed(numerics=2), 3),
    "another hash suite": (another_suite, 4),
    "replayed receipt": (replayed, 4),
    "answer to other settings": (other_settings, 4),
    "answer to another choice": (other_choice, 4),
    "an output that nothing checks": (unchecked_output, 5),
    "no output": (_signed(outputs=()), 5),
    "output of another name": (_signed(outputs=(("x.1", bytes(64)),)), 5),
    "outputs that are no whole rows": (_signed(outputs=(("next", bytes(23)),)), 5),
    "an empty answer": (_signed(outputs=(("next", b""),)), 5),
    "answer cut short": (cut_short(), 5),
    "answer cut short as if ended": (cut_short("end"), 5),
    "answer longer than allowed": (too_long, 5),
    "answer goes on after its end": (goes_on_after_the_end, 5),
    "token outside the vocabulary": (token_outside_the_vocabulary, 5),
    "token without a logit": (token_without_a_logit, 5),
    "ended at an end token that is to be ignored": (ended_at_an_ignored_token, 5),
    "under other terms": (promised(LONGER, TERMS), 5),
    "under no terms": (promised(None, TERMS), 5),
    "kept for less than its terms say": (promised(LONGER, LONGER), 5),
    "kept for less than is wanted": (lambda: replace(case(honest()), retention=3601), 5),
    "opened after the deadline of the terms": (promised(TERMS, TERMS, waited=10.5), 10),
    "another row count": (_signed(rows=ROWS + 1), 5),
    "another stop reason": (_signed(stop_reason="stop"), 5),
    "receipt replaced after the challenge": (receipt_replaced_after_the_challenge, 6),
}


# -- challenges that name cells which are none ---------------------------------------------------------------
def _challenge(forgery: Forgery, cells: tuple[Cell, ...]) -> Challenge:
    """A challenge past its own checks."""
    challenge = object.__new__(Challenge)
    fields = {"receipt_digest": forgery.receipt.digest, "cells": cells, "hints": True, "tables": True}
    for name, value in fields.items():
        object.__setattr__(challenge, name, value)
    return challenge


def _relabelled(forgery: Forgery, real: Cell, named: tuple[Cell, ...]) -> Case:
    """The opening of one real cell, given for each of the named ones."""
    challenge = _challenge(forgery, named)
    opening = opened(forgery, forgery.challenge(real))
    head = replace(opening.head, challenge_digest=challenge.digest)
    return Case(
        key(),
        forgery.request,
        forgery.receipt.encode(),
        challenge,
        Opening(head, opening.parts * len(named)).encode(),
    )


def cell_counted_twice() -> Case:
    """Segment -1 is the head again."""
    cell = Cell(HEAD, FIRST_HEAD_ROW, ROWS)
    return _relabelled(honest(), cell, (Cell(-1, cell.a, cell.b), cell))


def cell_before_the_first() -> Case:
    """A head cell in the prompt, where no token is chosen; it wraps around to the first answer token."""
    forgery = forge(asked=request(prompt="A" * 12))
    row = FIRST_HEAD_ROW - ANSWER
    challenge = _challenge(forgery, (Cell(HEAD, row, row + 1),))
    shown = replace(forgery.statement, prompt=row + 1, outputs={"next": np.zeros(12, np.int32)})
    stored = replace(forgery.stored, statement=shown)
    opening = replace(forgery, stored=stored, statement=shown).open(challenge)
    return Case(key(), forgery.request, forgery.receipt.encode(), challenge, opening)


def cell_of_many_rows() -> Case:
    rows = MAX_CELL_ROWS + 1
    roomy = compile_decoder(random_checkpoint(0, replace(SMALL, context=rows)), KERNELS, "w8a16")
    forgery = forge(roomy, request(roomy, prompt="A" * rows, max_tokens=1))
    cell = Cell(EMBEDDING, 0, rows)
    challenge = _challenge(forgery, (cell,))
    first = opened(forgery, forgery.challenge(Cell(EMBEDDING, 0, MAX_CELL_ROWS)))
    group = GroupOpening(forgery.stored.groups[0].tobytes(), ())
    part = replace(first.parts[0], groups=(group,))
    head = replace(first.head, challenge_digest=challenge.digest)
    opening = Opening(head, (part,)).encode()
    return Case(keygen(roomy, KERNELS), forgery.request, forgery.receipt.encode(), challenge, opening)


CHALLENGES: dict[str, tuple[Attack, int]] = {
    "a cell counted twice by a negative segment": (cell_counted_twice, 6),
    "a cell before the first row of its segment": (cell_before_the_first, 6),
    "a cell of too many rows": (cell_of_many_rows, 6),
    "a cell after the last row": (
        lambda: _relabelled(honest(), Cell(BLOCK_0, 16, 17), (Cell(BLOCK_0, 17, 18),)),
        6,
    ),
}
