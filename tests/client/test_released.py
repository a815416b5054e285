"""Whatever a node sends, every response of it is closed as soon as its error is known."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from client.lies import CHAT, STREAMED, cheat
from client.standin import BASE, Service, model
from proofcompute.client import ProofTransport
from proofcompute.errors import VerificationError

LIBRARIES = (httpx, httpx2)


class Watched:
    """A transport that counts the responses that it gave and those that were not closed."""

    def __init__(self, service: Service, library: ModuleType) -> None:
        self._inner = service.transport(library)
        self._library = library
        self.given = self.open = 0

    def _counted(self, response: Any) -> Any:
        self.given += 1
        self.open += 1
        stream, watched = response.stream, self

        class Counted(self._library.SyncByteStream, self._library.AsyncByteStream):  # type: ignore[misc, name-defined]
            closed = False

            def __iter__(self) -> Any:
                return iter(stream)

            def __aiter__(self) -> Any:
                return stream.__aiter__()

            def close(self) -> None:
                watched.open -= not self.closed
                self.closed = True

            async def aclose(self) -> None:
                self.close()

        return self._library.Response(
            response.status_code, headers=response.headers.multi_items(), stream=Counted()
        )

    def handle_request(self, request: Any) -> Any:
        return self._counted(self._inner.handle_request(request))

    async def handle_async_request(self, request: Any) -> Any:
        return self._counted(await self._inner.handle_async_request(request))

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def watched(service: Service, library: ModuleType, **options: Any) -> tuple[Watched, ProofTransport]:
    inner = Watched(service, library)
    return inner, ProofTransport(BASE, model().model_id, inner=inner, **options)


def read(transport: ProofTransport, library: ModuleType, body: dict[str, Any]) -> None:
    """Read a response piece by piece, as a client does that leaves closing to the end of its own use."""
    client = library.Client(transport=transport)
    request = client.build_request("POST", BASE + "/chat/completions", json=body)
    for _ in client.send(request, stream=True).iter_raw():
        pass


async def read_async(transport: ProofTransport, library: ModuleType, body: dict[str, Any]) -> None:
    client = library.AsyncClient(transport=transport)
    request = client.build_request("POST", BASE + "/chat/completions", json=body)
    async for _ in (await client.send(request, stream=True)).aiter_raw():
        pass


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", list(STREAMED)[::4])
def test_a_stream_is_closed_by_its_contradiction(name: str, library: ModuleType) -> None:
    body = {**CHAT, "stream": True}
    inner, transport = watched(cheat(name)[0], library)
    with pytest.raises(VerificationError):
        read(transport, library, body)
    assert (inner.open, inner.given > 0) == (0, True)
    inner, transport = watched(cheat(name)[0], library)
    with pytest.raises(VerificationError):
        asyncio.run(read_async(transport, library, body))
    assert (inner.open, inner.given > 0) == (0, True)


class _Endless(Service):
    """A node whose card is longer than any."""

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if "/card/" in path:
            return 200, {}, [bytes(1000)] * 20
        return super().respond(method, path, headers, body)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_fetched_is_closed_where_a_contradiction_is_only_recorded(
    stream: bool, library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proofcompute.client.published.MAX_CARD", 10_000)
    body = {**CHAT, "stream": stream}
    inner, transport = watched(_Endless(), library, on_failure="record")
    read(transport, library, body)
    assert (inner.given, len(transport.contradictions)) == (2, 1)
    assert inner.open == 0
    inner, transport = watched(_Endless(), library, on_failure="record")
    asyncio.run(read_async(transport, library, body))
    assert (inner.given, len(transport.contradictions)) == (2, 1)
    assert inner.open == 0
