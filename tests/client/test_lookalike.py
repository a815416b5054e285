"""Canaries beside the clients that they look like: what comes over the wire is the same, byte for byte."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from importlib import metadata
from random import Random
from typing import Any

import httpx2
import pytest

from client.doors import Call, Door, at_door
from client.standin import NAME, model
from proofcompute.client.asking import Asker
from proofcompute.client.budget import Budget, Meter
from proofcompute.client.canaries import Canary
from proofcompute.client.line import Line
from proofcompute.client.lookalike import ATTEMPTS, TIMES, Client, encoded, retried, wait_before
from proofcompute.client.pins import Pins

openai = pytest.importorskip("openai")
MESSAGES: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Wie geht's? é\u2028"},
]
CHAT: dict[str, Any] = {
    "messages": MESSAGES,
    "temperature": 0.5,
    "max_tokens": 9,
    "stop": ["x"],
    "top_p": 0.9,
}
TEXT: dict[str, Any] = {"prompt": "Once", "max_tokens": 9, "seed": 7}
DRAWN = ("x-stainless-os", "x-stainless-arch", "x-stainless-runtime-version", "x-stainless-package-version")
"""Headers that a canary draws; a client says where it runs."""


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with at_door(answering=lambda call, honest: (418, {"content-type": "application/json"}, b"{}")) as made:
        yield made


def by_openai(door: Door, endpoint: str, body: dict[str, Any], *, asynchronous: bool = False) -> None:
    made = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    client = made(base_url=door.url + "/v1", api_key="key", max_retries=0)
    place = client.chat.completions if endpoint == "chat" else client.completions

    async def ask() -> None:
        await place.create(model=NAME, **body)

    with pytest.raises(openai.APIStatusError):
        asyncio.run(ask()) if asynchronous else place.create(model=NAME, **body)


def by_langchain(door: Door, endpoint: str, body: dict[str, Any], *, asynchronous: bool = False) -> None:
    made = pytest.importorskip("langchain_openai").ChatOpenAI(
        model=NAME,
        base_url=door.url + "/v1",
        api_key="key",
        max_retries=0,
        temperature=body["temperature"],
        max_completion_tokens=9,
        streaming=body.get("stream", False),
    )
    with pytest.raises(openai.APIStatusError):
        made.invoke([(m["role"], m["content"]) for m in MESSAGES])


def by_canary(door: Door, body: bytes, endpoint: Any, **options: bool) -> Call:
    """What a canary with this body looks like, from a client that sends no nonce."""
    client = Client.drawn(Random(5))
    sent = Canary(endpoint, body, client.headers("key", **options), "node", 0.0)
    meter = Meter(Budget())
    line = Line(httpx2, meter, fresh=True, patience=600.0)
    asker = Asker(door.url + "/v1", Pins(model().card), library=httpx2, line=line, meter=meter)
    try:
        asker.ask(sent, lambda checked, lost: None)
    finally:
        asker.close()
    return door.calls[-1]


CLIENTS: dict[str, tuple[Callable[..., None], str, dict[str, Any], dict[str, bool]]] = {
    "openai": (by_openai, "chat", CHAT, {}),
    "openai, a stream": (by_openai, "chat", {**CHAT, "stream": True}, {"stream": True}),
    "openai, usage": (
        by_openai,
        "chat",
        {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
        {"stream": True},
    ),
    "openai, text": (by_openai, "completions", TEXT, {}),
    "openai, asynchronous": (by_openai, "chat", CHAT, {"asynchronous": True}),
    "langchain": (by_langchain, "chat", {"temperature": 0.5}, {"langchain": True}),
    "langchain, a stream": (
        by_langchain,
        "chat",
        {"temperature": 0.5, "stream": True},
        {"langchain": True, "stream": True},
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_canary_is_the_request_of_its_client(name: str, door: Door) -> None:
    ask, endpoint, body, options = CLIENTS[name]
    asynchronous = options.get("asynchronous", False)
    ask(door, endpoint, body, asynchronous=asynchronous)
    real = door.calls[-1]
    given = {"langchain": False, "stream": False, "asynchronous": False, **options}
    canary = by_canary(door, encoded(json.loads(real.body)), endpoint, **given)
    assert canary.body == real.body
    assert canary.path == real.path
    assert [k for k, _ in canary.lines] == [k for k, _ in real.lines]
    assert {k: v for k, v in canary.lines if k not in DRAWN} == {
        k: v for k, v in real.lines if k not in DRAWN
    }


def test_what_a_canary_draws_of_its_client_is_what_clients_say(door: Door) -> None:
    by_openai(door, "chat", CHAT)
    real = dict(door.calls[-1].lines)
    drawn = [Client.drawn(Random(i)) for i in range(200)]
    assert {c.version for c in drawn} == {real["x-stainless-package-version"]}
    assert {("Linux", "x64"), ("MacOS", "arm64")} <= {c.platform for c in drawn}
    for client in drawn:
        said = dict(client.headers("key", langchain=False, stream=False, asynchronous=False))
        assert [len(said[k].split(".")) for k in DRAWN[2:]] == [len(real[k].split(".")) for k in DRAWN[2:]]


def test_a_canary_names_a_version_where_the_client_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert len(Client.drawn(Random(1)).version.split(".")) == 3


def test_time_outs_are_those_of_the_client() -> None:
    wanted = openai.DEFAULT_TIMEOUT
    assert dict(TIMES) == {k: getattr(wanted, k) for k in ("connect", "read", "write", "pool")}
    assert openai.DEFAULT_MAX_RETRIES + 1 == ATTEMPTS


HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"retry-after": "0"},
    {"retry-after": "1.5"},
    {"retry-after": "120"},
    {"retry-after": "121"},
    {"retry-after": "-3"},
    {"retry-after": "soon"},
    {"retry-after": "inf"},
    {"retry-after": "nan"},
    {"retry-after": "9" * 400},
    {"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"},
    {"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"},
    {"retry-after-ms": "250"},
    {"retry-after-ms": "250", "retry-after": "9"},
    {"retry-after-ms": "x", "retry-after": "9"},
    {"x-should-retry": "true"},
    {"x-should-retry": "false"},
    {"x-should-retry": "true", "retry-after": "500"},
)


@pytest.mark.parametrize("headers", HEADERS, ids=str)
@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 422, 429, 500, 503, 529])
def test_a_question_is_asked_again_when_its_client_would(status: int, headers: dict[str, str]) -> None:
    from openai._models import FinalRequestOptions

    client = openai.OpenAI(base_url="http://127.0.0.1:9", api_key="key")
    response = httpx2.Response(status, headers=headers)
    options = FinalRequestOptions(method="post", url="/x")
    for attempt in (1, 2):
        found = wait_before(attempt, status, headers, Random(1))
        if not client._should_retry(response):
            assert found is None
            continue
        left = ATTEMPTS - attempt
        waits = [client._calculate_retry_timeout(left, options, response.headers) for _ in range(40)]
        assert found is not None
        assert 0.74 * max(waits) <= found <= max(waits) / 0.74
        if math.isclose(min(waits), max(waits)):
            assert found == pytest.approx(waits[0], abs=2)
    assert wait_before(ATTEMPTS, status, headers, Random(1)) is None


def test_a_lost_connection_is_tried_again_after_a_pause_that_varies() -> None:
    waits = {wait_before(1, 0, {}, Random(i)) for i in range(50)}
    assert len(waits) == 50
    assert all(w is not None and 0.375 <= w <= 0.5 for w in waits)
    assert all(0.75 <= (wait_before(2, 0, {}, Random(i)) or 0) <= 1 for i in range(50))


def test_a_repetition_says_that_it_is_one() -> None:
    headers = Client.drawn(Random(1)).headers("key", langchain=False, stream=False, asynchronous=False)
    assert dict(retried(headers, 0)) == dict(headers)
    assert dict(retried(headers, 2)) == {**dict(headers), "x-stainless-retry-count": "2"}
