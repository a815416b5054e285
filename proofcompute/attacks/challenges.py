"""Attacks on challenges: replaced receipts, and cells that are none; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from proofcompute.attacks.answers import ANSWERS
from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Case
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.attacks.target import ANSWER, FIRST, PROMPT, ROWS, Target, suitable
from proofcompute.errors import Cell
from proofcompute.importers.compiling import compile_decoder
from proofcompute.limits import MAX_CELL_ROWS
from proofcompute.protocol.messages import Challenge, GroupOpening
from proofcompute.testing.forging import Forgery
from proofcompute.testing.models import TINY, random_checkpoint

__all__ = ["CHALLENGES"]


def _replaced(t: Target) -> Case:
    """The node sees the cells, and only then decides what it has answered."""
    asked = t.honest().challenge(Cell(t.embedding, 0, 4), Cell(t.first, 2, 3))
    forgery = ANSWERS["first answer token edited"].build(t)
    opening = opened(forgery, forgery.challenge(*asked.cells))
    opening = replace(opening, head=replace(opening.head, challenge_digest=asked.digest))
    return Case(t.key(), forgery.request, forgery.receipt.encode(), asked, opening.encode())


def _challenge(forgery: Forgery, cells: tuple[Cell, ...]) -> Challenge:
    """Return a challenge past its own checks."""
    challenge = object.__new__(Challenge)
    fields = {"receipt_digest": forgery.receipt.digest, "cells": cells, "hints": True, "tables": True}
    for name, value in fields.items():
        object.__setattr__(challenge, name, value)
    return challenge


def _relabelled(t: Target, real: Cell, named: tuple[Cell, ...]) -> Case:
    """Return the opening of one real cell, given for each of the named ones."""
    forgery = t.honest()
    challenge = _challenge(forgery, named)
    opening = opened(forgery, forgery.challenge(real))
    head = replace(opening.head, challenge_digest=challenge.digest)
    made = Opening(head, opening.parts * len(named)).encode()
    return Case(t.key(), forgery.request, forgery.receipt.encode(), challenge, made)


def _counted_twice(t: Target) -> Case:
    """The segment before the first one is the last again."""
    cell = Cell(t.head, FIRST, ROWS)
    negative = t.head - len(t.plans)
    return _relabelled(t, cell, (Cell(negative, cell.a, cell.b), cell))


def _before_the_first(t: Target) -> Case:
    """A head cell in the prompt, where no token is chosen; it wraps around to the first answer token."""
    forgery = t.forge(t.request([t.prompt[0]] * PROMPT))
    row = FIRST - ANSWER
    challenge = _challenge(forgery, (Cell(t.head, row, row + 1),))
    (output,) = forgery.statement.outputs
    shown = replace(forgery.statement, prompt=row + 1, outputs={output: np.zeros(PROMPT, np.int32)})
    stored = replace(forgery.stored, statement=shown)
    opening = replace(forgery, stored=stored, statement=shown).open(challenge)
    return Case(t.key(), forgery.request, forgery.receipt.encode(), challenge, opening)


def _after_the_last(t: Target) -> Case:
    return _relabelled(t, Cell(t.first, ROWS - 1, ROWS), (Cell(t.first, ROWS, ROWS + 1),))


def _of_too_many_rows(t: Target) -> Case:
    """A small model, whose context has more rows than a cell may have."""
    rows = MAX_CELL_ROWS + 1
    shape = replace(TINY, width=16, head_dim=4, ffn_width=24, context=rows)
    roomy = suitable(compile_decoder(random_checkpoint(0, shape), t.kernels, "w8a16"), t.kernels)
    forgery = roomy.forge(roomy.request([65] * rows, max_tokens=1))
    challenge = _challenge(forgery, (Cell(roomy.embedding, 0, rows),))
    first = opened(forgery, forgery.challenge(Cell(roomy.embedding, 0, MAX_CELL_ROWS)))
    group = GroupOpening(forgery.stored.groups[0].tobytes(), ())
    part = replace(first.parts[0], groups=(group,))
    head = replace(first.head, challenge_digest=challenge.digest)
    opening = Opening(head, (part,)).encode()
    return Case(roomy.key(), forgery.request, forgery.receipt.encode(), challenge, opening)


CHALLENGES: Final[Mapping[str, Forged]] = {
    "receipt replaced after the challenge": Forged(_replaced, 6, "challenge"),
    "a cell counted twice by a negative segment": Forged(_counted_twice, 6, "challenge"),
    "a cell before the first row of its segment": Forged(_before_the_first, 6, "challenge"),
    "a cell of too many rows": Forged(_of_too_many_rows, 6, "challenge"),
    "a cell after the last row": Forged(_after_the_last, 6, "challenge"),
}
"""Attacks on challenges."""
