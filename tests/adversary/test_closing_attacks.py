"""The closing frame: every byte of an opening is bound, and nobody can reject in the node's name.

"Attributable" means that the node signed what was rejected. Attacks of the tables are a node's: it makes
something wrong and signs it properly.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from adversary.attacks import ATTACKS, CELLS
from adversary.cheats import CHEATS
from adversary.closings import PIECES, long_opening, small_pieces
from adversary.setting import BLOCK_0, BLOCK_1, KERNELS, NODE, STRANGER, case, honest, key, model
from proofcompute.attacks.case import Case
from proofcompute.attacks.closings import CLOSINGS, end_of, framed
from proofcompute.attacks.hints import HINTS
from proofcompute.attacks.openings import OPENINGS, UNREADABLE
from proofcompute.attacks.taken_apart import opened
from proofcompute.encoding.frames import read_frame
from proofcompute.errors import (
    Cell,
    DeviceError,
    LimitError,
    MismatchError,
    ProofcomputeError,
    StorageError,
    VerificationError,
)
from proofcompute.protocol.messages import OpeningEnd, Request, frame_digest, frames_digest
from proofcompute.prover import open_cells
from proofcompute.verifier import Verified, verify
from proofcompute.verifier.holders import KeyHolder


class Once:
    """A stream that cannot be read twice."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)


def judged(c: Case, stream: Any, **options: Any) -> Verified | VerificationError:
    try:
        return verify(
            c.holder, c.request, c.receipt, c.challenge, stream, kernels=KERNELS, node=c.node, **options
        )
    except VerificationError as e:
        return e


@pytest.mark.parametrize("name", [n for n in (*OPENINGS, *HINTS) if n not in UNREADABLE])
def test_a_bit_that_is_flipped_on_the_way_takes_the_blame_off_the_node(name: str) -> None:
    """Whatever the node did wrong: of these bytes it is not known to be the maker."""
    attack = ATTACKS[name][0]()
    data = bytearray(attack.opening)
    data[50] ^= 1  # in the head's digests
    error = replace(attack, opening=bytes(data)).rejection()
    assert error.step == 2
    assert not error.attributable
    assert isinstance(error.__cause__, VerificationError)
    assert str(error.__cause__) in str(error)


def test_every_kind_of_stream_gives_one_verdict() -> None:
    """Read twice or hashed as it comes, with evidence wanted or not, on a file and in memory."""
    for name in (*list(OPENINGS)[::3], *list(CLOSINGS)[::3], *list(HINTS)[::5]):
        attack = ATTACKS[name][0]()
        expected = attack.rejection()
        for stream, evidence in (
            (io.BytesIO(attack.opening), True),
            (io.BufferedReader(io.BytesIO(attack.opening)), False),
            (Once(attack.opening), False),
        ):
            found = judged(attack, stream, evidence=evidence or attack.evidence)
            assert isinstance(found, VerificationError)
            assert (str(found), found.attributable) == (str(expected), expected.attributable)
            if found.step != 8:
                assert str(found.__cause__) == str(expected.__cause__)


def test_an_accepted_opening_is_accepted_by_any_stream() -> None:
    good = case(honest(), *CELLS)
    for evidence in (False, True):
        after = io.BytesIO(b"something else" + good.opening)
        after.seek(14)
        for stream in (after, Once(good.opening), io.BytesIO(good.opening)):
            found = judged(good, stream, evidence=evidence)
            assert isinstance(found, Verified)
            assert (found.cells, found.bytes_opened) == (9, len(good.opening))


def test_every_byte_of_an_opening_is_bound() -> None:
    """Another byte anywhere is a rejection, and never the node's doing."""
    good = case(honest(), Cell(BLOCK_0, 1, 2))
    for at in range(len(good.opening)):
        data = bytearray(good.opening)
        data[at] ^= 1 << at % 8
        error = replace(good, opening=bytes(data)).rejection()
        assert not error.attributable
        assert error.step in (1, 2, 10)


def test_an_opening_that_is_cut_off_is_not_the_node_s_doing() -> None:
    good = case(honest(), Cell(BLOCK_0, 1, 2))
    for end in range(len(good.opening)):
        error = replace(good, opening=good.opening[:end]).rejection()
        assert error.step in (1, 10)
        assert not error.attributable


def test_frames_of_a_cheat_are_the_cheat_s_in_any_order_that_it_signs() -> None:
    """Dropped, doubled, exchanged, merged, split: rejected, and the node's doing where they are read."""
    cells = (Cell(BLOCK_0, 1, 2), Cell(BLOCK_0, 2, 3), Cell(BLOCK_1, 1, 2))
    good = case(honest(), *cells)
    opening = opened(honest(), good.challenge)
    frames = opening.frames()
    changes: list[list[bytes]] = [
        frames[:-1],
        [*frames[:1], *frames[2:]],
        [*frames, frames[-1]],
        [frames[0], frames[2], frames[1], *frames[3:]],
        [frames[0] + frames[1], *frames[2:]],
        [frames[0], frames[1][:100], frames[1][100:], *frames[2:]],
        [*frames, end_of(opening)],
        [],
    ]
    for changed in changes:
        signed = replace(good, opening=opening.closed(changed)).rejection()
        assert signed.step in (1, 7, 8, 10)
        unsigned = [*changed, end_of(opening)]
        error = replace(good, opening=b"".join(map(framed, unsigned))).rejection()
        assert not error.attributable
        assert error.step in (1, 2, 10)


def test_the_products_of_a_cheat_are_attributable() -> None:
    forgery = CHEATS["one layer skipped"].build()
    bad = case(forgery, Cell(BLOCK_1, 4, 6))
    error = bad.rejection()
    assert (error.step, error.attributable) == (8, True)
    other = judged(replace(bad, opening=flipped_in(bad.opening)), io.BytesIO(flipped_in(bad.opening)))
    assert isinstance(other, VerificationError)
    assert (other.step, other.attributable) == (2, False)


def flipped_in(data: bytes) -> bytes:
    return data[:-300] + bytes([data[-300] ^ 4]) + data[-299:]


def test_a_digest_that_is_signed_wrong_is_a_refusal_and_no_evidence() -> None:
    """The node may sign what it did not send: then its rejection cannot be laid at its door."""
    forgery = CHEATS["one layer skipped"].build()
    bad = case(forgery, Cell(BLOCK_1, 4, 6))
    opening = opened(forgery, bad.challenge)
    frames = [*opening.frames(), end_of(opening, frames=bytes(32))]
    error = replace(bad, opening=b"".join(map(framed, frames))).rejection()
    assert (error.step, error.attributable) == (2, False)
    assert isinstance(error.__cause__, VerificationError)
    assert error.__cause__.step == 8


class Grows(io.BytesIO):
    """A file that is whole only when it is read again."""

    def __init__(self, data: bytes, cut: int) -> None:
        super().__init__(data[:cut])
        self._data = data

    def seek(self, offset: int, whence: int = 0) -> int:
        super().seek(0)
        self.write(self._data)
        return super().seek(offset, whence)


@pytest.mark.parametrize("cheats", [False, True])
def test_an_opening_that_changes_while_it_is_read_is_nobody_s(cheats: bool) -> None:
    """Half a download, then all of it: neither accepted nor the node's doing."""
    made = CHEATS["one layer skipped"].build() if cheats else honest()
    good = case(made, Cell(BLOCK_1, 4, 6))
    error = judged(good, Grows(good.opening, len(good.opening) // 2))
    assert isinstance(error, VerificationError)
    assert (error.step, error.attributable) == (6, False)


@pytest.mark.parametrize("error", [LimitError("the most"), StorageError("full")])
def test_a_rejection_stands_where_a_second_look_cannot_be_counted(
    error: ProofcomputeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node must not escape it because the key was used up, or its disk is full, in this very moment."""
    attack = ATTACKS["a padding bit set"][0]()
    expected, begin, calls = attack.rejection(), KeyHolder.begin, 0

    def once(holder: KeyHolder, request: Request) -> float:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise error
        return begin(holder, request)

    monkeypatch.setattr(KeyHolder, "begin", once)
    found = attack.rejection()
    assert calls == 2
    assert (found.step, str(found), found.attributable) == (expected.step, str(expected), False)
    assert found.receipt_digest == expected.receipt_digest


def test_a_device_that_is_too_small_for_a_cell_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much an operation takes follows from program and cell: no node can cause that, nor be rejected."""
    good = case(honest(), Cell(BLOCK_1, 4, 6))

    def too_small(*_: object, **__: object) -> None:
        raise LimitError("so many positions are too many here")

    monkeypatch.setattr(type(KERNELS), "attention", too_small)
    for stream in (io.BytesIO(good.opening), Once(good.opening)):
        with pytest.raises(DeviceError, match="cannot be checked on this device"):
            judged(good, stream)


class Endless:
    """An opening's first bytes, then the same frame again and again; it cannot be read twice."""

    def __init__(self, start: bytes, then: bytes) -> None:
        self._stream, self._then = io.BytesIO(start), then
        self.given = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        while not data:
            self._stream = io.BytesIO(1000 * self._then)
            data = self._stream.read(size)
        self.given += len(data)
        return data


@pytest.mark.parametrize("then", [b"\x40", framed(bytes(100)), framed(bytes(5000)), b"\x5a\x7f\xff\xff\xff"])
@pytest.mark.parametrize("at", [50, 2000, -300])
def test_what_is_read_after_a_rejection_is_bounded(then: bytes, at: int) -> None:
    """No more frames and bytes than the challenge takes, whatever comes."""
    good = case(honest(), *CELLS)
    data = bytearray(good.opening)
    data[at] ^= 1
    stream = Endless(bytes(data[: data.rindex(end_of(opened(honest(), good.challenge))) - 2]), then)
    found = judged(good, stream)
    assert isinstance(found, VerificationError)
    assert not found.attributable
    assert stream.given <= 2 * len(good.opening)


# -- the node's side -----------------------------------------------------------------------------------------
def test_a_node_opens_only_what_it_signed() -> None:
    forgery, out = honest(), io.BytesIO()
    challenge = forgery.challenge(*CELLS)
    for receipt, identity in (
        (forgery.receipt, STRANGER),
        (forgery.receipt.signed(bytes(64)), NODE),
        (replace(forgery.receipt, node=STRANGER.public), STRANGER),
    ):
        asked = replace(challenge, receipt_digest=receipt.digest)
        with pytest.raises(MismatchError, match="not signed by this identity"):
            open_cells(model(), forgery.stored, receipt, asked, out, identity)
    other = replace(challenge, receipt_digest=bytes(32))
    with pytest.raises(MismatchError, match="another receipt"):
        open_cells(model(), forgery.stored, forgery.receipt, other, out, NODE)
    assert out.getvalue() == b""


def test_what_is_signed_is_the_list_of_frames() -> None:
    good = case(honest(), *CELLS)
    stream, frames = io.BytesIO(good.opening), []
    while (payload := read_frame(stream, limit=1 << 20, what="opening")) is not None:
        frames.append(payload)
    end = OpeningEnd.decode(frames.pop())
    assert end.frames == frames_digest([frame_digest(f) for f in frames])
    assert frames_digest([frame_digest(f) for f in frames[::-1]]) != end.frames
    assert frames_digest([frame_digest(b"".join(frames))]) != end.frames


# -- long rows -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 32, 64, 100, 10_000])
@pytest.mark.parametrize("hints", [False, True])
def test_long_rows_travel_in_several_frames(size: int, hints: bool) -> None:
    """Whatever a piece holds, the verdict and what is opened is the same; nothing is opened twice."""
    cells = [Cell(s, 9, 10) for s in (0, 1, 2)] + [Cell(3, 12, 17)]
    holder = key() if hints else model()
    whole = case(honest(), *cells, holder=holder)
    with small_pieces(size):
        cut = case(honest(), *cells, holder=holder)
        frames = opened(honest(), cut.challenge).ahead
        assert cut.verify().cells == whole.verify().cells if size >= 10_000 else cut.verify().cells == 8
        assert any(frames) == (size < 10_000)
        assert len(whole.opening) - 20 <= len(cut.opening) <= len(whole.opening) + 8 * sum(map(len, frames))
        for stream in (io.BufferedReader(io.BytesIO(cut.opening)), Once(cut.opening)):
            assert isinstance(judged(cut, stream, evidence=True), Verified)
    if size < 1000:
        assert whole.verify().cells == 8
        assert replace(whole, opening=cut.opening).rejection().step == 1


@pytest.mark.parametrize("name", PIECES)
def test_an_attack_on_long_rows_is_rejected_at_its_step(name: str) -> None:
    build, step, attributable = PIECES[name]
    with pytest.raises(VerificationError) as caught:
        build().verify()
    assert (caught.value.step, caught.value.attributable) == (step, attributable)


def test_an_honest_opening_with_long_rows_passes() -> None:
    assert long_opening().verify().cells == 1


def test_a_long_opening_that_ends_among_its_pieces_lacks_the_cell() -> None:
    with small_pieces():
        good = case(honest(), Cell(BLOCK_1, 9, 10))
        opening = opened(honest(), good.challenge)
        for count in range(1, 5):
            short = opening.closed([opening.head.encode(), *opening.ahead[0][:count]])
            error = replace(good, opening=short).rejection()
            assert (error.step, error.cell, error.attributable) == (10, Cell(BLOCK_1, 9, 10), True)
