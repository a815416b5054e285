"""LangChain's model for OpenAI's interface, unchanged, above the transport that checks receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from client.standin import BASE, NAME, Service, prompter
from client.unchanged import lying, questions, through, to
from proofcompute.client import ProofTransport
from proofcompute.client.pins import Served
from proofcompute.errors import VerificationError
from serving.running import Running

ASK = [SystemMessage("Be brief."), HumanMessage("Hello")]
OTHER = [HumanMessage("Once")]


def chat(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=NAME,
        base_url=url,
        api_key=SecretStr("none"),
        temperature=0,
        max_completion_tokens=6,
        **options,
    )


@pytest.fixture
def transport(node: Running) -> Iterator[ProofTransport]:
    with through(node) as made:
        yield made


@pytest.fixture
def checked(node: Running, transport: ProofTransport) -> ChatOpenAI:
    return chat(
        f"{node.url}/v1",
        http_client=httpx2.Client(transport=transport),
        http_async_client=httpx2.AsyncClient(transport=transport),
    )


def _shown(found: BaseMessage) -> tuple[Any, Any]:
    return found.content, found.response_metadata["finish_reason"]


def test_answers_are_those_of_the_plain_client_and_each_is_checked(
    node: Running, transport: ProofTransport, checked: ChatOpenAI
) -> None:
    plain = chat(f"{node.url}/v1")
    first, second = _shown(plain.invoke(ASK)), _shown(plain.invoke(OTHER))
    assert _shown(checked.invoke(ASK)) == first
    assert len(transport.checked) == 1
    assert "".join(str(chunk.content) for chunk in checked.stream(ASK)) == first[0]
    assert len(transport.checked) == 2
    assert list(map(_shown, checked.batch([ASK, OTHER]))) == [first, second]
    assert len(transport.checked) == 4
    assert len(transport.contradictions) == 0

    async def asynchronously() -> list[Any]:
        text = "".join([str(chunk.content) async for chunk in checked.astream(ASK)])
        found = await checked.ainvoke(ASK)
        return [text, _shown(found), *map(_shown, await checked.abatch([ASK, OTHER]))]

    assert asyncio.run(asynchronously()) == [first[0], first, first, second]
    assert len(transport.checked) == 8


@pytest.fixture
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "prompter", property(lambda served: prompter()))


def _invoke(asked: ChatOpenAI) -> None:
    asked.invoke(OTHER)


def _stream(asked: ChatOpenAI) -> None:
    for _ in asked.stream(OTHER):
        pass


def _batch(asked: ChatOpenAI) -> None:
    asked.batch([OTHER])


def _ainvoke(asked: ChatOpenAI) -> None:
    asyncio.run(asked.ainvoke(OTHER))


def _astream(asked: ChatOpenAI) -> None:
    async def ask() -> None:
        async for _ in asked.astream(OTHER):
            pass

    asyncio.run(ask())


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("ask", [_invoke, _stream, _batch, _ainvoke, _astream])
def test_a_lie_reaches_the_user_as_it_is_and_the_node_is_asked_once(ask: Any) -> None:
    service: Service = lying()
    transport = to(service, httpx2)
    asked = chat(
        BASE,
        http_client=httpx2.Client(transport=transport),
        http_async_client=httpx2.AsyncClient(transport=transport),
    )
    with pytest.raises(VerificationError) as raised:
        ask(asked)
    assert raised.value.step == 5
    assert questions(service) == 1
    assert [c.error for c in transport.contradictions] == [raised.value]


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("ask", [_stream, _astream])
@pytest.mark.parametrize("error", ["null", "{}"])
def test_an_error_that_is_none_does_not_end_a_stream(error: str, ask: Any) -> None:
    transport = to(
        Service(rewrite=lambda d: [*d[:2], b'data: {"error": %s}\n\n' % error.encode(), d[-1]]), httpx2
    )
    asked = chat(
        BASE,
        http_client=httpx2.Client(transport=transport),
        http_async_client=httpx2.AsyncClient(transport=transport),
    )
    with pytest.raises(VerificationError):
        ask(asked)
    assert len(transport.contradictions) == 1
