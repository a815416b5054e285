"""OpenAI's own client, unchanged, above the transport that checks receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import openai
import pytest

from client.lies import NO_ERRORS
from client.standin import BASE, NAME, Service, model, prompter
from client.unchanged import MESSAGES, SETTINGS, failing, lying, questions, through, to
from proofcompute.client import ProofTransport
from proofcompute.client.pins import Served
from proofcompute.errors import VerificationError
from serving.running import Running

ASK: dict[str, Any] = {"model": NAME, "messages": MESSAGES, **SETTINGS}
LIBRARIES = (httpx, httpx2)


def client(
    url: str, transport: ProofTransport, library: ModuleType = httpx2, **options: Any
) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=url, api_key="none", http_client=library.Client(transport=transport), **options
    )


def async_client(
    url: str, transport: ProofTransport, library: ModuleType = httpx2, **options: Any
) -> openai.AsyncOpenAI:
    made = library.AsyncClient(transport=transport)
    return openai.AsyncOpenAI(base_url=url, api_key="none", http_client=made, **options)


# -- a real service ----------------------------------------------------------------------------------------
Way = Callable[[openai.OpenAI], tuple[str, str | None]]
"""Asks, and returns text and finish reason."""


def _whole(asked: openai.OpenAI) -> tuple[str, str | None]:
    (choice,) = asked.chat.completions.create(**ASK).choices
    return choice.message.content or "", choice.finish_reason


def _joined(chunks: Iterator[Any]) -> tuple[str, str | None]:
    text, reason = "", None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, reason


def _stream(asked: openai.OpenAI) -> tuple[str, str | None]:
    return _joined(asked.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))


def _helper(asked: openai.OpenAI) -> tuple[str, str | None]:
    with asked.chat.completions.stream(**ASK) as events:
        return _joined(event.chunk for event in events if event.type == "chunk")


def _raw(asked: openai.OpenAI) -> tuple[str, str | None]:
    raw = asked.chat.completions.with_raw_response.create(**ASK)
    assert raw.http_response.status_code == 200
    (choice,) = raw.parse().choices
    return choice.message.content or "", choice.finish_reason


def _raw_stream(asked: openai.OpenAI) -> tuple[str, str | None]:
    return _joined(asked.chat.completions.with_raw_response.create(**ASK, stream=True).parse())


def _streamed_response(asked: openai.OpenAI) -> tuple[str, str | None]:
    with asked.chat.completions.with_streaming_response.create(**ASK) as response:
        (choice,) = response.parse().choices
    return choice.message.content or "", choice.finish_reason


WAYS: dict[str, Way] = {
    "whole": _whole,
    "stream": _stream,
    "helper for streams": _helper,
    "raw response": _raw,
    "raw response of a stream": _raw_stream,
    "streamed response": _streamed_response,
}


@pytest.fixture(scope="module")
def plain(node: Running) -> dict[str, tuple[str, str | None]]:
    """What the client gets without the transport, in each way."""
    with openai.OpenAI(base_url=f"{node.url}/v1", api_key="none") as asked:
        return {name: way(asked) for name, way in WAYS.items()}


@pytest.mark.parametrize("library", LIBRARIES)
def test_answers_are_those_of_the_plain_client_and_each_is_checked(
    library: ModuleType, node: Running, plain: dict[str, tuple[str, str | None]]
) -> None:
    transport = through(node)
    with client(f"{node.url}/v1", transport, library) as asked:
        assert asked.models.list().data[0].id == NAME
        found = {name: way(asked) for name, way in WAYS.items()}
    assert found == plain
    assert len(transport.checked) == len(WAYS)
    assert len(transport.contradictions) == 0
    assert len({c.request.nonce for c in transport.checked}) == len(WAYS)


def test_the_asynchronous_client_gets_the_same_answers(
    node: Running, plain: dict[str, tuple[str, str | None]]
) -> None:
    transport = through(node)

    async def ask() -> list[tuple[str, str | None]]:
        async with async_client(f"{node.url}/v1", transport) as asked:
            whole, raw, stream = await asyncio.gather(
                asked.chat.completions.create(**ASK),
                asked.chat.completions.with_raw_response.create(**ASK),
                asked.chat.completions.create(**ASK, stream=True),
            )
            chunks = [chunk async for chunk in stream]
            async with asked.chat.completions.with_streaming_response.create(**ASK) as response:
                last = await response.parse()
        choices = [found.choices[0] for found in (whole, raw.parse(), last)]
        return [(c.message.content or "", c.finish_reason) for c in choices] + [_joined(iter(chunks))]

    assert asyncio.run(ask()) == [plain["whole"]] * 4
    assert len(transport.checked) == 4


def test_several_choices_text_and_usage(node: Running) -> None:
    transport = through(node)
    with client(f"{node.url}/v1", transport) as asked:
        two = asked.chat.completions.create(**{**ASK, "temperature": 1.0, "seed": 7}, n=2)
        text = asked.completions.create(model=NAME, prompt="Once", **SETTINGS, stop=["zz"])
    assert [c.index for c in two.choices] == [0, 1]
    assert two.usage is not None
    assert two.usage.completion_tokens == sum(
        len(c.claim.receipt.outputs[0][1]) // 4 for c in transport.checked[:2]
    )
    assert text.choices[0].text
    assert [c.request.choice for c in transport.checked] == [0, 1, 0]


def test_the_service_s_own_errors_stay_those_of_the_client(node: Running) -> None:
    transport = through(node)
    with client(f"{node.url}/v1", transport, max_retries=0) as asked:
        with pytest.raises(openai.NotFoundError):
            asked.chat.completions.create(**{**ASK, "model": "another"})
        with pytest.raises(openai.APITimeoutError):
            asked.chat.completions.create(**{**ASK, "max_tokens": 400}, timeout=1e-3)
        assert _whole(asked)[0]
    assert len(transport.checked) == 1


# -- a node without a network ------------------------------------------------------------------------------
@pytest.fixture
def _one_prompter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "prompter", property(lambda served: prompter()))


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_lie_reaches_the_user_as_it_is_and_the_node_is_asked_once(way: Way, library: ModuleType) -> None:
    service = lying()
    transport = to(service, library)
    with client(BASE, transport, library) as asked, pytest.raises(VerificationError) as raised:
        way(asked)
    assert raised.value.step == 5
    assert questions(service) == 1
    assert [c.error for c in transport.contradictions] == [raised.value]
    assert len(transport.checked) == 0


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_lie_reaches_the_user_of_the_asynchronous_client(stream: bool, library: ModuleType) -> None:
    service = lying()

    async def ask() -> None:
        async with async_client(BASE, to(service, library), library) as asked:
            found: Any = await asked.chat.completions.create(**ASK, stream=stream)
            if stream:
                async for _ in found:
                    pass

    with pytest.raises(VerificationError, match="text of choice 0"):
        asyncio.run(ask())
    assert questions(service) == 1


@pytest.mark.usefixtures("_one_prompter")
def test_a_user_who_asks_a_lying_node_again_at_once_gets_the_first_contradiction() -> None:
    service = lying()
    with client(BASE, to(service, httpx2)) as asked:
        errors = []
        for _ in range(2):
            with pytest.raises(VerificationError) as raised:
                _whole(asked)
            errors.append(raised.value)
    assert errors[1] is not errors[0]  # raised twice, it would lose its context
    assert errors[1].__cause__ is errors[0]
    assert vars(errors[1]) == vars(errors[0])
    assert str(errors[1]) == str(errors[0])
    assert questions(service) == 1


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"retry-after-ms": "1"}), (503, {}), (500, {}), (408, {})]
)
def test_the_client_s_retries_of_a_refusal_are_checked_like_any_answer(
    status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_DELAY", 0.001)
    service = failing(2, status, **headers)
    transport = to(service, httpx2)
    with client(BASE, transport) as asked:
        text, _ = _whole(asked)
    assert text
    nonces = [head["proofcompute-nonce"] for method, _, head, _ in service.asked if method == "POST"]
    assert len(nonces) == len(set(nonces)) == 3  # each attempt is a question of its own
    (checked,) = transport.checked
    assert checked.request.nonce.hex() == nonces[-1]


@pytest.mark.usefixtures("_one_prompter")
def test_a_node_that_goes_on_refusing_is_no_contradiction() -> None:
    service = failing(9, 429, **{"retry-after-ms": "1"})
    transport = to(service, httpx2)
    with (
        client(BASE, transport, max_retries=1) as asked,
        pytest.raises(openai.RateLimitError, match="not now"),
    ):
        _whole(asked)
    assert questions(service) == 2
    assert len(transport.contradictions) == 0


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("library", LIBRARIES)
def test_silence_is_the_client_s_time_out(library: ModuleType) -> None:
    service = Service()

    def silent(request: Any) -> Any:
        if request.method == "GET":
            return honest(request)
        raise library.ReadTimeout("nothing came", request=request)

    honest = service.transport(library).handle_request
    transport = ProofTransport(BASE, model().card, inner=library.MockTransport(silent))
    with client(BASE, transport, library, max_retries=0) as asked, pytest.raises(openai.APITimeoutError):
        _whole(asked)
    assert len(transport.contradictions) == 0


@pytest.mark.usefixtures("_one_prompter")
@pytest.mark.parametrize("error", NO_ERRORS)
def test_an_error_that_is_none_does_not_end_a_stream(error: str) -> None:
    """The client takes these for no error, or for one that says nothing."""
    service = Service(rewrite=lambda d: [*d[:2], b'data: {"error": %s}\n\n' % error.encode(), d[-1]])
    transport = to(service, httpx2)
    with client(BASE, transport) as asked, pytest.raises(VerificationError) as raised:
        _stream(asked)
    assert (raised.value.step, len(transport.contradictions)) == (1, 1)


@pytest.mark.usefixtures("_one_prompter")
def test_an_error_that_ends_a_stream_is_the_client_s_own() -> None:
    said = b'data: {"error": {"message": "out of memory"}}\n\n'
    transport = to(Service(rewrite=lambda d: [*d[:2], said, d[-1]]), httpx2)
    with client(BASE, transport) as asked, pytest.raises(openai.APIError, match="out of memory"):
        _stream(asked)
    assert (len(transport.contradictions), len(transport.checked)) == (0, 0)
