"""Send a gateway's questions to one node over connections that are kept, by aiohttp.

Each token of an answer passes here by itself, and how much a gateway slows its nodes' answers is how long the
processor takes for that. aiohttp reads responses by a parser that is compiled; httpx2's own transport reads
them by layers in Python, which took almost half of a gateway's time for a token (docs/adr/0081). What checks
the answers above sees a transport of httpx2 in either case.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext
from typing import Final, final

import httpx2

from proofcompute.errors.extras import lacking

try:
    import aiohttp
    from multidict import CIMultiDict
    from yarl import URL
except ModuleNotFoundError as e:
    raise lacking(e, "a gateway") from e

__all__ = ["Connections"]

_IDLE: Final = 5.0
"""Seconds for which a connection is kept that nothing uses."""
_BUFFER: Final = 64 << 10
"""Bytes of a response that wait for their reader before the node has to, twice as many at most."""
_HEAD: Final = 64 << 10
"""Most bytes of one header of a response, such as that of a receipt."""
_OWN: Final = ("accept", "accept-encoding", "content-type", "user-agent")
"""Headers that aiohttp would add; a question has those that its sender wrote."""


@final
class Connections(httpx2.AsyncBaseTransport):
    """The connections to one node, as a transport of httpx2's asynchronous client.

    Redirects are not followed, cookies not kept and codings not undone. Errors are httpx2's. A response that
    is closed before its end closes its connection. Time-outs do not see interim responses (1xx), of which a
    node could send any number, so the caller limits the whole time.

    Args:
        most: connections at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._session: aiohttp.ClientSession | None = None

    def _begin(self) -> aiohttp.ClientSession:
        """Make the session, which belongs to the event loop that runs."""
        connector = aiohttp.TCPConnector(
            limit=self._most,
            keepalive_timeout=_IDLE,
            ssl=_trusting(),
            resolver=aiohttp.ThreadedResolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OWN,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BUFFER,
            max_line_size=_HEAD,
            max_field_size=_HEAD,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and return its response, whose body has not been read."""
        if self._session is None:
            self._session = self._begin()
        waits = request.extensions.get("timeout", {})
        connect = waits.get("connect")
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=None if connect is None else connect + (waits.get("pool") or 0.0),
            sock_connect=connect,
            sock_read=waits.get("read"),
        )
        body = await request.aread()
        with _translated(request):
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=CIMultiDict(request.headers.multi_items()),
                data=body or None,
                allow_redirects=False,
                timeout=timeout,
            )
        return httpx2.Response(
            response.status, headers=list(response.raw_headers), stream=_Body(request, response)
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


@final
class _Body(httpx2.AsyncByteStream):
    """The body of a response, in the parts in which it comes."""

    def __init__(self, request: httpx2.Request, response: aiohttp.ClientResponse) -> None:
        self._request, self._response = request, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        with _translated(self._request):
            while piece := await content.readany():
                yield piece

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        self._response.close()


@cache
def _trusting() -> SSLContext:
    """The authorities that httpx2 trusts, as wherever else this package asks a node."""
    return httpx2.create_ssl_context(trust_env=False)


@contextmanager
def _translated(request: httpx2.Request) -> Iterator[None]:
    """Raise httpx2's errors in place of aiohttp's."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as e:
        raise httpx2.ConnectTimeout("no connection in time", request=request) from e
    except TimeoutError as e:
        raise httpx2.ReadTimeout("nothing came in time", request=request) from e
    except aiohttp.ClientConnectorError as e:
        raise httpx2.ConnectError(str(e), request=request) from e
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as e:
        said = str(e) or type(e).__name__
        raise httpx2.RemoteProtocolError(f"no whole HTTP response: {said}", request=request) from e
    except (aiohttp.ClientError, OSError) as e:
        raise httpx2.ReadError(str(e) or type(e).__name__, request=request) from e
