"""Nodes that lie, stall and flood: the client gets an error or another node's answer, and never one that did
not hold under a level above *advertised*.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from client.lies import CHANGES, STREAMED, _finishing, _replayed, _set, cheat
from client.standin import NODE, OTHER, Service
from gateway.standing import CHAT, STREAM, Said, asked, gateway, honest, standing
from proofcompute.gateway import Gateway, Patience
from proofcompute.gateway.federation import Required
from proofcompute.protocol.messages import Receipt, Terms


def required_true(said: Said, made: Gateway) -> None:
    """What a client got is south's answer, or an error; north's is under no level above advertised."""
    if said.status != 200:
        assert said.json["error"]["code"] == "no_node"
        assert "assurance" not in said.json
        return
    found = said.events if said.headers["content-type"].startswith("text/event-stream") else [said.json]
    levels = [e["assurance"] for e in found if "assurance" in e]
    errors = [e for e in found if "error" in e]
    assert all(a["level"] == "receipted" and a["node"] == OTHER.public.hex() for a in levels)
    assert bool(levels) != bool(errors)
    assert not (errors and any("proofcompute" in e for e in found))
    (record,) = made.records.newest(1)
    assert record.level == ("contradicted" if errors else "receipted")


def tracked() -> None:
    """A node that sets cookies is asked as if it had not."""
    north = honest("north", headers={"set-cookie": "who=you; Path=/; Max-Age=9999"})
    made = gateway({"north": north})
    asked(made, CHAT, CHAT, STREAM)
    assert not list(made.fleet.members["north"].client.cookies.jar)
    assert len([method for method, *_ in north.asked if method == "POST"]) == 3
    assert all("cookie" not in headers for _, _, headers, _ in north.asked)


def test_a_node_sets_no_cookies() -> None:
    tracked()


LIES = [
    pytest.param(name, body, id=f"{name}, {'stream' if 'stream' in body else 'whole'}")
    for body in (CHAT, {**STREAM, "stream_options": {"include_usage": True}})
    for name in (CHANGES if body is CHAT else [*CHANGES, *STREAMED])
]


@pytest.mark.parametrize(("name", "body"), LIES)
def test_a_lie_reaches_no_client(name: str, body: dict[str, Any]) -> None:
    north, _ = cheat(name)
    made = gateway({"north": north, "south": honest("south")}, first="north")
    (said,) = asked(made, body)
    required_true(said, made)
    member = made.fleet.members["north"]
    assert member.state == "quarantined"
    assert member.trust.contradictions == 1
    assert member not in made.fleet.order(CHAT["model"])


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_without_another_node_a_lie_is_an_error(body: dict[str, Any]) -> None:
    north, _ = cheat("no receipt")
    made = gateway({"north": north})
    (said, after) = asked(made, body, body)
    assert b"receipted" not in said.body
    assert b"error" in said.body
    assert (after.status, after.json["error"]["code"]) == (503, "no_node")


def test_a_replayed_answer_is_contradicted() -> None:
    made = gateway({"north": _replayed()})
    (first, again) = asked(made, CHAT, {**CHAT, "seed": 9})
    assert first.status == 200
    assert again.status == 503
    assert "step 4" in made.fleet.members["north"].quarantined


def _giant(sent: dict[str, Any]) -> dict[str, Any]:
    return _finishing(lambda s: _set(s, "proofcompute", "receipt", to="A" * (1 << 22)))(sent)


def _without_signature(sent: dict[str, Any]) -> dict[str, Any]:
    import base64

    def unsigned(text: str) -> str:
        receipt = replace(Receipt.decode(base64.b64decode(text)), signature=bytes(64))
        return base64.b64encode(receipt.encode()).decode()

    return _finishing(
        lambda s: _set(s, "proofcompute", "receipt", to=unsigned(s["proofcompute"]["receipt"]))
    )(sent)


@pytest.mark.parametrize("body", [CHAT, STREAM])
@pytest.mark.parametrize("change", [_giant, _without_signature])
def test_receipts_that_are_giant_or_unsigned(change: Callable[..., Any], body: dict[str, Any]) -> None:
    made = gateway({"north": honest("north", change=change), "south": honest("south")}, first="north")
    (said,) = asked(made, body)
    required_true(said, made)
    assert made.fleet.members["north"].quarantined


def test_another_nodes_receipt_is_not_this_nodes() -> None:
    """South's answers under north's name: the receipt is good, and another key signed it."""
    made = gateway({"north": honest("south"), "south": honest("south")}, first="north")
    (said,) = asked(made, CHAT)
    required_true(said, made)
    assert "step 2" in made.fleet.members["north"].quarantined


# -- terms -------------------------------------------------------------------------------------------------
def test_terms_that_change_to_less_than_required() -> None:
    north = honest("north")
    made = gateway({"north": north}, entries={"north": {"terms": Required(retention=3600)}})

    async def change() -> list[Said]:
        async with standing(made) as ask:
            before = await ask(CHAT)
            north.terms = north.node.terms = Terms.of(NODE, base=30, rate=1000, retention=60)
            north.node.retention = 60
            return [before, await ask({**CHAT, "seed": 3})]

    before, after = asyncio.run(change())
    assert before.status == 200
    assert after.status == 503
    assert "too short a time" in made.fleet.members["north"].quarantined


def test_terms_that_another_node_signed() -> None:
    north = honest("north")
    north.terms = Terms.of(OTHER, base=30, rate=1000, retention=3600)
    made = gateway({"north": north, "south": honest("south")}, first="north")
    (said,) = asked(made, CHAT)
    required_true(said, made)
    assert "step 2" in made.fleet.members["north"].quarantined


def test_a_node_whose_terms_allow_too_much_time_rests() -> None:
    made = gateway({"north": honest("north")}, entries={"north": {"terms": Required(seconds=5.0)}})
    (said, after) = asked(made, CHAT, CHAT)
    assert said.status == 200  # its receipt holds
    assert after.status == 503
    assert made.fleet.members["north"].state == "resting"
    assert "its terms allow" in made.fleet.members["north"].why


# -- nodes that stall --------------------------------------------------------------------------------------
class Stalling(httpx2.AsyncBaseTransport):
    """A transport to an honest node that says nothing, or dribbles."""

    def __init__(self, node: Service, *, silent: bool, events: int = 0, pause: float = 0.05) -> None:
        self.node, self._inner = node, node.transport(httpx2)
        self._silent, self._events, self._pause = silent, events, pause
        self.closed = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if request.method != "POST":
            return response  # type: ignore[no-any-return]
        if self._silent:
            await asyncio.sleep(3600)
        stalling = self

        class Dribble(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                at = 0
                async for piece in response.stream:
                    if at < stalling._events:
                        yield piece
                    else:
                        for byte in piece:
                            await asyncio.sleep(stalling._pause)
                            yield bytes([byte])
                    at += 1

            async def aclose(self) -> None:
                stalling.closed += 1

        return httpx2.Response(200, headers=response.headers, stream=Dribble())


SHORT = Patience(first=2.0, idle=2.0, whole=6.0)


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_a_silent_node_is_left(body: dict[str, Any]) -> None:
    patience = replace(SHORT, whole=2.0)
    north = Stalling(honest("north"), silent=True)
    made = gateway({"north": north, "south": honest("south")}, first="north", patience=patience)
    (said,) = asked(made, body)
    required_true(said, made)
    assert made.fleet.members["north"].state == "resting"
    assert made.fleet.members["north"].live == 0


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_a_node_that_sends_byte_by_byte_is_left(body: dict[str, Any]) -> None:
    """Each byte comes in time, and no whole event does."""
    patience = replace(SHORT, whole=2.0) if body is CHAT else SHORT
    north = Stalling(honest("north"), silent=False)
    made = gateway({"north": north, "south": honest("south")}, first="north", patience=patience)
    (said,) = asked(made, body)
    required_true(said, made)
    assert north.closed
    assert "too slow" in made.fleet.members["north"].why


def test_a_node_that_stalls_after_its_first_text_ends_in_an_error() -> None:
    """No other node is asked then: two nodes' texts are no answer."""
    north = Stalling(honest("north"), silent=False, events=1)
    south = honest("south")
    made = gateway({"north": north, "south": south}, first="north", patience=SHORT)
    (said,) = asked(made, STREAM)
    assert said.events[-1]["error"]["code"] == "broken_answer"
    assert not any("assurance" in e for e in said.events)
    assert not south.asked
    assert made.records.newest(1)[0].level == "advertised"
    assert north.closed


def test_a_node_that_is_busy_is_asked_again_when_it_says() -> None:
    north = honest("north", status=429, headers={"retry-after": "7"})
    made = gateway({"north": north, "south": honest("south")}, first="north")
    (said,) = asked(made, CHAT)
    required_true(said, made)
    member = made.fleet.members["north"]
    assert member.state == "resting"
    assert not member.quarantined


def test_an_error_in_a_stream_is_passed_on_and_is_no_answer() -> None:
    error = b'data: {"error": {"message": "out of memory"}}\n\n'
    late = honest("north", rewrite=lambda d: [d[0], error, d[-1]])
    made = gateway({"north": late})
    (said,) = asked(made, STREAM)
    assert said.events[-1]["error"]["message"] == "out of memory"
    assert made.records.newest(1)[0].level == "advertised"
    early = honest("north", rewrite=lambda d: [error, d[-1]])
    made = gateway({"north": early, "south": honest("south")}, first="north")
    (said,) = asked(made, STREAM)
    required_true(said, made)


def test_a_node_that_redirects_is_left() -> None:
    north = honest("north", status=307, headers={"location": "http://else.example/"})
    north._answer = lambda *_: (307, {"location": "http://else.example/"}, b"")  # type: ignore[method-assign]
    made = gateway({"north": north, "south": honest("south")}, first="north")
    (said,) = asked(made, CHAT)
    required_true(said, made)
    assert not made.fleet.members["north"].quarantined


def test_an_answers_record_cannot_be_taken_over() -> None:
    """A node that names another answer's id does not change what is known of that answer."""
    north = honest("north")
    made = gateway({"north": north})

    async def ask_twice() -> None:
        async with standing(made) as ask:
            first = await ask(CHAT)
            north.change = lambda s: _set(s, "id", to=first.json["id"])
            await ask({**STREAM, "seed": secrets.randbelow(1 << 31)})
            found = await ask(None, f"/v1/assurance/{first.json['id']}")
            assert found.json["answer"] == first.json["assurance"]["answer"]
            assert found.json["level"] == "receipted"

    asyncio.run(ask_twice())


def test_what_was_seen_is_kept_for_the_operator() -> None:
    """Nobody signed another text than the receipt's, so there is no evidence for others, and a record for
    us.
    """
    north, _ = cheat("changed text")
    made = gateway({"north": north})
    asked(made, CHAT)
    name = made.fleet.members["north"].evidence
    assert name.endswith(".json")
    kept = made.books.evidence(name)
    assert kept is not None
    assert json.loads(kept)["step"] == 5
