"""Every decoder against mutants: a typed error, or an object with exactly these bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import synthetic
from fuzz import honest
from fuzz.harness import LONG, SHARES, drive, survives
from fuzz.mutate import Tree, emit, get, mutant, mutate_bytes, mutate_tree, parse, paths, put
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.commitments import hashing
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import InputError
from proofcompute.freivalds.attempts import RECORD, write_records
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.hint import HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import pack_set
from proofcompute.models.card import ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.program.operations.codec import OPERATIONS
from proofcompute.program.types import Node
from proofcompute.protocol.hints import check_hint
from proofcompute.protocol.messages import (
    Challenge,
    OpeningEnd,
    OpeningHead,
    Part,
    PartShape,
    Receipt,
    Request,
    Terms,
)
from proofcompute.protocol.needs import Needs, needs
from proofcompute.protocol.shapes import part_shape
from proofcompute.verifier import Key
from proofcompute.verifier.policy import AuditPolicy

HONEST: dict[str, Any] = {
    "request": (honest.requests, Request.decode, Request.encode),
    "receipt": (honest.receipts, Receipt.decode, Receipt.encode),
    "terms": (honest.terms, Terms.decode, Terms.encode),
    "audit policy": (honest.policies, AuditPolicy.decode, AuditPolicy.encode),
    "model card": (honest.cards, ModelCard.decode, ModelCard.encode),
    "challenge": (honest.challenges, Challenge.decode, Challenge.encode),
    "opening end": (
        lambda: [synthetic.frames(o)[-1] for o in (honest.opening(), honest.other_opening())],
        OpeningEnd.decode,
        OpeningEnd.encode,
    ),
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


@pytest.mark.parametrize("name", HONEST)
def test_errors_do_not_repeat_what_a_message_says(name: str) -> None:
    """However long it is, and wherever it stands."""
    make, decode, encode = HONEST[name]
    tree = parse(make()[0])
    for path in list(paths(tree))[:40]:
        for long in ("x" * 5_000, b"x" * 5_000, ("x",) * 2_000):
            survives(decode, encode)(emit(put(tree, path, long)))


def test_the_first_frame_of_an_opening() -> None:
    first = [synthetic.frames(o)[0] for o in (honest.opening(), honest.other_opening())]
    groups = len(synthetic.model().program.committed)
    check = survives(lambda data: OpeningHead.decode(data, groups), OpeningHead.encode)
    check(first[0])
    drive("opening head", lambda rng: mutant(rng, first), check)


def part_of(number: int) -> tuple[bytes, Needs]:
    cell = honest.challenge().cells[number]
    return synthetic.frames(honest.opening())[1 + number], needs(honest.run().stored.statement, cell)


def shape_of(number: int) -> PartShape:
    statement, cell = honest.run().stored.statement, honest.challenge().cells[number]
    need, rows = needs(statement, cell), cell.b - cell.a
    return part_shape(statement.program, need, statement.rows, rows, tables=True, hints=True)


def test_parts_of_an_opening() -> None:
    parts = [(part_of(i)[0], shape_of(i)) for i in range(3)]

    def check(made: tuple[int, bytes]) -> None:
        number, data = made
        shape = parts[number][1]
        survives(lambda d: Part.decode(d, shape), Part.encode)(data)

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
    extremes = (0, -1, 1 << 30, -(1 << 31), 2**31 - 1, 1 << 22)

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
            values = unpack(data[1:], data[0], rows * site.m)
            bits = rng.randrange(data[0] + 1, 33)
            data = bytes([bits]) + synthetic.KERNELS.pack(values, bits)
        else:  # another value, in the least width
            values = unpack(data[1:], data[0], rows * site.m)
            values[rng.randrange(values.size)] = rng.choice((*extremes, site.bound))
            bits = max(int(values.max()).bit_length(), (~int(values.min())).bit_length()) + 1
            data = bytes([bits]) + synthetic.KERNELS.pack(values, bits)
        return number, (*sets[:which], data, *sets[which + 1 :])

    def check(made: tuple[int, tuple[bytes, ...]]) -> None:
        number, sets = made
        site, rows, _ = known[number]
        wanted = [HintSet(0, site.d, (i,), 0, 8 * (1 - i), site.bound) for i in range(len(known[number][2]))]
        columns, scale = np.ones((1, site.m), np.uint32), np.ones(site.m, np.float32)
        try:
            found = check_hint(
                sets,
                "w",
                np.zeros((len(sets), rows, site.d), np.int8),
                wanted,
                (columns, np.ones((1, 1, site.d), np.uint32)),
                np.ones(rows, np.float32),
                (scale, None),
                synthetic.KERNELS,
            )
        except InputError:
            return
        values = [unpack(data[1:], data[0], rows * site.m).reshape(rows, site.m) for data in sets]
        assert tuple(pack_set(v, synthetic.KERNELS) for v in values) == sets
        assert found.extremes == [(v.min(), v.max()) for v in values]
        assert max(int(np.abs(v.astype(np.int64)).max()) for v in values) <= site.bound
        assert found.holds == all((v.astype(np.int64).sum(axis=1) % P31 == 0).all() for v in values)

    for i, (_, _, sets) in enumerate(known):
        check((i, sets))
    drive("hint", make, check)


def mend_key(tree: Tree) -> bytes:
    """With a fitting checksum and a log, so that mutations reach what lies behind them."""
    fields = tree[:-1]
    checksum = hashing.message_digest("sha256", "key", emit(fields))
    return emit((*fields, checksum)) + write_records(honest.ATTEMPTS, checksum)


def mutated_key(rng: Random) -> bytes:
    """Mostly with a fitting checksum, and then with the mutation behind it; or with the log mutated."""
    data = honest.key_bytes()
    kind = rng.randrange(10)
    log = len(data) - RECORD * len(honest.ATTEMPTS)
    if kind < 2:
        return mutate_bytes(rng, data, [])
    if kind < 4:
        return data[:log] + mutate_bytes(rng, data[log:], [])
    tree = parse(data[:log])
    if kind < 6:
        return mend_key(put(tree, (2, 0), mutant(rng, honest.programs())))
    where = rng.choice(((), (2,), (2, 1), (2, 2), (2, 3), (3,), (4,), (5,), (5,), (5,)))
    tree = put(tree, where, mutate_tree(rng, get(tree, where), []))
    return mend_key(tree) if isinstance(tree, tuple) and len(tree) >= 7 else emit(tree)


def test_keys() -> None:
    data = honest.key_bytes()
    assert mend_key(parse(data[: -RECORD * len(honest.ATTEMPTS)])) == data
    drive("key", mutated_key, survives(Key.decode, Key.encode))


def test_key_files(tmp_path: Path) -> None:
    """A file's log may end inside a record, which is then no part of it."""
    path = tmp_path / "key"
    path.touch(0o600)

    def load(mutated: bytes) -> tuple[Key, bytes]:
        path.write_bytes(mutated)
        return Key.load(path), mutated

    def encode(loaded: tuple[Key, bytes]) -> bytes:
        whole = loaded[0].encode()
        assert len(loaded[1]) - len(whole) < RECORD
        return whole + loaded[1][len(whole) :]

    drive("key file", mutated_key, survives(load, encode))


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


@pytest.mark.parametrize("name", [*HONEST, "key"])
def test_some_mutants_are_accepted(name: str) -> None:
    """Guards the mutations: were they too coarse, all would fail at the first check."""
    make, decode, _ = HONEST.get(name, (None, Key.decode, None))
    rng, accepted = Random(5), 0
    for _ in range(100):
        try:
            decode(mutated_key(rng) if name == "key" else mutant(rng, make()))
        except InputError:
            continue
        accepted += 1
    assert 3 <= accepted < 80


def test_the_programs_hold_every_operation() -> None:
    """A new operation is fuzzed too: this fails until ``honest.built`` has it."""
    found: set[str] = set()

    def walk(nodes: Sequence[Node]) -> None:
        for node in nodes:
            found.add(type(node.op).__name__)
            walk(getattr(node.op, "nodes", ()))

    for data in honest.programs():
        for segment in decode_program(data).segments:
            walk(segment.nodes)
    assert found == set(OPERATIONS)
