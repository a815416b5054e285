"""Framing by who changes an opening, and openings whose long rows travel in frames of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from adversary.attacks import CELLS
from adversary.setting import BLOCK_1, case, honest
from proofcompute.attacks.case import Case
from proofcompute.attacks.taken_apart import Opening
from proofcompute.errors import Cell, VerificationError
from proofcompute.protocol import pieces
from proofcompute.verifier import Verified

SMALL = 64
"""Bytes of a piece, of two rows of keys and values."""
LONG = Cell(BLOCK_1, 9, 10)
"""A cell of which four pieces travel ahead."""


# -- framing -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Framing:
    """A verifier that wants a rejection which looks like the node's doing: then it has what it wants."""

    case: Case

    def verify(self) -> Verified:
        """Evidence of the honest opening if the framing succeeds; VerificationError otherwise."""
        try:
            return self.case.verify()
        except VerificationError as e:
            if not e.attributable:
                raise
            return case(honest(), *CELLS).verify()


# -- long rows -----------------------------------------------------------------------------------------------
@contextmanager
def small_pieces(size: int = SMALL) -> Iterator[None]:
    """Rows of more than ``size`` bytes travel in several frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", size)
        yield


@dataclass(frozen=True)
class Long:
    """A verification with small pieces."""

    case: Case

    def verify(self) -> Verified:
        with small_pieces():
            return self.case.verify()


def long_opening(change: Callable[[Opening], Opening] = lambda opening: opening) -> Long:
    """An audit of a cell whose prefix travels ahead."""
    with small_pieces():
        return Long(case(honest(), LONG, edit=change))


def with_pieces(change: Callable[[tuple[bytes, ...]], Sequence[bytes]]) -> Callable[[], Long]:
    """The pieces are others; the node signs them."""
    return lambda: long_opening(lambda o: replace(o, ahead=(tuple(change(o.ahead[0])),)))


def pieces_cut_elsewhere(ahead: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A row of the first piece goes with the second."""
    half = SMALL // 2
    return (ahead[0][:half], ahead[0][half:] + ahead[1], *ahead[2:])


PIECES: dict[str, tuple[Callable[[], Long], int, bool]] = {
    "a piece that lacks": (with_pieces(lambda a: a[:-1]), 1, False),
    "all pieces lack": (with_pieces(lambda a: ()), 1, False),
    "a piece twice": (with_pieces(lambda a: (a[0], *a)), 1, False),
    "pieces in another order": (with_pieces(lambda a: (a[1], a[0], *a[2:])), 7, True),
    "a piece that is cut elsewhere": (with_pieces(pieces_cut_elsewhere), 1, True),
    "two pieces in one frame": (with_pieces(lambda a: (a[0] + a[1], *a[2:])), 1, True),
    "an empty piece": (with_pieces(lambda a: (b"", *a[1:])), 1, True),
    "a piece with half a row": (with_pieces(lambda a: (a[0][:-1], *a[1:])), 1, True),
    "a bit of a piece": (with_pieces(lambda a: (bytes([a[0][0] ^ 1]) + a[0][1:], *a[1:])), 7, True),
}
"""Attack, step, and whether the rejection is the node's for sure: not if a frame is not even read."""
