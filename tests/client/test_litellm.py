"""LiteLLM, unchanged, above the transport that checks receipts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it fetches a list of prices

import httpx
import httpx2
import litellm
import openai
import pytest
from litellm.exceptions import InternalServerError, MidStreamFallbackError

from client.standin import BASE, NAME, prompter
from client.unchanged import MESSAGES, SETTINGS, lying, questions, through, to
from proofcompute.client import ProofTransport, contradiction_in
from proofcompute.client.pins import Served
from proofcompute.errors import VerificationError
from serving.running import Running

ASK: dict[str, Any] = {"model": f"openai/{NAME}", "messages": MESSAGES, "api_key": "none", **SETTINGS}
LIBRARIES = (httpx, httpx2)
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")


def _forget() -> None:
    """Drop the clients that LiteLLM keeps."""
    cache: Any = litellm.in_memory_llm_clients_cache
    cache.flush_cache()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LiteLLM keeps clients for an hour, by address and key, whatever the session is by then."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    monkeypatch.setattr(litellm, "client_session", None)
    monkeypatch.setattr(litellm, "aclient_session", None)
    _forget()
    yield
    _forget()


@contextmanager
def _session(transport: ProofTransport, library: ModuleType, url: str) -> Iterator[dict[str, Any]]:
    """Set LiteLLM's session for all calls."""
    with library.Client(transport=transport) as session:
        litellm.client_session = session
        yield {}
    litellm.client_session = None
    _forget()


@contextmanager
def _client(transport: ProofTransport, library: ModuleType, url: str) -> Iterator[dict[str, Any]]:
    """Give a client to one call."""
    made = library.Client(transport=transport)
    with openai.OpenAI(base_url=url, api_key="none", http_client=made) as asked:
        yield {"client": asked}


def _asked(url: str, stream: bool, **given: Any) -> tuple[str, str | None]:
    found: Any = litellm.completion(**ASK, api_base=url, stream=stream, **given)
    if not stream:
        return found.choices[0].message.content, found.choices[0].finish_reason
    text, reason = "", None
    for chunk in found:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    return text, reason


async def _asked_async(url: str, stream: bool) -> tuple[str, str | None]:
    found: Any = await litellm.acompletion(**ASK, api_base=url, stream=stream)
    if not stream:
        return found.choices[0].message.content, found.choices[0].finish_reason
    text, reason = "", None
    async for chunk in found:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    return text, reason


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_those_of_the_plain_client_and_each_is_checked(stream: bool, node: Running) -> None:
    url = f"{node.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none") as unchecked:
        plain = _asked(url, stream, client=unchecked)
    for way in (_session, _client):
        for library in LIBRARIES:
            transport = through(node)
            with way(transport, library, url) as given:
                assert _asked(url, stream, **given) == plain
            assert len(transport.checked) == 1
    transport = through(node)

    async def ask() -> tuple[str, str | None]:
        async with httpx.AsyncClient(transport=transport) as session:
            litellm.aclient_session = session
            return await _asked_async(url, stream)

    assert asyncio.run(ask()) == plain
    assert len(transport.checked) == 1


def test_a_session_that_is_set_after_a_call_is_not_used(node: Running) -> None:
    """The guide says so: LiteLLM keeps the client of the first call, which checks nothing."""
    url, transport = f"{node.url}/v1", through(node)
    with httpx.Client() as unchecked:
        litellm.client_session = unchecked
        _asked(url, stream=False)
        with _session(transport, httpx, url):
            _asked(url, stream=False)
            assert len(transport.checked) == 0
            _forget()
            _asked(url, stream=False)
            assert len(transport.checked) == 1


@pytest.fixture
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "prompter", property(lambda served: prompter()))


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("way", [_session, _client])
@pytest.mark.parametrize("stream", [False, True])
def test_a_lie_is_wrapped_and_the_node_is_asked_once(stream: bool, way: Any, library: ModuleType) -> None:
    service = lying()
    transport = to(service, library)
    wrapped = MidStreamFallbackError if stream else InternalServerError
    with way(transport, library, BASE) as given, pytest.raises(wrapped) as raised:
        _asked(BASE, stream, **given)
    error = contradiction_in(raised.value)
    assert isinstance(error, VerificationError)
    assert error.step == 5
    assert questions(service) == 1
    assert [c.error for c in transport.contradictions] == [error]


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_lie_is_not_asked_for_again_by_retries(library: ModuleType) -> None:
    service = lying()
    transport = to(service, library)
    with _client(transport, library, BASE) as given, pytest.raises(InternalServerError) as raised:
        _asked(BASE, stream=False, num_retries=2, **given)
    assert isinstance(contradiction_in(raised.value), VerificationError)
    assert questions(service) == 1


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("stream", [False, True])
def test_a_lie_to_an_asynchronous_caller_is_wrapped(stream: bool) -> None:
    service = lying()

    async def ask() -> None:
        async with httpx.AsyncClient(transport=to(service, httpx)) as session:
            litellm.aclient_session = session
            await _asked_async(BASE, stream)

    wrapped = MidStreamFallbackError if stream else InternalServerError
    with pytest.raises(wrapped) as raised:
        asyncio.run(ask())
    assert isinstance(contradiction_in(raised.value), VerificationError)
    assert questions(service) == 1
