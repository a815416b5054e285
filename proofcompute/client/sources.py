"""Pass the body of a response on to its client while it is checked.

The events of a stream are written anew from what was checked, so that a client and the check cannot read one
body in two ways, and what ends an answer is held back until its receipt has been checked. If contradictions
are only recorded, the bytes are passed on as they come. After an error the connection is released at once: a
client's library may leave that to the garbage collector.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from proofcompute.client.events import DONE, Events, written
from proofcompute.client.exchange import Exchange
from proofcompute.client.flow import Call, Clock, Flow, run, run_async
from proofcompute.client.limits import ANSWER_SECONDS, IDLE_SECONDS, TAIL_SECONDS
from proofcompute.errors import VerificationError

__all__ = ["Bounded", "Streamed", "Whole"]


class Whole:
    """A body that has been read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pieces(self) -> Iterator[bytes]:
        """Yield the body."""
        yield self._data

    async def async_pieces(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        yield self._data

    def shut(self) -> None:
        """Do nothing: the connection was released before."""

    async def async_shut(self) -> None:
        """Do nothing, as :meth:`shut`."""


class Bounded:
    """A body that needs no proof, up to a limit of bytes. Raises VerificationError (step 1) beyond it."""

    def __init__(self, response: Any, limit: int, clock: Clock) -> None:
        self._response, self._left, self._clock = response, limit, clock

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise VerificationError(1, "the body of a response is larger than its limit")
        self._clock.require(idle=ANSWER_SECONDS, total=ANSWER_SECONDS)
        return data

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in a synchronous client."""
        try:
            for data in self._response.stream:
                yield self._counted(data)
        except Exception:
            self.shut()
            raise

    async def async_pieces(self) -> AsyncIterator[bytes]:
        """Yield the body in an asynchronous client."""
        try:
            async for data in self._response.stream:
                yield self._counted(data)
        except Exception:
            await self.async_shut()
            raise

    def shut(self) -> None:
        """Release the connection of a synchronous client."""
        self._response.close()

    async def async_shut(self) -> None:
        """Release the connection of an asynchronous client."""
        await self._response.aclose()


class Streamed:
    """The events of an answer.

    Args:
        exchange: the question, which checks the events.
        response: the response, whose body was not read.
        inner: the transport that sent the request, over which the node's terms are fetched too.
        clock: started when the request was sent.
        terms: makes the procedure that fetches the node's terms again.
        failed: is called with the first contradiction, and with all that came until then.
        record: whether a contradiction is only recorded; otherwise it is raised.
    """

    def __init__(
        self,
        exchange: Exchange,
        response: Any,
        inner: Any,
        clock: Clock,
        terms: Callable[[], Flow],
        failed: Callable[[VerificationError, bytes], None],
        *,
        record: bool,
    ) -> None:
        self._exchange, self._response, self._inner, self._clock = exchange, response, inner, clock
        self._terms, self._failed, self._record = terms, failed, record
        self._events = Events(line=exchange.most_line, total=exchange.most_total)
        self._done = self._over = False
        self._came: list[bytes] = []

    def _take(self, data: bytes) -> Flow:
        """Return what the client gets for ``data``."""
        found: list[bytes] = []
        self._exchange.came(self._clock.seconds)
        if not self._over:
            self._came.append(data)
        try:
            for event in () if self._over else self._arrived(data):
                found += self._exchange.event(event)
                if self._exchange.held:
                    if self._exchange.lacks_terms:
                        yield from self._terms()
                    found += yield Call(self._exchange.release)
                    self._clock.event()  # a challenge may have taken its time
        except VerificationError as e:
            self._fail(e)
        return [data] if self._record else found

    def _arrived(self, data: bytes) -> Iterator[bytes]:
        """Yield the events that ``data`` completes, but not the end mark."""
        for event in self._events.feed(data):
            if self._done:
                raise VerificationError(1, "the stream of an answer goes on after its end mark")
            self._clock.event()
            if event == DONE:
                self._done = True
            else:
                yield event
        self._clock.require(idle=TAIL_SECONDS if self._done else IDLE_SECONDS, total=ANSWER_SECONDS)

    def _end(self) -> list[bytes]:
        """Check that the answer is complete, and return what is left for the client."""
        ends = False
        try:
            if not self._over:
                self._events.end()
                ends = self._exchange.end(done=self._done)
        except VerificationError as e:
            self._fail(e)
        return [written(DONE)] if ends and not self._record else []

    def _fail(self, error: VerificationError) -> None:
        self._over = True
        self._failed(error, b"".join(self._came))
        self._came = []
        if not self._record:
            raise error

    def pieces(self) -> Iterator[bytes]:
        """Yield the events in a synchronous client."""
        try:
            for data in self._response.stream:
                yield from run(self._take(data), self._inner)
            yield from self._end()
        except Exception:
            self.shut()
            raise

    async def async_pieces(self) -> AsyncIterator[bytes]:
        """Yield the events in an asynchronous client."""
        try:
            async for data in self._response.stream:
                for found in await run_async(self._take(data), self._inner):
                    yield found
            for found in self._end():
                yield found
        except Exception:
            await self.async_shut()
            raise

    def shut(self) -> None:
        """Release the connection of a synchronous client."""
        self._response.close()

    async def async_shut(self) -> None:
        """Release the connection of an asynchronous client."""
        await self._response.aclose()
