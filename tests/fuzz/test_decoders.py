"""Every decoder against mutants: a typed error, or an object with exactly these bytes."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import synthetic
from fuzz import honest
from fuzz.harness import LONG, SHARES, drive, survives
from fuzz.mutate import Tree, get, mutant, mutate_bytes, mutate_inside, mutate_tree, parse, put

from proofcompute import hashing, wire
from proofcompute.errors import InputError
from proofcompute.interpreter import Needs, needs
from proofcompute.messages import Challenge, OpeningHead, Part, Receipt, Request, decode_hint, encode_hint
from proofcompute.ops import decode_program, encode_program
from proofcompute.program import Program, Site
from proofcompute.signing import NodeIdentity
from proofcompute.verifier import Key
from proofcompute.vocabulary import Vocabulary

HONEST: dict[str, Any] = {
    "request": (honest.requests, Request.decode, Request.encode),
    "receipt": (honest.receipts, Receipt.decode, Receipt.encode),
    "challenge": (honest.challenges, Challenge.decode, Challenge.encode),
    "program": (honest.programs, decode_program, encode_program),
    "vocabulary": (honest.vocabularies, Vocabulary.decode, Vocabulary.encode),
}


def test_the_long_profile_is_long_enough() -> None:
    assert LONG * sum(SHARES.values()) >= 100_000
    asked = ("request", "receipt", "challenge", "opening part", "key", "model file")
    assert all(SHARES[name] >= 1 for name in asked)


@pytest.mark.parametrize("name", HONEST)
def test_a_message(name: str) -> None:
    make, decode, encode = HONEST[name]
    for data in make():
        assert encode(decode(data)) == data
    drive(name, lambda rng: mutant(rng, make()), survives(decode, encode))


def test_the_first_frame_of_an_opening() -> None:
    first = [honest.frames(o)[0] for o in (honest.opening(), honest.other_opening())]
    groups = len(synthetic.model().program.committed)
    check = survives(lambda data: OpeningHead.decode(data, groups), OpeningHead.encode)
    check(first[0])
    drive("opening head", lambda rng: mutant(rng, first), check)


def part_of(number: int) -> tuple[bytes, Needs]:
    cell = honest.challenge().cells[number]
    return honest.frames(honest.opening())[1 + number], needs(honest.run().stored.statement, cell)


def test_parts_of_an_opening() -> None:
    program, rows = synthetic.model().program, honest.run().receipt.rows
    parts = [part_of(i) for i in range(3)]

    def check(made: tuple[int, bytes]) -> None:
        number, data = made
        need = parts[number][1]
        survives(lambda d: Part.decode(d, program, need, rows, tables=True, hints=True), Part.encode)(data)

    def make(rng: Random) -> tuple[int, bytes]:
        number = rng.randrange(3)
        return number, mutant(rng, [parts[number][0], parts[number - 1][0]])

    for number, (data, _) in enumerate(parts):
        check((number, data))
    drive("opening part", make, check)


def hints() -> list[tuple[Site, int, tuple[bytes, ...]]]:
    """(product, rows, packed sets) of two cells."""
    out: list[tuple[Site, int, tuple[bytes, ...]]] = []
    for number, rows in ((1, 1), (2, 2)):
        data, need = part_of(number)
        out += [(site, rows, sets) for site, sets in zip(need.sites, parse(data)[2], strict=True)]
    return out


def test_hints() -> None:
    known = hints()

    def make(rng: Random) -> tuple[int, tuple[bytes, ...]]:
        number = rng.randrange(len(known))
        site, rows, sets = known[number]
        which = rng.randrange(len(sets))
        data = sets[which]
        kind = rng.randrange(4)
        if kind == 0:
            data = mutate_bytes(rng, data, list(sets))
        elif kind == 1:  # another width over the same bytes
            data = bytes([rng.randrange(40)]) + data[1:]
        elif kind == 2:  # the same values in more bits
            values = synthetic.KERNELS.unpack(data[1:], data[0], rows * site.m)
            bits = rng.randrange(data[0] + 1, 33)
            data = bytes([bits]) + synthetic.KERNELS.pack(values, bits)
        else:  # another value, in the least width
            values = synthetic.KERNELS.unpack(data[1:], data[0], rows * site.m)
            values[rng.randrange(values.size)] = rng.choice((0, -1, 1 << 30, -(1 << 31), site.bound, 2**31 - 1))
            bits = max(int(values.max()).bit_length(), (~int(values.min())).bit_length()) + 1
            data = bytes([bits]) + synthetic.KERNELS.pack(values, bits)
        return number, (*sets[:which], data, *sets[which + 1 :])

    def check(made: tuple[int, tuple[bytes, ...]]) -> None:
        number, sets = made
        site, rows, _ = known[number]
        try:
            values = decode_hint(sets, site, rows, synthetic.KERNELS)
        except InputError:
            return
        assert encode_hint(values, synthetic.KERNELS) == sets
        assert int(np.abs(values.astype(np.int64)).max()) <= site.bound

    for i, (_, _, sets) in enumerate(known):
        check((i, sets))
    drive("hint", make, check)


def mend_key(tree: Tree) -> Tree:
    """A fitting model id and checksum, so that mutations reach what lies behind them."""
    fields: Any = tree[:-1]
    try:
        program = decode_program(fields[3])
        parts = [
            hashing.message_digest("sha256", "program", encode_program(program)),
            hashing.message_digest("sha256", "tokenizer", fields[4]),
            fields[5],
            *(
                hashing.seal("sha256", "weight", s.name, s.rows, r)
                for s, r in zip(program.weights, fields[6], strict=True)
            ),
        ]
        fields = put(fields, (2,), hashing.message_digest("sha256", "model", b"".join(parts)))
    except (InputError, ValueError):  # what cannot be mended stays as it is
        pass
    try:
        sealed = wire.encode(fields)
    except InputError:
        return tree
    return (*fields, hashing.message_digest("sha256", "key", sealed))


def mutated_key(rng: Random) -> bytes:
    data = honest.key().encode()
    if rng.random() < 0.2:
        return mutant(rng, [data])
    if rng.random() < 0.6:
        tree = parse(data)
        where = rng.choice(((9,), (9,), (6,), (7,), (8,), (4,)))
        mutated = mutate_tree(rng, get(tree, where), [])
        return mutate_inside_whole(put(tree, where, mutated))
    return mutate_inside(rng, data, (3,), mend_key)


def mutate_inside_whole(tree: Tree) -> bytes:
    from fuzz.mutate import emit

    try:
        return emit(mend_key(tree))
    except (TypeError, AttributeError):
        return emit(tree)


def test_keys() -> None:
    data = honest.key().encode()
    assert mutate_inside_whole(parse(data)) == data
    drive("key", mutated_key, survives(Key.decode, Key.encode))


def test_identities(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    NodeIdentity(bytes(range(32))).save(path)
    data = path.read_bytes()

    def load(mutated: bytes) -> NodeIdentity:
        path.write_bytes(mutated)
        return NodeIdentity.load(path)

    def encode(identity: NodeIdentity) -> bytes:
        assert len(identity.public) == 32
        return wire.encode(("proofcompute identity", 1, identity.seed))

    survives(load, encode)(data)
    drive("identity", lambda rng: mutant(rng, [data]), survives(load, encode))


def test_a_program_that_is_accepted_is_the_one_that_was_mutated() -> None:
    """Guards the harness: some mutants must be accepted, or the mutations are too coarse to test much."""
    accepted = 0
    rng = Random(5)
    for _ in range(60):
        try:
            program = decode_program(mutant(rng, honest.programs()))
        except InputError:
            continue
        assert isinstance(program, Program)
        accepted += 1
    assert 2 <= accepted < 60
