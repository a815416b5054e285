"""Attacks on the closing frame, and openings whose long rows travel in frames of their own.

The node signs what it sends, so most are somebody else's: whoever holds an opening and changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from adversary.case import Attack, Case, case
from adversary.openings import CELLS
from adversary.setting import BLOCK_1, NODE, STRANGER, honest
from adversary.taken_apart import Opening, opened
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import Cell, VerificationError
from proofcompute.protocol import pieces
from proofcompute.protocol.messages import OpeningEnd, frame_digest, frames_digest
from proofcompute.verifier import Verified

SMALL = 64
"""Bytes of a piece, of two rows of keys and values."""
LONG = Cell(BLOCK_1, 9, 10)
"""A cell of which four pieces travel ahead."""


def end_of(opening: Opening, identity: NodeIdentity = NODE, **changes: bytes) -> bytes:
    """The closing frame of an opening; over another receipt, challenge or frames if these are given."""
    frames = changes.get("frames", frames_digest([frame_digest(f) for f in opening.frames()]))
    receipt = changes.get("receipt", opening.head.receipt_digest)
    challenge = changes.get("challenge", opening.head.challenge_digest)
    end = OpeningEnd(frames)
    return end.signed(identity.sign(end.signed_digest(receipt, challenge))).encode()


def ends(make: Callable[[Opening], Sequence[bytes]], *, evidence: bool = False) -> Attack:
    """The honest opening, ended otherwise."""

    def build() -> Case:
        good = case(honest(), *CELLS)
        opening = opened(honest(), good.challenge)
        frames = [*opening.frames(), *make(opening)]
        return replace(good, opening=b"".join(map(framed, frames)), evidence=evidence)

    return build


def framed(payload: bytes) -> bytes:
    return wire.encode(payload)


def edited(index: int, value: wire.Value) -> Attack:
    """One element of the closing frame is another."""

    def make(opening: Opening) -> list[bytes]:
        fields = wire.decode(end_of(opening), limit=1 << 10, what="opening end")
        assert isinstance(fields, tuple)
        return [wire.encode((*fields[:index], value, *fields[index + 1 :]))]

    return ends(make)


def flipped(at: int) -> Attack:
    """One bit of the honest opening is changed on the way."""

    def build() -> Case:
        good = case(honest(), *CELLS)
        data = bytearray(good.opening)
        data[at] ^= 1
        return replace(good, opening=bytes(data))

    return build


CLOSINGS: dict[str, tuple[Attack, int]] = {
    "no closing frame": (ends(lambda o: []), 10),
    "the closing frame twice": (ends(lambda o: 2 * [end_of(o)]), 10),
    "a frame after the closing one": (ends(lambda o: [end_of(o), b""]), 10),
    "an empty closing frame": (ends(lambda o: [b""]), 1),
    "a closing frame of another version": (edited(1, 2), 1),
    "a closing frame of another kind": (edited(0, "proofcompute opening"), 1),
    "a digest of frames that is too short": (edited(2, bytes(31)), 1),
    "a scheme that does not exist": (edited(3, "none"), 1),
    "a scheme that is reserved": (edited(3, "eip712-secp256k1"), 1),
    "a signature that is too long": (edited(4, bytes(65)), 1),
    "a closing frame that is not signed": (edited(4, bytes(64)), 2),
    "a closing frame of another node": (ends(lambda o: [end_of(o, STRANGER)]), 2),
    "a closing frame for another receipt": (ends(lambda o: [end_of(o, receipt=bytes(32))]), 2),
    "a closing frame for another challenge": (ends(lambda o: [end_of(o, challenge=bytes(32))]), 2),
    "another digest of frames under the old signature": (edited(2, bytes(32)), 2),
    "right frames, another digest signed": (
        ends(lambda o: [end_of(o, frames=bytes(32))], evidence=True),
        2,
    ),
    "a bit flipped on the way": (flipped(-1000), 2),
}


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
