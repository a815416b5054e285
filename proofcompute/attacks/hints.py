"""Forged product hints; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arrays import F32, I32
from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Build, Case, case
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.attacks.target import ANSWER, ROWS, NotApplicable, Target
from proofcompute.errors import Cell
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.sets import pack_set
from proofcompute.testing.forging import Forgery

__all__ = ["HINTS", "hint_of", "last_cell", "logits_of", "packed_sets", "with_hint"]


def last_cell(t: Target) -> Cell:
    """Return the cell that makes the last answer token."""
    return Cell(t.head, ROWS - 1, ROWS)


def _block_cell(t: Target) -> Cell:
    return Cell(t.first, 4, 6)


def hint_of(t: Target, forgery: Forgery, cell: Cell, index: int) -> I32:
    """Return the true values [sets, n, m] of one product's hint: a set for each part, all of one width."""
    part = opened(forgery, forgery.challenge(cell), t.model).parts[0]
    n, m = cell.b - cell.a, t.plans[cell.segment].sites[index].m
    return np.stack([unpack(data[1:], data[0], n * m).reshape(n, m) for data in part.hints[index]])


def packed_sets(t: Target, values: I32) -> tuple[bytes, ...]:
    """Return the sets of a hint, packed."""
    return tuple(pack_set(v, t.kernels) for v in values)


def with_hint(t: Target, forgery: Forgery, cell: Cell, index: int, packed: tuple[bytes, ...]) -> Case:
    """Return an audit of one cell in which one product's hint is replaced."""

    def edit(opening: Opening) -> Opening:
        hints = list(opening.parts[0].hints)
        hints[index] = packed
        return opening.with_part(0, hints=tuple(hints))

    return case(t, forgery, cell, using=t.model, edit=edit)


def _wanted_token(change: Callable[[Target, I32, int], None], wanted: Callable[[Target, I32], int]) -> Build:
    """Replace the last token by a wanted one, and forge the logits' accumulators so that it wins."""

    def build(t: Target) -> Case:
        cell = last_cell(t)
        acc = hint_of(t, t.honest(), cell, -1)
        token = wanted(t, acc)
        forgery = t.forge(choose=lambda n, old: token if n == ANSWER - 1 else old)
        change(t, acc, token)
        return with_hint(t, forgery, cell, -1, packed_sets(t, acc))

    return build


def _raise(t: Target, acc: I32, token: int) -> None:
    acc[0, 0, token] = acc[0].max() + 1000


def _add_p(t: Target, acc: I32, token: int) -> None:
    acc[0, 0, token] += P31


def logits_of(t: Target, acc: I32) -> F32:
    """Return logits of the head's hint, but for the one scale of the row."""
    weight = t.plans[t.head].sites[-1].weight
    return np.asarray(acc[0, 0].astype(np.float32) * t.model.matrix(weight).scale)


def _subtract_p_from_others(t: Target, acc: I32, token: int) -> None:
    logits = logits_of(t, acc)
    for other in np.flatnonzero(logits >= logits[token]):
        if other != token:
            acc[0, 0, other] -= P31


def _ordinary(t: Target, tokens: I32) -> int:
    """Return the first of some tokens that does not end an answer."""
    for token in tokens:
        if token in t.ordinary:
            return int(token)
    raise NotApplicable("no token has such an accumulator")


def _negative(t: Target, acc: I32) -> int:
    return _ordinary(t, np.flatnonzero(acc[0, 0] < 0).astype(np.int32))


def _not_the_largest(t: Target, acc: I32) -> int:
    return t.another(int(acc[0, 0].argmax()))


def _second(t: Target, acc: I32) -> int:
    """Return a runner-up; those before it have values from which p can be taken away."""
    order = np.argsort(-logits_of(t, acc)).astype(np.int32)
    good = [i for i in range(1, len(order)) if (acc[0, 0, order[:i]] >= 0).all()][:64]
    return _ordinary(t, order[good])


def _out_of_bound(t: Target, acc: I32, token: int) -> None:
    acc[0, 0, token] = (1 << 30) + 1


def _plain(t: Target) -> int:
    """Return the last product of the first block whose rows all have one matrix."""
    sites = t.plans[t.first].sites
    return next(i for i in reversed(range(len(sites))) if sites[i].groups == 1)


def _edited(change: Callable[[I32], None], index: Callable[[Target], int] = lambda t: 0) -> Build:
    """Forge the values of one product of the first block, whose rows all have one matrix."""

    def build(t: Target) -> Case:
        cell = _block_cell(t)
        acc = hint_of(t, t.honest(), cell, index(t))
        change(acc)
        return with_hint(t, t.honest(), cell, index(t), packed_sets(t, acc))

    return build


def _packed(change: Callable[[Target, bytes], bytes]) -> Build:
    """Change the packed bytes of the first set of a product."""

    def build(t: Target) -> Case:
        cell = _block_cell(t)
        packed = packed_sets(t, hint_of(t, t.honest(), cell, 0))
        return with_hint(t, t.honest(), cell, 0, (change(t, packed[0]), *packed[1:]))

    return build


def _limb_shift(acc: I32) -> None:
    """One unit of a high limb too much in one channel, too little in the next."""
    acc[0, 0, 3] += 256
    acc[0, 0, 4] -= 256


def _two_columns(acc: I32) -> None:
    acc[0, 0, 3] += 1
    acc[0, 0, 4] -= 1


def _swap_rows(acc: I32) -> None:
    acc[:] = acc[:, ::-1].copy()


def _one(acc: I32) -> None:
    acc[-1, -1, -1] += 1


def _wider(t: Target, packed: bytes) -> bytes:
    """Return the same values, each with one bit more than is needed."""
    acc = hint_of(t, t.honest(), _block_cell(t), 0)[0]
    return bytes([packed[0] + 1]) + t.kernels.pack(np.ascontiguousarray(acc).reshape(-1), packed[0] + 1)


def _endless(t: Target, packed: bytes) -> bytes:
    """Return a set with more bytes than all sets of the part can have."""
    return packed + bytes(16 * 32 * sum(site.m * site.rows for site in t.plans[t.first].sites) + (1 << 16))


def _padding(t: Target) -> Case:
    """An odd width leaves spare bits behind the values of a row; the last is set."""
    acc = hint_of(t, t.honest(), last_cell(t), -1)
    packed = packed_sets(t, acc)
    spare = [i for i, data in enumerate(packed) if data[0] * acc.shape[2] % 8]
    if not spare:
        raise NotApplicable("hints of the head have no spare bits")
    at = spare[0]
    changed = packed[at][:-1] + bytes([packed[at][-1] | 0x80])
    return with_hint(t, t.honest(), last_cell(t), -1, (*packed[:at], changed, *packed[at + 1 :]))


def _apart(t: Target) -> Case:
    """A set for each limb of the rows where one for both is due: high limbs of nothing, and the true sum."""
    acc = hint_of(t, t.honest(), last_cell(t), -1)
    if len(acc) != 1:
        raise NotApplicable("hints of the head have a set for each limb")
    sets = packed_sets(t, np.concatenate([np.zeros_like(acc), acc]))
    return with_hint(t, t.honest(), last_cell(t), -1, sets)


HINTS: Final[Mapping[str, Forged]] = {
    "the wanted token's accumulator raised": Forged(_wanted_token(_raise, _not_the_largest), 8, "hints"),
    "an accumulator plus p": Forged(_wanted_token(_add_p, _negative), 8, "hints"),
    "accumulators minus p": Forged(_wanted_token(_subtract_p_from_others, _second), 8, "hints"),
    "an accumulator out of bound": Forged(_wanted_token(_out_of_bound, _negative), 8, "hints"),
    "a compensating error of a whole limb": Forged(_edited(_limb_shift), 8, "hints"),
    "a set for each limb": Forged(_apart, 8, "hints"),
    "a compensating error in two columns": Forged(_edited(_two_columns), 8, "hints"),
    "rows of a hint swapped": Forged(_edited(_swap_rows), 8, "hints"),
    "one value of the last row off by one": Forged(_edited(_one, _plain), 8, "hints"),
    "a hint of zeros": Forged(_edited(lambda acc: acc.fill(0)), 8, "hints"),
    "more bits than needed": Forged(_packed(_wider), 8, "hints"),
    "a padding bit set": Forged(_padding, 8, "hints"),
    "width 0": Forged(_packed(lambda t, b: b"\0" + b[1:]), 8, "hints"),
    "width 33": Forged(_packed(lambda t, b: b"\x21" + b[1:]), 8, "hints"),
    "width 255": Forged(_packed(lambda t, b: b"\xff" + b[1:]), 8, "hints"),
    "no bytes": Forged(_packed(lambda t, b: b""), 8, "hints"),
    "a byte too few": Forged(_packed(lambda t, b: b[:-1]), 8, "hints"),
    "bytes beyond what a part may hold": Forged(_packed(_endless), 1, "hints"),
    "a byte too many": Forged(_packed(lambda t, b: b + b"\0"), 8, "hints"),
}
"""Attacks on hints."""
