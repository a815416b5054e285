"""Attacks on the form of an opening: its frames, parts and lists; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adversary.case import Attack, Case, case
from adversary.cheats import CHEATS
from adversary.setting import BLOCK_0, BLOCK_1, EMBEDDING, HEAD, ROWS, honest, model
from adversary.taken_apart import Opening, opened
from proofcompute.arrays import Array
from proofcompute.encoding import wire
from proofcompute.errors import Cell

CELLS = (Cell(EMBEDDING, 3, 5), Cell(BLOCK_0, 4, 6), Cell(BLOCK_1, 9, 12), Cell(HEAD, 12, 14))


def _opening(change: Callable[[Opening], Opening]) -> Attack:
    return lambda: case(honest(), *CELLS, edit=change)


def _frames(change: Callable[[list[bytes]], list[bytes]]) -> Attack:
    def build() -> Case:
        good = case(honest(), *CELLS)
        opening = opened(honest(), good.challenge)
        return replace(good, opening=opening.closed(change(opening.frames())))

    return build


def _bytes(change: Callable[[bytes], bytes]) -> Attack:
    def build() -> Case:
        good = case(honest(), *CELLS)
        return replace(good, opening=change(good.opening))

    return build


def _head(**changes: object) -> Attack:
    """The head says something else, and the node signs it as an answer to what was asked."""

    def change(o: Opening) -> Opening:
        answers = (o.head.receipt_digest, o.head.challenge_digest)
        return replace(o, head=replace(o.head, **changes), answers=answers)  # type: ignore[arg-type]

    return _opening(change)


def head_of_another_version(frames: list[bytes]) -> list[bytes]:
    fields = wire.decode(frames[0], limit=1 << 20, what="opening")
    assert isinstance(fields, tuple)
    return [wire.encode((fields[0], 1, *fields[2:])), *frames[1:]]


def long_frame_head(data: bytes) -> bytes:
    """The first frame announces its length in three bytes where two are enough."""
    assert data[0] == 0x58 or data[0] == 0x59
    wide = 1 + (data[0] - 0x58)
    size = int.from_bytes(data[1 : 1 + wide], "big")
    return bytes([0x5A]) + size.to_bytes(4, "big") + data[1 + wide :]


def trace_root_of_nothing() -> Case:
    """The trace is made up after the challenge: its roots are not those of the receipt."""
    return case(honest().signed(trace_root=bytes(32)), *CELLS)


def last_cell_missing() -> Case:
    """A cheat opens the lucky cells only: its one wrong cell is the last that was asked for."""
    forgery = CHEATS["last answer token edited"].build()
    cells = (Cell(BLOCK_0, 4, 6), Cell(HEAD, ROWS - 1, ROWS))
    return case(forgery, *cells, edit=lambda o: replace(o, parts=o.parts[:-1]))


def silence() -> Case:
    """The cheat answers the challenge with nothing at all."""
    return replace(case(CHEATS["last answer token edited"].build(), Cell(HEAD, 16, 17)), opening=b"")


def rows_with_more_bytes() -> Case:
    """Leaves of x.1 were committed with a byte more than a row has."""
    groups: list[Array] = list(honest().stored.groups)
    at = model().program.group_of["x.1"]
    groups[at] = np.concatenate([groups[at], np.ones((ROWS, 1), np.uint8)], axis=1)
    return case(honest().recommitted(groups), Cell(BLOCK_1, 4, 6))


def _part(index: int, **changes: object) -> Attack:
    return _opening(lambda o: o.with_part(index, **changes))


OPENINGS: dict[str, tuple[Attack, int]] = {
    "nothing opened": (silence, 10),
    "only lucky cells opened": (last_cell_missing, 10),
    "head only": (_frames(lambda f: f[:1]), 10),
    "a part missing in the middle": (_frames(lambda f: [*f[:2], *f[3:]]), 1),
    "a part twice": (_frames(lambda f: [*f[:2], f[1], *f[2:]]), 1),
    "parts in another order": (_frames(lambda f: [f[0], f[2], f[1], *f[3:]]), 1),
    "one part more": (_frames(lambda f: [*f, f[-1]]), 1),
    "an empty part": (_frames(lambda f: [*f[:2], b"", *f[3:]]), 1),
    "a part of empty lists": (_frames(lambda f: [*f[:2], wire.encode(([], [], [])), *f[3:]]), 1),
    "bytes after the end": (_bytes(lambda b: b + b"\0"), 10),
    "cut off": (_bytes(lambda b: b[:-1]), 1),
    "a frame's head in a longer encoding": (_bytes(long_frame_head), 1),
    "a frame that announces a gigabyte": (_bytes(lambda b: b"\x5a\x40\0\0\0"), 1),
    "head of another version": (_frames(head_of_another_version), 1),
    "opening of another receipt": (_head(receipt_digest=bytes(32)), 6),
    "opening of another challenge": (_head(challenge_digest=bytes(32)), 6),
    "trace made up after the receipt": (trace_root_of_nothing, 7),
    "rows with more bytes than they have": (rows_with_more_bytes, 1),
    "no rows": (_part(1, groups=()), 1),
    "no table rows": (_part(0, tables=()), 1),
    "no hints": (_part(1, hints=()), 1),
    "table rows where none are needed": (
        _opening(lambda o: o.with_part(1, tables=o.parts[0].tables)),
        1,
    ),
    "hints in another order": (_opening(lambda o: o.with_part(1, hints=o.parts[1].hints[::-1])), 8),
    "groups in another order": (_opening(lambda o: o.with_part(1, groups=o.parts[1].groups[::-1])), 7),
}

UNREADABLE = {
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
"""Attacks whose frames a verifier does not read to the end, so that it cannot say who made them."""
