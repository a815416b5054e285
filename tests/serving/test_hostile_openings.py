"""Calls for openings that mean harm: malformed, forged, for what was never asked, too many, or never read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proofcompute as pc
from proofcompute.errors import BusyError
from proofcompute.limits import GIB
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Receipt
from proofcompute.serving import ServiceLimits, proofs
from proofcompute.serving.turns import Turns
from serving.hostile import (
    OPEN,
    Asked,
    Said,
    State,
    asked,
    came_back,
    connect,
    count,
    exchange,
    honest,
    narrow,
    nothing_grows,
    said,
    wait_for,
)
from serving.running import SOON, Running, chat_model, running
from synthetic import KERNELS

PLAIN = "invalid_request_error"
MANY = 12
"""Addresses of this machine from which strangers call."""


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(limits=ServiceLimits(waste=GIB)) as made:
        yield made


@pytest.fixture(scope="module")
def auditor() -> pc.Auditor:
    return pc.Auditor(pc.keygen(chat_model(), KERNELS, columns=2))


@pytest.fixture(scope="module")
def answer(node: Running) -> Asked:
    return honest(node)


def call(answer: Asked, challenge: pc.Challenge) -> bytes:
    return OpenCall(answer.request, answer.receipt, challenge).encode()


def every_cell(answer: Asked) -> pc.Challenge:
    """All that can be asked for, without a key, so that everything is sent."""
    return pc.Auditor(chat_model()).challenge(answer.request, answer.receipt, cells="all")


def very_much(answer: Asked) -> pc.Challenge:
    """More than the system and the server hold of an answer that nobody reads."""
    receipt = Receipt.decode(answer.receipt)
    cells = tuple(pc.Cell(segment, row, row + 1) for segment in (0, 1, 2) for row in range(receipt.rows))
    return pc.Challenge(receipt.digest, cells)


def frames(*parts: bytes) -> bytes:
    return b"".join(b"\x5a" + len(part).to_bytes(4, "big") + part for part in parts)


# -- malformed -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x40" * 2,
        b"\x40" * 3,
        b"\x40" * 4,
        b"\xa0" * 3,
        b"\x81" * 100_000,
        b"\x5b" + b"\xff" * 8,
        b"\x5a\xff\xff\xff\xff" + b"x" * 100,
        b"\x58\x01a" * 3,  # a length that has a shorter form
        b"\x5f\x41a\xff" * 3,  # a length that is not said
        frames(b"\x81" * 70_000, b"\x81" * 70_000, b"\x81" * 70_000),
        frames(b"a", b"\x9b" + b"\xff" * 8, b"a"),
        frames(b"a" * 8_000_000, b"b", b"c"),
    ],
    ids=range(14),
)
def test_bytes_that_are_no_call(node: Running, data: bytes) -> None:
    with nothing_grows(node):
        found = exchange(node, asked(OPEN, data))
        assert (found.status, found.code) == (400, PLAIN), found


def test_every_truncation_of_a_call_is_refused(node: Running, answer: Asked, auditor: pc.Auditor) -> None:
    data = call(answer, auditor.challenge(answer.request, answer.receipt, cells=1))
    before = State.of(node)
    for end in range(0, len(data), 7):
        found = exchange(node, asked(OPEN, data[:end]))
        assert (found.status, found.code) == (400, PLAIN), end
    came_back(node, before)


@given(data=st.data())
def test_an_altered_call_is_opened_or_refused(node: Running, answer: Asked, data: st.DataObject) -> None:
    """A byte in the challenge may make it another good one; everywhere else it is noticed."""
    made = bytearray(call(answer, every_cell(answer)))
    before, at = State.of(node), data.draw(st.integers(0, len(made) - 1))
    made[at] ^= data.draw(st.integers(1, 255))
    found = exchange(node, asked(OPEN, bytes(made)))
    assert (found.status, found.code) in ((400, PLAIN), (429, "challenge_limit"), (200, None)), found
    if found.status == 200:
        assert at > len(made) - len(every_cell(answer).encode())
    came_back(node, before)


# -- for what was never asked --------------------------------------------------------------------------------
def test_what_this_node_did_not_sign_is_not_computed(
    node: Running, answer: Asked, auditor: pc.Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = node.service.models["tiny"].runner.opener
    monkeypatch.setattr(opener, "_compute", lambda *_: pytest.fail("it was computed"))
    opener.traces._kept.clear()
    receipt = Receipt.decode(answer.receipt)
    challenge = auditor.challenge(answer.request, answer.receipt, cells=2)
    stranger = pc.NodeIdentity.new()
    forged = replace(receipt, node=stranger.public)
    of_stranger = forged.signed(stranger.sign(forged.signed_digest))
    longer = replace(receipt, outputs=tuple((name, data * 50) for name, data in receipt.outputs), rows=500)
    wrong: list[tuple[pc.Request, Receipt, pc.Challenge]] = [
        (answer.request, receipt.signed(bytes(64)), challenge),
        (answer.request, of_stranger, challenge),
        (answer.request, longer, challenge),
        (answer.request, replace(receipt, model_id=bytes(32)), challenge),
        (replace(answer.request, nonce=bytes(32)), receipt, challenge),
        (replace(answer.request, choice=1), receipt, challenge),
        (answer.request, receipt, replace(challenge, receipt_digest=bytes(32))),
        (answer.request, receipt, pc.Challenge(receipt.digest, (pc.Cell(0, 0, receipt.rows + 1),))),
        (answer.request, receipt, pc.Challenge(receipt.digest, (pc.Cell(999, 0, 1),))),
    ]
    with nothing_grows(node):
        for request, signed, named in wrong:
            found = exchange(node, asked(OPEN, OpenCall(request, signed.encode(), named).encode()))
            assert (found.status, found.code) == (400, PLAIN), found
    assert opener.mismatches == 0


# -- floods --------------------------------------------------------------------------------------------------
def test_one_receipt_is_challenged_by_many(node: Running) -> None:
    answer = honest(node)
    digest = Receipt.decode(answer.receipt).digest
    calls = [call(answer, pc.Challenge(digest, (pc.Cell(1, 0, i + 1),))) for i in range(MANY)]

    def ask(number: int) -> Said:
        return exchange(node, asked(OPEN, calls[number]), f"127.0.0.{number + 2}")

    with nothing_grows(node), ThreadPoolExecutor(MANY) as pool:
        found = list(pool.map(ask, range(MANY)))
    assert sorted((x.status, x.code or "") for x in found) == [(200, "")] * 3 + [(429, "challenge_limit")] * (
        MANY - 3
    )


def test_a_client_has_one_opening_and_nothing_is_decoded_for_a_second(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = honest(node)
    opener = node.service.models["tiny"].runner.opener
    began, go = threading.Event(), threading.Event()
    opens = opener.open

    def slow(*args: Any, **named: Any) -> None:
        began.set()
        assert go.wait(SOON)
        opens(*args, **named)

    monkeypatch.setattr(opener, "open", slow)
    decoded: list[bytes] = []
    read = proofs._read

    def noted(service: Any, body: bytes) -> Any:
        decoded.append(body)
        return read(service, body)

    monkeypatch.setattr(proofs, "_read", noted)
    data = asked(OPEN, call(answer, every_cell(answer)))
    with nothing_grows(node):
        with connect(node) as first:
            first.sendall(data)
            assert began.wait(SOON)
            for body in (data, asked(OPEN, b"x")):
                again = exchange(node, body)
                assert (again.status, again.code, again.headers["retry-after"]) == (429, "busy", "2")
            go.set()
            assert said(first).status == 200
        assert len(decoded) == 1


@pytest.mark.parametrize("leaves", ["cancelled", "timed out"])
def test_a_place_is_not_lost_when_who_waits_leaves_and_another_comes(leaves: str) -> None:
    async def run() -> None:
        turns = Turns(1, 9)
        await turns.take(b"holds", SOON)
        waits = asyncio.ensure_future(turns.take(b"waits", SOON))
        for _ in range(3):
            await asyncio.sleep(0)
        comes = asyncio.ensure_future(turns.take(b"comes", SOON))
        # one after the other, before any task runs: who waits leaves, a place is free, another comes
        if leaves == "cancelled":
            waits.cancel()
        else:
            turns._waiting[0][1].set_exception(TimeoutError())
        turns.give_back(b"holds", 1)
        await comes
        with pytest.raises((asyncio.CancelledError, BusyError)):
            await waits
        assert (turns.taken, turns.waiting) == (1, 0)
        turns.give_back(b"comes", 1)
        await turns.take(b"last", SOON)

    asyncio.run(run())


def test_places_go_to_who_had_least() -> None:
    now = [0.0]

    async def run() -> list[bytes]:
        turns, order = Turns(1, 3, lambda: now[0]), []

        async def take(scope: bytes) -> None:
            await turns.take(scope, SOON)
            order.append(scope)

        async def next_turn() -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        await take(b"greedy")
        turns.give_back(b"greedy", 30)
        await take(b"greedy")
        waits = [asyncio.ensure_future(take(scope)) for scope in (b"greedy", b"new", b"newer")]
        await next_turn()
        with pytest.raises(BusyError):  # more than may wait
            await turns.take(b"late", SOON)
        waits[1].cancel()  # in the moment in which a place becomes free
        turns.give_back(b"greedy", 30)
        await next_turn()
        turns.give_back(b"newer", 1)
        await next_turn()
        with pytest.raises(BusyError):
            await turns.take(b"impatient", 0.01)
        leaves = asyncio.ensure_future(take(b"leaves"))
        await next_turn()
        turns.give_back(b"greedy", 1)
        leaves.cancel()  # just after it got the place
        await next_turn()
        assert (turns.taken, turns.waiting) == (0, 0)
        now[0] = 600.0
        assert turns._use(b"greedy") < 0.1
        return order

    assert asyncio.run(run()) == [b"greedy", b"greedy", b"newer", b"greedy"]


def test_readers_that_do_not_read_lose_their_places_to_others(
    auditor: pc.Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two strangers take both places and read nothing; an honest auditor gets its turn in spite of them."""
    monkeypatch.setattr(proofs, "_PATIENCE", 0.2)
    monkeypatch.setattr(proofs, "_LEAST", 1 << 40)
    with running() as node:
        narrow(node)
        answers = [honest(node, 100) for _ in range(2)]
        mine = honest(node)
        data = call(mine, auditor.challenge(mine.request, mine.receipt, cells=3))
        with nothing_grows(node):
            readers = [connect(node, f"127.0.0.{i + 2}", room=4096) for i in range(2)]
            for made, answer in zip(readers, answers, strict=True):
                made.sendall(asked(OPEN, call(answer, very_much(answer))))
            wait_for(lambda: node.service.turns.taken == 2)
            opened = exchange(node, asked(OPEN, data))
            assert (opened.status, opened.headers["content-type"]) == (200, "application/cbor-seq")
            wait_for(lambda: node.service.turns.taken < 2)
            for made in readers:  # one of them may have kept its place
                made.close()
        assert count(node, "disconnects", why="slow_reader")


def test_a_reader_that_does_not_read_is_closed_by_the_node() -> None:
    """What the server could not send goes with the connection, though the client keeps it open."""
    with running(limits=ServiceLimits(write_seconds=1)) as node:
        narrow(node)
        answer = honest(node, 100)
        before = State.of(node)
        with connect(node, room=4096) as made:
            made.sendall(asked(OPEN, call(answer, very_much(answer))))
            assert made.recv(1) == b"H"  # and nothing more is read
            came_back(node, before._replace(sockets=before.sockets + 1))  # the client's own end
