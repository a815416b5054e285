"""Clients that send much for nothing: floods, guessed keys, streams that nobody reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

import proofcompute as pc
from proofcompute.limits import KIB, MIB
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Receipt
from proofcompute.serving import ApiKeys, ServiceLimits
from proofcompute.serving.clients import Client
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.waste import REQUEST, WRONG_KEY, Opened, Waste
from serving.hostile import (
    CHAT,
    OPEN,
    Said,
    State,
    asked,
    came_back,
    chat,
    connect,
    count,
    exchange,
    honest,
    narrow,
    nothing_grows,
    wait_for,
)
from serving.running import Running, running

STRANGER = "127.0.0.9"
SLOWLY = ServiceLimits(waste_rate=1, hold_seconds=0.05)
"""Limits under which what was wasted stays so for the length of a test."""


@pytest.fixture
def node() -> Iterator[Running]:
    with running(limits=SLOWLY) as made:
        yield made


def held(found: Said) -> bool:
    if found.status != 429:
        return False
    assert (found.code, found.headers["connection"]) == ("too_many_requests", "close")
    assert int(found.headers["retry-after"]) >= 1
    return True


# -- an allowance --------------------------------------------------------------------------------------------
def test_an_allowance_is_used_up_and_comes_back() -> None:
    now = [0.0]
    waste, one, other = Waste(100, 10, lambda: now[0]), b"one", b"other"
    waste.take(one, 60)
    waste.require(one, 40)
    with pytest.raises(Refusal) as refused:
        waste.take(one, 41)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    waste.take(other, 100)
    with pytest.raises(Refusal) as refused:
        waste.take(other, 41)
    assert refused.value.headers == {"Retry-After": "5"}
    waste.give_back(one, 60)
    assert waste.left(one) == 100
    waste.give_back(one, 60)
    assert waste.left(one) == 100
    waste.spend(one, 10**9)  # what was sent without being asked for counts, up to a whole allowance
    assert waste.left(one) == -100
    now[0] = 5.0
    assert (waste.left(one), waste.left(other)) == (-50, 50)
    now[0] = 1000.0
    assert waste.left(one) == 100


def test_allowances_of_many_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.serving.waste._CLIENTS", 3)
    waste = Waste(100, 10)
    for i in range(10):
        waste.take(bytes([i % 5]), 1)
    assert len(waste) == 3


# -- floods --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (asked(CHAT, b"[" * 2 * MIB), 400),
        (asked(OPEN, b"\x5a" + b"\xff" * 2 * MIB), 400),
        (
            asked(CHAT, chat(model="none", user="a" * 1000, metadata={str(i): "x" * 500 for i in range(15)})),
            404,
        ),
    ],
    ids=["json", "frames", "model"],
)
def test_a_flood_is_refused_before_it_is_read(data: bytes, status: int) -> None:
    limits = ServiceLimits(body=4 * MIB, proof_body=4 * MIB, waste=8 * MIB, waste_rate=1, hold_seconds=0.05)
    with running(limits=limits) as node, nothing_grows(node):
        most = 8 * MIB // (REQUEST + len(data))
        found = []
        # a refusal may be lost with the connection, which is closed while the body is on its way
        while (last := exchange(node, data, STRANGER)).status not in (0, 429):
            found.append(last.status)
            assert len(found) <= most
        assert set(found) == {status}
        assert len(found) > most // 2 - 1
        assert exchange(node, asked(b"/healthz"), STRANGER).status == 200  # for who watches the node
        for path in (b"/v1/models", b"/metrics", b"/none", CHAT):
            assert held(exchange(node, asked(path), STRANGER))
        honest(node)  # from another address


def test_what_is_answered_is_no_waste(node: Running) -> None:
    scope = Client.of("address", "127.0.0.1").scope
    before = node.service.waste.left(scope)
    answer = honest(node, user="a" * 1000)
    streamed = exchange(node, asked(CHAT, chat(stream=True)))
    assert streamed.status == 200
    assert streamed.body.endswith(b"data: [DONE]\n\n") or b"[DONE]" in streamed.body
    assert node.service.waste.left(scope) == pytest.approx(before, abs=100)
    assert exchange(node, asked(b"/v1/proofs/" + answer.request.digest.hex().encode())).status == 200
    assert node.service.waste.left(scope) < before - REQUEST  # what answers hold besides is counted


def test_a_challenge_that_is_opened_again_and_again_is_waste(node: Running) -> None:
    scope = Client.of("address", "127.0.0.1").scope
    answer = honest(node)
    challenge = pc.Challenge(Receipt.decode(answer.receipt).digest, (pc.Cell(1, 0, 2),))
    data = asked(OPEN, OpenCall(answer.request, answer.receipt, challenge).encode())
    before = node.service.waste.left(scope)
    first = exchange(node, data)
    assert first.status == 200
    assert node.service.waste.left(scope) == pytest.approx(before, abs=100)
    assert [exchange(node, data).status for _ in range(2)] == [200, 200]
    spent = before - node.service.waste.left(scope)
    assert spent == pytest.approx(REQUEST + len(data) + len(first.body), rel=0.1)  # the second is free


def test_challenges_that_are_remembered_are_bounded() -> None:
    opened = Opened(2)
    assert [opened.free(x) for x in (b"a", b"b", b"a", b"a", b"c", b"b", b"b", b"a")] == [
        True,
        True,
        True,
        False,
        True,  # "b" is forgotten
        True,
        True,
        True,
    ]


def test_a_card_that_is_sent_counts_with_all_its_bytes(node: Running) -> None:
    scope = Client.of("address", STRANGER).scope
    card = exchange(node, asked(b"/v1/proofs/card/tiny"), STRANGER)
    assert card.status == 200
    spent = node.service.waste._most - node.service.waste.left(scope)
    assert spent == pytest.approx(REQUEST + len(card.body), abs=100)


def test_a_body_that_is_chunked_counts_as_it_comes() -> None:
    limits = ServiceLimits(body=MIB, proof_body=MIB, waste=2 * MIB, waste_rate=1, hold_seconds=0.05)
    with running(limits=limits) as node, nothing_grows(node):
        connections = [connect(node, STRANGER) for _ in range(4)]
        chunk = b"%x\r\n" % (900 * KIB) + b" " * (900 * KIB) + b"\r\n"
        for made in connections:  # none of them ends
            made.sendall(asked(CHAT, chunk, [(b"Transfer-Encoding", b"chunked")]))
        wait_for(lambda: count(node, "refusals", reason="too_many_requests") >= 2)
        assert node.service.body_bytes <= 2 * MIB
        honest(node)
        for made in connections:
            made.close()


# -- keys ----------------------------------------------------------------------------------------------------
def test_keys_cannot_be_guessed_for_long() -> None:
    digests = {name: hashlib.sha256(name.encode()).digest() for name in ("alice", "bob")}

    def ask(node: Running, key: str, source: str = STRANGER) -> Said:
        return exchange(node, asked(CHAT, chat(), [(b"Authorization", b"Bearer " + key.encode())]), source)

    with running(keys=ApiKeys(digests), limits=SLOWLY) as node:
        before = State.of(node)
        assert ask(node, "alice").status == 200
        tries = 0
        while not held(found := ask(node, f"guess {tries}")):
            assert (found.status, found.code, found.headers["www-authenticate"]) == (
                401,
                "invalid_api_key",
                "Bearer",
            )
            tries += 1
        assert 0 <= 32 * MIB // WRONG_KEY - tries <= 1  # the refusals count too, a little
        assert held(ask(node, "bob"))  # right, and never shown from there
        assert ask(node, "alice").status == 200  # known there
        assert ask(node, "bob", "127.0.0.1").status == 200
        assert held(ask(node, "alice ")) is False  # the same key
        came_back(node, before)


def test_keys_that_were_shown_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.serving.clients._SHOWN", 2)
    keys, waste = ApiKeys({"a": hashlib.sha256(b"a").digest()}), Waste(100 * MIB, 1)
    for i in range(5):
        assert keys.admit(Client.of("address", str(i)), "Bearer a", waste).name == "a"
    assert len(keys._shown) == 2


# -- streams -------------------------------------------------------------------------------------------------
def test_a_stream_that_nobody_reads_is_closed_by_the_node() -> None:
    with running(limits=ServiceLimits(write_seconds=1)) as node:
        narrow(node)
        with nothing_grows(node):
            options = {"include_usage": True, "continuous_usage_stats": True}
            data = asked(CHAT, chat(tokens=400, n=8, stream=True, stream_options=options))
            before = State.of(node)
            with connect(node, STRANGER, room=4096) as made:
                made.sendall(data)
                wait_for(lambda: node.service.active)
                wait_for(lambda: not node.service.active)
                wait_for(lambda: State.of(node).sockets <= before.sockets + 1)  # the client's own end


def test_clients_that_leave_at_once_leave_nothing(node: Running) -> None:
    with nothing_grows(node):
        for _ in range(20):
            with connect(node, STRANGER) as made:
                made.sendall(asked(CHAT, chat(tokens=400, n=2)))
        for _ in range(5):
            with connect(node, STRANGER) as made:
                made.sendall(asked(CHAT, chat(tokens=400, stream=True)))
                made.recv(100)


def test_pipelined_requests_that_are_left_are_not_all_computed(node: Running) -> None:
    """The server notices when it writes the first answer that nobody reads."""
    once = asked(CHAT, chat(tokens=50)).replace(b"\r\nConnection: close", b"")
    with nothing_grows(node):
        with connect(node, STRANGER) as made:
            made.sendall(once * 30)
            wait_for(lambda: State.of(node).live)
    assert count(node, "answers", model="tiny", outcome="answered") < 10
