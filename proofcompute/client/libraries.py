"""Speak to httpx and httpx2 by the same names.

Both libraries have the same classes, but each accepts only its own: a response must be one of the library
whose client sent the request, and its stream must be of that library's type. The library follows from the
request, so nothing here imports either.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import ModuleType
from typing import Any, Protocol

from proofcompute.errors import InputError, UnsupportedError

__all__ = ["Source", "bounded", "fetching", "library_of", "load", "no_cookies", "outgoing", "response"]

NAMES = ("httpx", "httpx2")


class Source(Protocol):
    """The body of a response, as its client reads it: in one of the two ways."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in a synchronous client."""
        ...

    def async_pieces(self) -> AsyncIterator[bytes]:
        """Yield the body in an asynchronous client."""
        ...

    def shut(self) -> None:
        """Release the connection of a synchronous client."""
        ...

    async def async_shut(self) -> None:
        """Release the connection of an asynchronous client."""
        ...


def load() -> ModuleType:
    """Import the library for requests of our own. Raises UnsupportedError if neither is installed."""
    try:
        import httpx2 as library
    except ModuleNotFoundError:
        try:
            import httpx as library  # type: ignore[no-redef]
        except ModuleNotFoundError:
            raise UnsupportedError(
                "asking a node takes httpx2 or httpx: pip install 'proofcompute[client]'"
            ) from None
    return library


def no_cookies() -> CookieJar:
    """Return the cookies of a client that takes none: a node sets nothing that later requests would carry."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def library_of(request: Any) -> ModuleType:
    """Return the library of a request. Raises InputError if it is neither httpx nor httpx2."""
    name = type(request).__module__.partition(".")[0]
    if name not in NAMES:
        raise InputError(f"a request of {name} where one of {' or '.join(NAMES)} is needed")
    return sys.modules[name]


def outgoing(request: Any, body: bytes, headers: Mapping[str, str]) -> Any:
    """Return a copy of a request with some headers replaced; the caller's own request stays as it is."""
    made = request.headers.copy()
    for name, value in headers.items():
        made[name] = value
    return library_of(request).Request(
        request.method, request.url, headers=made, content=body, extensions=dict(request.extensions)
    )


def fetching(request: Any, url: str) -> Any:
    """Return a GET of ``url`` with the credentials and time-outs of a request."""
    library = library_of(request)
    made = library.Headers({"accept-encoding": "identity"})
    for name in ("authorization", "user-agent"):
        if name in request.headers:
            made[name] = request.headers[name]
    return library.Request("GET", url, headers=made, extensions=dict(request.extensions))


def response(library: ModuleType, original: Any, source: Source, **headers: str) -> Any:
    """Return a response with the status of ``original`` whose body comes from ``source``.

    ``headers`` describe the new body, with ``_`` for ``-``; what ``original`` says of its own is left out.
    """
    described = {name.replace("_", "-"): value for name, value in headers.items()}
    left_out = {"content-encoding", "content-length", "transfer-encoding", *described}
    kept = [(k, v) for k, v in original.headers.multi_items() if k.lower() not in left_out]
    return _made(library, original, [*kept, *described.items()], source)


def bounded(library: ModuleType, original: Any, source: Source) -> Any:
    """Return a response with the status and headers of ``original`` whose body comes from ``source``."""
    return _made(library, original, original.headers.multi_items(), source)


def _made(library: ModuleType, original: Any, headers: list[tuple[str, str]], source: Source) -> Any:
    stream = _stream_type(library)(source)
    return library.Response(
        original.status_code, headers=headers, stream=stream, extensions=original.extensions
    )


@cache
def _stream_type(library: ModuleType) -> Any:
    """Return the class of streams that a library's clients accept, both synchronous and asynchronous."""

    def __init__(self: Any, source: Source) -> None:
        self.source, self.iterator = source, None

    # Clients may stop reading and later read the rest, so there is one iterator for each stream.
    def __iter__(self: Any) -> Iterator[bytes]:
        self.iterator = self.iterator or self.source.pieces()
        found: Iterator[bytes] = self.iterator
        return found

    def __aiter__(self: Any) -> AsyncIterator[bytes]:
        self.iterator = self.iterator or self.source.async_pieces()
        found: AsyncIterator[bytes] = self.iterator
        return found

    def close(self: Any) -> None:
        self.source.shut()

    async def aclose(self: Any) -> None:
        await self.source.async_shut()

    members = (__init__, __iter__, __aiter__, close, aclose)
    bases = (library.SyncByteStream, library.AsyncByteStream)
    return type("CheckedStream", bases, {f.__name__: f for f in members})
