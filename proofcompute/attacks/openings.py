"""Attacks on the form of an opening: its frames, parts and lists; with the step that rejects each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np

from proofcompute.arrays import Array
from proofcompute.attacks.answers import ANSWERS
from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Build, Case, case
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.attacks.target import ROWS, NotApplicable, Target
from proofcompute.encoding import wire
from proofcompute.errors import Cell

__all__ = ["OPENINGS", "UNREADABLE", "audited", "head_of_another_version"]


def audited(t: Target) -> tuple[Cell, ...]:
    """Return the cells that most attacks are asked for: some of each kind of segment."""
    return (Cell(t.embedding, 3, 5), Cell(t.first, 4, 6), Cell(t.middle, 9, 12), Cell(t.head, 12, 14))


def _opening(change: Callable[[Opening], Opening]) -> Build:
    return lambda t: case(t, t.honest(), *audited(t), edit=change)


def _frames(change: Callable[[list[bytes]], list[bytes]]) -> Build:
    def build(t: Target) -> Case:
        good = case(t, t.honest(), *audited(t))
        opening = opened(t.honest(), good.challenge)
        return replace(good, opening=opening.closed(change(opening.frames())))

    return build


def _bytes(change: Callable[[bytes], bytes]) -> Build:
    def build(t: Target) -> Case:
        good = case(t, t.honest(), *audited(t))
        return replace(good, opening=change(good.opening))

    return build


def _head(**changes: Any) -> Build:
    """The head says something else, and the node signs it as an answer to what was asked."""

    def change(o: Opening) -> Opening:
        answers = (o.head.receipt_digest, o.head.challenge_digest)
        return replace(o, head=replace(o.head, **changes), answers=answers)

    return _opening(change)


def head_of_another_version(frames: list[bytes]) -> list[bytes]:
    """Return frames of which the first names another version."""
    kind, _, *rest = cast("list[Any]", wire.decode(frames[0], limit=1 << 20, what="opening"))
    return [wire.encode((kind, 1, *rest)), *frames[1:]]


def _long_frame_head(data: bytes) -> bytes:
    """Return an opening whose first frame announces its length in four bytes where fewer are enough."""
    wide = 1 << (data[0] - 0x58)
    size = int.from_bytes(data[1 : 1 + wide], "big")
    return bytes([0x5A]) + size.to_bytes(4, "big") + data[1 + wide :]


def _trace_made_up(t: Target) -> Case:
    """The trace is made up after the challenge: its roots are not those of the receipt."""
    return case(t, t.honest().signed(trace_root=bytes(32)), *audited(t))


def _last_cell_missing(t: Target) -> Case:
    """A cheat opens the lucky cells only: its one wrong cell is the last that was asked for."""
    forgery = ANSWERS["last answer token edited"].build(t)
    cells = (Cell(t.first, 4, 6), Cell(t.head, ROWS - 1, ROWS))
    return case(t, forgery, *cells, edit=lambda o: replace(o, parts=o.parts[:-1]))


def _silence(t: Target) -> Case:
    """The cheat answers the challenge with nothing at all."""
    forgery = ANSWERS["last answer token edited"].build(t)
    return replace(case(t, forgery, Cell(t.head, ROWS - 1, ROWS)), opening=b"")


def _rows_with_more_bytes(t: Target) -> Case:
    """Leaves of the stream were committed with a byte more than a row has."""
    groups: list[Array] = list(t.honest().stored.groups)
    at = t.model.program.group_of[t.entry(t.middle)]
    groups[at] = np.concatenate([groups[at], np.ones((ROWS, 1), np.uint8)], axis=1)
    return case(t, t.honest().recommitted(groups), Cell(t.middle, 4, 6))


def _shorter_prefix(t: Target) -> Case:
    """Fewer rows of keys and values are opened than a row of the cell sees, with a proof that fits them."""
    cell, kept = Cell(t.middle, 9, 12), t.kept(t.middle)
    if not kept:
        raise NotApplicable("no prefix is read")
    program = t.model.program
    numbers = [group for group, _ in program.plans[t.middle].groups]
    at = numbers.index(program.group_of[kept[0]])
    shorter = opened(t.honest(), t.honest().challenge(Cell(t.middle, 7, 8))).parts[0].groups[at]

    def edit(o: Opening) -> Opening:
        groups = list(o.parts[0].groups)
        groups[at] = shorter
        return o.with_part(0, groups=tuple(groups))

    return case(t, t.honest(), cell, edit=edit)


def _hints_swapped(t: Target) -> Case:
    """Two products of as many sets change places."""

    def edit(o: Opening) -> Opening:
        hints = list(o.parts[1].hints)
        pairs = itertools.combinations(range(len(hints)), 2)
        two = next(((i, j) for i, j in pairs if len(hints[i]) == len(hints[j])), None)
        if two is None:
            raise NotApplicable("no two products of as many sets")
        i, j = two
        hints[i], hints[j] = hints[j], hints[i]
        return o.with_part(1, hints=tuple(hints))

    return _opening(edit)(t)


def _part(index: int, **changes: Any) -> Build:
    return _opening(lambda o: o.with_part(index, **changes))


OPENINGS: Final[Mapping[str, Forged]] = {
    "nothing opened": Forged(_silence, 10, "opening"),
    "only lucky cells opened": Forged(_last_cell_missing, 10, "opening"),
    "head only": Forged(_frames(lambda f: f[:1]), 10, "opening"),
    "a part missing in the middle": Forged(_frames(lambda f: [*f[:2], *f[3:]]), 1, "opening"),
    "a part twice": Forged(_frames(lambda f: [*f[:2], f[1], *f[2:]]), 1, "opening"),
    "parts in another order": Forged(_frames(lambda f: [f[0], f[2], f[1], *f[3:]]), 1, "opening"),
    "one part more": Forged(_frames(lambda f: [*f, f[-1]]), 1, "opening"),
    "an empty part": Forged(_frames(lambda f: [*f[:2], b"", *f[3:]]), 1, "opening"),
    "a part of empty lists": Forged(
        _frames(lambda f: [*f[:2], wire.encode(([], [], [])), *f[3:]]), 1, "opening"
    ),
    "bytes after the end": Forged(_bytes(lambda b: b + b"\0"), 10, "opening"),
    "cut off": Forged(_bytes(lambda b: b[:-1]), 1, "opening"),
    "a frame's head in a longer encoding": Forged(_bytes(_long_frame_head), 1, "opening"),
    "a frame that announces a gigabyte": Forged(_bytes(lambda b: b"\x5a\x40\0\0\0"), 1, "opening"),
    "head of another version": Forged(_frames(head_of_another_version), 1, "opening"),
    "opening of another receipt": Forged(_head(receipt_digest=bytes(32)), 6, "challenge"),
    "opening of another challenge": Forged(_head(challenge_digest=bytes(32)), 6, "challenge"),
    "trace made up after the receipt": Forged(_trace_made_up, 7, "challenge"),
    "a shorter prefix": Forged(_shorter_prefix, 1, "shortened context"),
    "rows with more bytes than they have": Forged(_rows_with_more_bytes, 1, "opening"),
    "no rows": Forged(_part(1, groups=()), 1, "opening"),
    "no table rows": Forged(_part(0, tables=()), 1, "opening"),
    "no hints": Forged(_part(1, hints=()), 1, "opening"),
    "table rows where none are needed": Forged(
        _opening(lambda o: o.with_part(1, tables=o.parts[0].tables)), 1, "opening"
    ),
    "hints in another order": Forged(_hints_swapped, 8, "hints"),
    "groups in another order": Forged(
        _opening(lambda o: o.with_part(1, groups=o.parts[1].groups[::-1])), 7, "Merkle"
    ),
}
"""Attacks on openings."""

UNREADABLE: Final = frozenset(
    {
        "nothing opened",
        "a part twice",
        "one part more",
        "parts in another order",
        "bytes after the end",
        "cut off",
        "a frame's head in a longer encoding",
        "a frame that announces a gigabyte",
        "bytes beyond what a part may hold",
    }
)
"""Attacks whose frames a verifier does not read to the end, so that it cannot say who made them."""
