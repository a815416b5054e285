"""Forged product hints; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adversary.case import Attack, Case, case
from adversary.openings import CELLS
from adversary.setting import ANSWER, BLOCK_0, HEAD, KERNELS, ROWS, forge, honest, model
from adversary.taken_apart import Opening, opened
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arrays import F32, I32
from proofcompute.errors import Cell
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.sets import pack_set
from proofcompute.testing.forging import Forgery

TARGET = Cell(HEAD, ROWS - 1, ROWS)
"""The cell that makes the last answer token."""


def hint_of(forgery: Forgery, cell: Cell, index: int) -> I32:
    """The true values [sets, n, m] of one product's hint; one set here, of both limbs of the rows."""
    part = opened(forgery, forgery.challenge(cell), model()).parts[0]
    n, m = cell.b - cell.a, model().program.plans[cell.segment].sites[index].m
    return np.stack([unpack(data[1:], data[0], n * m).reshape(n, m) for data in part.hints[index]])


def packed_sets(values: I32) -> tuple[bytes, ...]:
    """The sets of a hint, packed."""
    return tuple(pack_set(v, KERNELS) for v in values)


def with_hint(forgery: Forgery, cell: Cell, index: int, packed: tuple[bytes, ...]) -> Case:
    """An audit of one cell in which one product's hint is replaced."""

    def edit(opening: Opening) -> Opening:
        hints = list(opening.parts[0].hints)
        hints[index] = packed
        return opening.with_part(0, hints=tuple(hints))

    return case(forgery, cell, using=model(), edit=edit)


def wanted_token(change: Callable[[I32, int], None], wanted: Callable[[I32], int]) -> Case:
    """The last token is replaced by a wanted one, and the logits' accumulators are forged so that it wins."""
    acc = hint_of(honest(), TARGET, 0)
    token = wanted(acc)
    forgery = forge(choose=lambda n, old: token if n == ANSWER - 1 else old)
    change(acc, token)
    return with_hint(forgery, TARGET, 0, packed_sets(acc))


def _raise(acc: I32, token: int) -> None:
    acc[0, 0, token] = acc[0].max() + 1000


def _add_p(acc: I32, token: int) -> None:
    acc[0, 0, token] += P31


def logits_of(acc: I32) -> F32:
    """Logits of the head's hint, but for the one scale of the row."""
    head = model().program.plans[HEAD].sites[0].weight
    return np.asarray(acc[0, 0].astype(np.float32) * model().matrix(head).scale)


def _subtract_p_from_others(acc: I32, token: int) -> None:
    logits = logits_of(acc)
    better = np.flatnonzero(logits >= logits[token])
    for other in better:
        if other != token:
            acc[0, 0, other] -= P31


def _negative(acc: I32) -> int:
    return int(np.flatnonzero(acc[0, 0] < 0)[0])


def _second(acc: I32) -> int:
    """The runner-up; those before it have values from which p can be taken away."""
    order = np.argsort(-logits_of(acc))
    return next(int(t) for i, t in enumerate(order) if i and (acc[0, 0, order[:i]] >= 0).all())


def _out_of_bound(acc: I32, token: int) -> None:
    acc[0, 0, token] = (1 << 30) + 1


def edited_hint(change: Callable[[I32], None], index: int = 0, cell: Cell = Cell(BLOCK_0, 4, 6)) -> Attack:
    def build() -> Case:
        acc = hint_of(honest(), cell, index)
        change(acc)
        return with_hint(honest(), cell, index, packed_sets(acc))

    return build


def packed_hint(change: Callable[[bytes], bytes], cell: Cell = Cell(BLOCK_0, 4, 6)) -> Attack:
    """The packed bytes of the first accumulator set of a product are changed."""

    def build() -> Case:
        packed = packed_sets(hint_of(honest(), cell, 0))
        return with_hint(honest(), cell, 0, (change(packed[0]), *packed[1:]))

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


def wider(packed: bytes) -> bytes:
    """The same values, each with one bit more than is needed."""
    cell = CELLS[1]
    acc = hint_of(honest(), cell, 0)[0]
    return bytes([packed[0] + 1]) + KERNELS.pack(np.ascontiguousarray(acc).reshape(-1), packed[0] + 1)


def padded(packed: bytes) -> bytes:
    """The last padding bit is set."""
    return packed[:-1] + bytes([packed[-1] | 0x80])


def padding_set() -> Case:
    """An odd width leaves spare bits after the 260 values of a row."""
    acc = hint_of(honest(), TARGET, 0)
    packed = packed_sets(acc)
    spare = [i for i, data in enumerate(packed) if data[0] * acc.shape[2] % 8]
    assert spare
    changed = tuple(padded(d) if i == spare[0] else d for i, d in enumerate(packed))
    return with_hint(honest(), TARGET, 0, changed)


def apart() -> Case:
    """A hint for each limb of the rows where one for both is due: high limbs of nothing, and the true sum."""
    acc = hint_of(honest(), TARGET, 0)
    return with_hint(honest(), TARGET, 0, packed_sets(np.concatenate([np.zeros_like(acc), acc])))


HINTS: dict[str, tuple[Attack, int]] = {
    "the wanted token's accumulator raised": (
        lambda: wanted_token(_raise, lambda a: 65 if a[0, 0].argmax() != 65 else 66),
        8,
    ),
    "an accumulator plus p": (lambda: wanted_token(_add_p, _negative), 8),
    "accumulators minus p": (lambda: wanted_token(_subtract_p_from_others, _second), 8),
    "an accumulator out of bound": (lambda: wanted_token(_out_of_bound, _negative), 8),
    "a compensating error of a whole limb": (edited_hint(_limb_shift), 8),
    "a set for each limb": (apart, 8),
    "a compensating error in two columns": (edited_hint(_two_columns), 8),
    "rows of a hint swapped": (edited_hint(_swap_rows), 8),
    "one value of the last row off by one": (edited_hint(_one, 3), 8),
    "a hint of zeros": (edited_hint(lambda acc: acc.fill(0)), 8),
    "more bits than needed": (packed_hint(wider), 8),
    "a padding bit set": (padding_set, 8),
    "width 0": (packed_hint(lambda b: b"\0" + b[1:]), 8),
    "width 33": (packed_hint(lambda b: b"\x21" + b[1:]), 8),
    "width 255": (packed_hint(lambda b: b"\xff" + b[1:]), 8),
    "no bytes": (packed_hint(lambda b: b""), 8),
    "a byte too few": (packed_hint(lambda b: b[:-1]), 8),
    "bytes beyond what a part may hold": (packed_hint(lambda b: b + bytes(1 << 16)), 1),
    "a byte too many": (packed_hint(lambda b: b + b"\0"), 8),
}
