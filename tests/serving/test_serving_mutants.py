"""Each check of a service stops an attack, which passes only without the check."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, cast

import pytest

import proofcompute as pc
from adversary.mutation import Edit, apply
from proofcompute.errors import BusyError
from proofcompute.limits import KIB, MIB
from proofcompute.protocol.messages import Challenge
from proofcompute.serving import ApiKeys, Service, ServiceLimits, gate, proofs
from proofcompute.serving.app import application
from proofcompute.serving.clients import Client
from proofcompute.serving.gate import Exchange, Gate
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.turns import Turns
from proofcompute.serving.waste import REQUEST, WRONG_KEY, Waste
from serving.hostile import CHAT
from serving.running import chat_model
from synthetic import KERNELS, NODE

KEYS = ApiKeys({"alice": hashlib.sha256(b"alice").digest()})
TINY = 2 * MIB
LIMITS = ServiceLimits(
    body=TINY // 2,
    proof_body=TINY // 2,
    waste=TINY,
    waste_rate=1,
    hold_seconds=0.001,
    body_seconds=0.05,
    write_seconds=0.05,
)


class Door(NamedTuple):
    """A service that computes nothing, since what is refused needs no runner, and its application."""

    service: Service
    app: Gate


def service() -> Door:
    made = Service({"tiny": chat_model()}, NODE, KERNELS, limits=LIMITS)
    return Door(made, application(made))


def ask(
    of: Door,
    path: str = CHAT.decode(),
    parts: Sequence[bytes | None] = (b"",),
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> list[int]:
    """Send a request as a server does, and return statuses and bytes of the answer.

    A part that is None: the body breaks off. After the last part of another kind, nothing comes any more if
    there is a part b"...".
    """
    waits = b"..." in parts
    messages = [
        {"type": "http.disconnect"}
        if part is None
        else {"type": "http.request", "body": part, "more_body": waits or i + 1 < len(parts)}
        for i, part in enumerate(p for p in parts if p != b"...")
    ]
    found = [0, 0]

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        found[0] = message.get("status", found[0])
        found[1] += len(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": list(headers),
        "query_string": b"",
        "client": ("127.0.0.1", "1000"),
        "server": ("127.0.0.1", "2000"),
    }
    asyncio.run(of.app(cast(Any, scope), receive, send))
    return found


def floods(of: Door, **request: Any) -> bool:
    """Whether a client that sends the same again and again is told to wait, in a number of requests."""
    return any(ask(of, **request)[0] == 429 for _ in range(200))


# -- attacks: each returns whether it is stopped -------------------------------------------------------------
def many_requests() -> bool:
    return floods(service(), path="/v1/models/none", method="GET")


def many_bytes() -> bool:
    of = service()
    return any(ask(of, parts=[b"[" * (500 * KIB)])[0] == 429 for _ in range(5))


def many_cards() -> bool:
    """Whether what a client is sent counts, besides the request."""
    of = service()
    status, sent = ask(of, "/openapi.json", method="GET")
    assert status == 200
    spent = TINY - of.service.waste.left(Client.of("address", "127.0.0.1").scope)
    return spent >= REQUEST + sent - 10  # some came back meanwhile


def beyond_an_allowance() -> bool:
    waste = Waste(10, 1, lambda: 0.0)
    waste.take(b"a", 8)
    try:
        waste.take(b"a", 8)
    except Refusal:
        return True
    return False


def guesses(key: bytes) -> bool:
    """Whether an address that showed wrong keys is told nothing more of this one."""
    waste = Waste(3 * WRONG_KEY, 0.001)
    address = Client.of("address", "a")
    statuses = []
    for shown in ("1", "2", "3", key.decode()):
        try:
            KEYS.admit(address, f"Bearer {shown}", waste)
        except Refusal as refusal:
            statuses.append(refusal.status)
    return statuses == [401, 401, 401, 429]


def a_broken_body() -> bool:
    return ask(service(), parts=[b"{", None])[0] == 400


def a_body_that_never_ends() -> bool:
    hung: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "hang_up", lambda *args, sending: hung.append((*args, sending)))
        assert ask(service(), parts=[b"{", b"..."])[0] == 408
    return hung == [(("127.0.0.1", 1000), 2000, True)]


def a_reader_that_reads_nothing() -> bool:
    hung: list[Any] = []

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        scope: Any = {"headers": [], "client": ("127.0.0.1", "1000"), "server": ("127.0.0.1", "2000")}
        exchange = Exchange(service().service, scope, cast(Any, None), never)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.body", "body": b"x"})

        with suppress(TimeoutError):
            await asyncio.wait_for(exchange._within(app, cast(Any, None)), 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "hang_up", lambda *args, sending: hung.append((*args, sending)))
        asyncio.run(run())
    return hung == [(("127.0.0.1", 1000), 2000, False)]


def a_reader_that_holds_the_end() -> bool:
    """Whether an answer ends that writes again when it is given up."""

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.body", "body": b"x"})
        finally:
            await send({"type": "http.response.body", "body": b""})

    async def run() -> bool:
        exchange = Exchange(service().service, {"headers": []}, cast(Any, None), never)
        with suppress(TimeoutError):
            await asyncio.wait_for(exchange._within(app, cast(Any, None)), 2)
        return False

    try:
        return asyncio.run(run())
    except gate._Gone:
        return True


class Party(NamedTuple):
    """What an opening needs of an exchange."""

    client: Client
    leaving: ExitStack
    computes: Callable[[], None] = lambda: None


def an_opening_again() -> bool:
    said: list[str] = []
    party: Any = Party(Client.of("address", "a"), ExitStack(), lambda: said.append("computes"))
    hold = proofs._Hold(service().service, party)
    for _ in range(3):
        hold.opens(Challenge(bytes(32), (pc.Cell(0, 0, 1),)))
    return len(said) == 2


def a_second_opening_at_a_time() -> bool:
    of, party = service().service, Party(Client.of("address", "a"), ExitStack())
    proofs._Hold(of, cast(Any, party))
    try:
        proofs._Hold(of, cast(Any, party))
    except BusyError:
        return True
    return False


def a_reader_in_no_hurry(waiting: int = 1, stalled: float = 1e3) -> bool:
    of = service().service
    with ExitStack() as leaving:
        hold = proofs._Hold(of, cast(Any, Party(Client.of("address", "a"), leaving)))
        of.turns._waiting = [cast(Any, None)] * waiting
        found = hold._hurry(stalled, 10)
        of.turns._waiting = []
    return found


def a_greedy_client_first() -> bool:
    async def run() -> list[bytes]:
        turns, order = Turns(1, 9), []

        async def take(scope: bytes) -> None:
            await turns.take(scope, 60)
            order.append(scope)

        await take(b"greedy")
        waits = [asyncio.ensure_future(take(scope)) for scope in (b"greedy", b"modest")]
        await asyncio.sleep(0)
        turns.give_back(b"greedy", 5)
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return order

    return asyncio.run(run())[1] == b"modest"


def a_place_that_is_free_while_another_leaves() -> bool:
    async def run() -> bool:
        turns = Turns(1, 9)
        await turns.take(b"holds", 60)
        leaves = asyncio.ensure_future(turns.take(b"leaves", 60))
        for _ in range(3):
            await asyncio.sleep(0)
        comes = asyncio.ensure_future(turns.take(b"comes", 60))
        turns._waiting[0][1].cancel()
        turns.give_back(b"holds", 1)
        for _ in range(2):  # who comes takes it before who leaves is gone
            await asyncio.sleep(0)
        taken = comes.done()
        for wait in (leaves, comes):
            wait.cancel()
        return taken

    return asyncio.run(run())


def a_crowd_that_waits() -> bool:
    async def run() -> bool:
        turns = Turns(1, 1)
        await turns.take(b"a", 60)
        waits = [asyncio.ensure_future(turns.take(scope, 60)) for scope in (b"b", b"c")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused = waits[1].done() and isinstance(waits[1].exception(), BusyError)
        for wait in waits:
            wait.cancel()
        return refused

    return asyncio.run(run())


def a_large_body_among_small_ones() -> bool:
    of = service().service

    async def where(nbytes: int) -> str:
        return await of.prepare(nbytes, lambda: threading.current_thread().name)

    return asyncio.run(where(MIB)).split("_")[0] != asyncio.run(where(10)).split("_")[0]


def a_surrogate_in_a_refusal() -> bool:
    try:
        return bool(json.loads(bytes(Refusal.of(400, "\udfff", "x").response().body)))
    except UnicodeEncodeError:
        return False


Attack = Callable[[], bool]

MUTANTS: dict[str, tuple[Edit, Attack]] = {
    "a request counts": (
        Edit("serving.gate", "            self._charge(REQUEST)\n", "            pass\n"),
        many_requests,
    ),
    "a body counts": (
        Edit("serving.gate", "self._charge(len(part))", "pass"),
        many_bytes,
    ),
    "what is sent counts": (
        Edit("serving.gate", "self._service.waste.spend(self.client.scope, nbytes)", "pass"),
        many_cards,
    ),
    "an allowance": (
        Edit("serving.waste", "if (lacking := nbytes - self.left(scope)) > 0:", "if (lacking := 0) > 0:"),
        beyond_an_allowance,
    ),
    "wrong keys count": (
        Edit("serving.clients", "            waste.take(address.scope, WRONG_KEY)\n", "            pass\n"),
        lambda: guesses(b"wrong"),
    ),
    "right keys wait too": (
        Edit(
            "serving.clients", "            waste.require(address.scope, WRONG_KEY)\n", "            pass\n"
        ),
        lambda: guesses(b"alice"),
    ),
    "a broken body is answered": (
        Edit("serving.gate", "            await self._broken()\n", "            pass\n"),
        a_broken_body,
    ),
    "a body that never ends is hung up on": (
        Edit("serving.gate", "                self._hang_up(sending=True)\n", "                pass\n"),
        a_body_that_never_ends,
    ),
    "a reader that reads nothing is hung up on": (
        Edit("serving.gate", "        self._hang_up(sending=False)\n", "        pass\n"),
        a_reader_that_reads_nothing,
    ),
    "a write that lasts too long is a reader's that reads nothing": (
        Edit("serving.gate", "            if self._writing.over:\n", "            if False:\n"),
        a_reader_that_reads_nothing,
    ),
    "an answer that is given up writes nothing more": (
        Edit("serving.gate", "if self._left or self._writing.over:", "if self._left:"),
        a_reader_that_holds_the_end,
    ),
    "a write may not last for ever": (
        Edit("serving.gate", "Waiting(self._limits.write_seconds, math.inf)", "Waiting(math.inf, math.inf)"),
        a_reader_that_reads_nothing,
    ),
    "an opening again counts": (
        Edit("serving.proofs", "if self._service.opened.free(challenge.digest):", "if True:"),
        an_opening_again,
    ),
    "one opening of a client": (
        Edit("serving.proofs", "service.challengers.take(exchange.client, 1, 0)", "pass"),
        a_second_opening_at_a_time,
    ),
    "others who wait": (
        Edit("serving.proofs", "self._service.turns.waiting > 0 and", "False and"),
        a_reader_in_no_hurry,
    ),
    "nobody waits": (
        Edit("serving.proofs", "self._service.turns.waiting > 0 and", "True and"),
        lambda: not a_reader_in_no_hurry(waiting=0),
    ),
    "a reader that reads": (
        Edit("serving.proofs", "stalled > _PATIENCE + nbytes / _LEAST", "stalled >= 0"),
        lambda: not a_reader_in_no_hurry(stalled=0.0),
    ),
    "who had least goes first": (
        Edit("serving.turns", "key=lambda waits: self._use(waits[0]))", "key=lambda waits: 0)"),
        a_greedy_client_first,
    ),
    "no place is lost": (
        Edit("serving.turns", "and not self._staying():", "and not self._waiting:"),
        a_place_that_is_free_while_another_leaves,
    ),
    "few may wait": (
        Edit("serving.turns", "if len(self._waiting) >= self._most:", "if False:"),
        a_crowd_that_waits,
    ),
    "large bodies have a thread": (
        Edit("serving.service", "if nbytes <= _SMALL else self._reading", "if nbytes else self._reading"),
        a_large_body_among_small_ones,
    ),
    "a refusal can be said": (
        Edit("serving.refusals", 'text.encode(errors="replace")', "text.encode()"),
        a_surrogate_in_a_refusal,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_an_attack_on_a_service_passes_only_without_the_check(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, stopped = MUTANTS[name]
    assert stopped()
    with monkeypatch.context() as patch:
        apply(patch, [edit])
        assert not stopped()
