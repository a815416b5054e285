"""The connections to a node: what goes out, what comes back, and what a hostile node can do below HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from proofcompute.gateway.connections import Connections

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WAIT = 0.2
"""Seconds for which these tests wait for a node that says nothing."""
LONG = 60.0


class Node:
    """A node below HTTP: it reads a question and writes some bytes."""

    def __init__(self, *parts: bytes, closes: bool = False) -> None:
        self.parts, self.closes = parts, closes
        self.asked: list[bytes] = []
        self.connections = 0
        self.gone = 0
        """Connections whose other end has closed them."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                length = int(lengths[0].partition(b":")[2]) if lengths else 0
                self.asked.append(head + await reader.readexactly(length))
                for part in self.parts:
                    writer.write(part)
                    await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()


def talk(node: Node, use: Callable[[httpx2.AsyncClient, str], Awaitable[Any]], most: int = 4) -> Any:
    """Let a client use a node, and return what it found."""

    async def run() -> Any:
        server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/answer"
        timeout = httpx2.Timeout(LONG, read=LONG if node.parts else WAIT)
        connections = Connections(most)
        async with httpx2.AsyncClient(transport=connections, timeout=timeout, trust_env=False) as client:
            found = await use(client, url)
        server.close()
        return found

    return asyncio.run(run())


async def posted(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    return await client.post(url, content=b"{}", headers={"accept-encoding": "identity"})


def test_a_question_goes_out_as_it_is_and_a_connection_is_used_again() -> None:
    node = Node(OK + b"Content-Length: 2\r\nX-Two: a\r\nX-Two: b\r\n\r\nhi")

    async def twice(client: httpx2.AsyncClient, url: str) -> list[httpx2.Response]:
        return [await posted(client, url) for _ in range(2)]

    first, second = talk(node, twice)
    assert (first.status_code, first.content) == (200, b"hi") == (second.status_code, second.content)
    assert first.headers.get_list("x-two") == ["a", "b"]
    assert node.connections == 1
    head, _, body = node.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/answer HTTP/1.1\r\n")
    assert body == b"{}"
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert len(names) == len(set(names))
    assert b"accept-encoding: identity" in head.lower()


def test_parts_of_a_stream_come_as_they_are_sent() -> None:
    parts = [b"data: %d\n\n" % i for i in range(3)]
    node = Node(CHUNKED, *(b"%x\r\n%s\r\n" % (len(p), p) for p in parts), b"0\r\n\r\n")

    async def streamed(client: httpx2.AsyncClient, url: str) -> bytes:
        async with client.stream("POST", url, content=b"{}") as response:
            return b"".join([piece async for piece in response.aiter_raw()])

    assert talk(node, streamed) == b"".join(parts)


def test_codings_are_not_undone_redirects_not_followed_and_cookies_not_kept() -> None:
    data = gzip.compress(b"hello")
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\n"
    head += b"Content-Encoding: gzip\r\n"
    node = Node(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    async def raw(client: httpx2.AsyncClient, url: str) -> list[tuple[int, bytes]]:
        found = []
        for _ in range(2):
            client.cookies.clear()  # the client's own
            async with client.stream("POST", url, content=b"{}") as response:
                found.append((response.status_code, b"".join([part async for part in response.aiter_raw()])))
        return found

    assert talk(node, raw) == [(302, data)] * 2
    assert not any(b"cookie" in asked.lower() for asked in node.asked)


def test_a_response_that_is_left_closes_its_connection() -> None:
    node = Node(CHUNKED, b"2\r\nhi\r\n")

    async def left(client: httpx2.AsyncClient, url: str) -> None:
        async with client.stream("POST", url, content=b"{}") as response:
            assert await anext(aiter(response.aiter_raw())) == b"hi"
        while not node.gone:
            await asyncio.sleep(0.01)

    talk(node, left)
    assert node.gone == 1


@pytest.mark.parametrize(
    ("node", "error"),
    [
        (Node(b"", closes=True), httpx2.RemoteProtocolError),
        (Node(b"SSH-2.0-hello\r\n\r\n"), httpx2.RemoteProtocolError),
        (Node(OK + b"X: " + b"x" * (1 << 17) + b"\r\n\r\n"), httpx2.RemoteProtocolError),
        (Node(OK + b"Content-Length: 9\r\n\r\nshort", closes=True), httpx2.RemoteProtocolError),
        (Node(CHUNKED, b"zz\r\n"), (httpx2.RemoteProtocolError, httpx2.ReadError)),
        (Node(CHUNKED + b"5\r\nhi", closes=True), httpx2.RemoteProtocolError),
        (Node(), httpx2.ReadTimeout),
    ],
    ids=["nothing", "no HTTP", "a head too long", "too short", "no chunk", "a chunk broken off", "silence"],
)
def test_what_is_no_whole_response_is_an_error_of_the_library(node: Node, error: Any) -> None:
    with pytest.raises(error):
        talk(node, posted)


def test_a_node_that_does_not_listen_or_has_no_connection_left() -> None:
    async def elsewhere(client: httpx2.AsyncClient, url: str) -> None:
        await client.get("http://127.0.0.1:1/")

    with pytest.raises(httpx2.ConnectError):
        talk(Node(b"-"), elsewhere)

    async def full(client: httpx2.AsyncClient, url: str) -> None:
        async with client.stream("POST", url, content=b"{}"):
            short = httpx2.Timeout(connect=WAIT, read=LONG, write=LONG, pool=WAIT)
            await client.post(url, content=b"{}", timeout=short)

    with pytest.raises(httpx2.ConnectTimeout):
        talk(Node(CHUNKED), full, most=1)
