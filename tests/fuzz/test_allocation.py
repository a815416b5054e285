"""No decoder allocates more than a small multiple of what it was given (NumPy's memory included)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

import synthetic
from fuzz import honest
from fuzz.harness import allowed, drive, peak
from fuzz.mutate import Raw, emit, get, head, mutant, parse, paths, put
from fuzz.test_verify import check_private, check_public, framed, mutated_opening
from proofcompute.commitments import hashing
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import InputError, VerificationError
from proofcompute.limits import KIB, MAX_OPENING_PART, MIB
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.operations import decode_program
from proofcompute.protocol.messages import Challenge, OpeningEnd, OpeningHead, Part, Receipt, Request
from proofcompute.protocol.needs import needs
from proofcompute.protocol.shapes import part_shape
from proofcompute.verifier import Key


def decode_head(data: bytes) -> OpeningHead:
    return OpeningHead.decode(data, len(synthetic.model().program.committed))


def decode_part(data: bytes) -> Part:
    statement = honest.run().stored.statement
    cell = honest.challenge().cells[2]
    need = needs(statement, cell)
    shape = part_shape(statement.program, need, statement.rows, cell.b - cell.a, tables=True, hints=True)
    return Part.decode(data, shape)


DECODERS: dict[str, tuple[Callable[[], Sequence[bytes]], Callable[[bytes], object]]] = {
    "request": (honest.requests, Request.decode),
    "receipt": (honest.receipts, Receipt.decode),
    "challenge": (honest.challenges, Challenge.decode),
    "opening head": (lambda: synthetic.frames(honest.opening())[:1], decode_head),
    "opening part": (lambda: synthetic.frames(honest.opening())[3:4], decode_part),
    "opening end": (lambda: synthetic.frames(honest.opening())[-1:], OpeningEnd.decode),
    "program": (honest.programs, decode_program),
    "vocabulary": (honest.vocabularies, Vocabulary.decode),
    "key": (lambda: (honest.key().encode(),), Key.decode),
}


def rejected(run: Callable[[], object]) -> None:
    """A verification error is an end like an InputError."""
    try:
        run()
    except VerificationError as error:
        raise InputError(str(error)) from error


def test_mutants() -> None:
    names = [*DECODERS, "verify", "verify_public"]
    for make, decode in DECODERS.values():  # what is made once is no cost of decoding
        for data in make():
            decode(data)
    receipt = honest.run().data
    check_private(receipt, honest.opening())
    check_public(receipt, honest.public_opening())

    def make_one(rng: Random) -> tuple[str, bytes]:
        name = rng.choice(names)
        if name in DECODERS:
            return name, mutant(rng, DECODERS[name][0]())
        stream = honest.opening() if name == "verify" else honest.public_opening()
        return name, mutated_opening(rng, stream, honest.other_opening())

    def check(made: tuple[str, bytes]) -> None:
        name, data = made
        if name in DECODERS:
            used = peak(lambda: DECODERS[name][1](data))
        else:
            verifier = check_private if name == "verify" else check_public
            used = peak(lambda: rejected(lambda: verifier(receipt, data)))
        assert used <= allowed(len(data))

    drive("allocation", make_one, check)


FILLING: tuple[Any, ...] = (b"ab", (), (0, 0, 1), ("", "Add", (), (), ()))


@pytest.mark.parametrize("name", DECODERS)
def test_many_small_elements(name: str) -> None:
    """The most that a byte can cost: arrays of many elements that take one to a few bytes each."""
    make, decode = DECODERS[name]
    tree = parse(make()[0])
    lists = [p for p in paths(tree) if isinstance(get(tree, p), tuple)]
    places = list(dict.fromkeys([*lists[:2], *lists[:: max(1, len(lists) // 4)]]))
    for place in places:
        for item in (*FILLING, *get(tree, place)[:1]):
            one = emit(item)
            count = 4 * KIB // len(one)
            changed = put(tree, place, Raw(head(4, count) + count * one))
            if name == "key" and place:  # the checksum is the last field
                changed = (*changed[:-1], hashing.message_digest("sha256", "key", emit(changed[:-1])))
            data = emit(changed)
            used = peak(lambda data=data: decode(data))  # type: ignore[misc]
            assert used <= 64 * len(data) + 64 * KIB


@pytest.mark.parametrize("name", DECODERS)
def test_announced_lengths(name: str) -> None:
    """A head that announces 2^30 elements or 2^40 bytes is refused before anything is made for it."""
    make, decode = DECODERS[name]
    data = make()[0]
    tree = parse(data)
    places = list(paths(tree))
    for place in places[:: max(1, len(places) // 40)]:
        for major in (2, 3, 4):
            for n in (1 << 30, 1 << 40, (1 << 64) - 1):
                for follows in (b"", emit(get(tree, place))):
                    bomb = emit(put(tree, place, Raw(head(major, n) + follows)))
                    with pytest.raises(InputError):
                        decode(bomb)
    bomb = emit(put(tree, places[-1], Raw(head(4, 1 << 30) + bytes(1000))))
    assert peak(lambda: decode(bomb)) < 64 * len(bomb) + 64 * KIB


def test_frames_that_announce_too_much() -> None:
    """The frame's size is compared with what can be needed, and memory follows what has arrived."""
    receipt = honest.run().data
    frames = synthetic.frames(honest.opening())
    for number in range(4):
        for n in (1 << 20, MAX_OPENING_PART, MAX_OPENING_PART + 1, 1 << 40, (1 << 64) - 1):
            stream = framed(frames[:number]) + head(2, n) + bytes(2 * KIB)
            with pytest.raises(VerificationError) as caught:
                check_private(receipt, stream)
            assert caught.value.step == 1
            used = peak(lambda stream=stream: rejected(lambda: check_private(receipt, stream)))  # type: ignore[misc]
            assert used < 4 * MIB


def test_a_part_that_fits_its_frame_but_not_its_cell() -> None:
    """A frame far larger than its cell needs is refused before it is read."""
    receipt = honest.run().data
    frames = synthetic.frames(honest.opening())
    part = parse(frames[1])
    big = emit((((bytes(32 * MIB), part[0][0][1]), *part[0][1:]), *part[1:]))
    stream = io.BytesIO()
    write_frame(stream, frames[0])
    write_frame(stream, big)
    data = stream.getvalue()
    used = peak(lambda: rejected(lambda: check_private(receipt, data)))
    assert used < 4 * MIB
