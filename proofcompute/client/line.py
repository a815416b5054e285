"""Carry the requests of an audit, within its budget and its patience."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from proofcompute.client import libraries
from proofcompute.client.budget import Meter

__all__ = ["Line"]

_WAITS = ("connect", "read", "write", "pool")
"""What httpx and httpx2 wait for."""


class Line:
    """A synchronous transport of httpx or httpx2 that counts the bytes of each response.

    Args:
        library: the module httpx or httpx2.
        meter: counts; it raises StoppedError where more is beyond the budget.
        patience: the most seconds from sending a request to the end of its response, after which the
            library's ReadTimeout is raised; None: whatever the request itself says.
        fresh: whether each request has a connection of its own. A node sees which requests share one.
        inner: what sends; None: the library's own transport.
    """

    def __init__(
        self,
        library: ModuleType,
        meter: Meter,
        *,
        patience: float | None = None,
        fresh: bool = False,
        inner: Any = None,
    ) -> None:
        self._library, self._meter, self._patience = library, meter, patience
        limits = library.Limits(max_keepalive_connections=0) if fresh else library.Limits()
        self._inner = library.HTTPTransport(limits=limits) if inner is None else inner

    def handle_request(self, request: Any) -> Any:
        """Send a request."""
        start = time.monotonic()
        if self._patience is not None:
            given = request.extensions.get("timeout", {})
            within = {k: min(given.get(k) or self._patience, self._patience) for k in _WAITS}
            request.extensions = {**request.extensions, "timeout": within}
        response = self._inner.handle_request(request)
        return libraries.bounded(self._library, response, _Counted(self, request, response, start))

    def arrived(self, request: Any, nbytes: int, start: float) -> None:
        """Count bytes of a response, and raise ReadTimeout if it takes too long."""
        self._meter.read(nbytes)
        if self._patience is not None and time.monotonic() - start > self._patience:
            raise self._library.ReadTimeout("the whole answer did not come in time", request=request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class _Counted:
    """The body of a response, as it is counted."""

    def __init__(self, line: Line, request: Any, response: Any, start: float) -> None:
        self._line, self._request, self._response, self._start = line, request, response, start

    def pieces(self) -> Iterator[bytes]:
        """Yield the body."""
        for piece in self._response.stream:
            self._line.arrived(self._request, len(piece), self._start)
            yield piece

    async def async_pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, which a synchronous transport reads."""
        for piece in self.pieces():
            yield piece

    def shut(self) -> None:
        """Release the connection."""
        self._response.close()

    async def async_shut(self) -> None:
        """Release the connection."""
        self.shut()
