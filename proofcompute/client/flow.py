"""Run one procedure in a synchronous and in an asynchronous client.

A procedure is a generator that yields what is to be done and gets the result back, so that its text does not
depend on how its client waits. httpx's own authentication flows are built in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from proofcompute.client.libraries import library_of
from proofcompute.errors import VerificationError

__all__ = ["Body", "Call", "Clock", "Flow", "Read", "Send", "run", "run_async"]


@dataclass(frozen=True)
class Body:
    """Read the body of the caller's request; the result is its bytes."""

    request: Any


@dataclass(frozen=True)
class Send:
    """Send a request; the result is the response, whose body has not been read."""

    request: Any
    meanwhile: Callable[[], object] | None = None
    """Is called while the request is on its way, or before by a synchronous client, and has ended when the
    result is there. If it raises an error, that is the error of the request, whose response is dropped."""


@dataclass(frozen=True)
class Read:
    """Read the body of a response and close it, also after an error; the result is its bytes as they came."""

    response: Any
    request: Any
    limit: int
    """The most bytes; a longer body is a contradiction."""
    seconds: float
    """The time after which the library's ReadTimeout is raised."""


@dataclass(frozen=True)
class Call:
    """Call a function that may take some milliseconds; the result is what it returns."""

    function: Callable[[], Any]


Flow = Generator[Body | Send | Read | Call, Any, Any]


class Clock:
    """Measures the time since an event. Raises the library's ReadTimeout when a limit has passed."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._start = self._event = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._start

    def event(self) -> None:
        """Note that something came that counts as progress."""
        self._event = time.monotonic()

    def require(self, *, idle: float, total: float) -> None:
        """Raise ReadTimeout if ``idle`` seconds passed without progress, or ``total`` seconds in all."""
        now = time.monotonic()
        if now - self._event > idle or now - self._start > total:
            raise library_of(self._request).ReadTimeout(
                "the node sends its answer too slowly", request=self._request
            )


def run(flow: Flow, inner: Any) -> Any:
    """Run a procedure over a synchronous transport and return its result.

    A response that was sent for and not returned is closed, however the procedure ends.
    """
    response: Any = None
    found: Any = None
    try:
        step = next(flow)
        while True:
            try:
                match step:
                    case Body(request):
                        found = request.read()
                    case Send(request, meanwhile):
                        if meanwhile is not None:
                            meanwhile()
                        found = response = inner.handle_request(request)
                    case Read(response, request, limit, seconds):
                        gathered = _Gathered(request, limit, seconds)
                        try:  # the procedure may go on with other requests after an error
                            for piece in response.stream:
                                gathered.add(piece)
                        finally:
                            response.close()
                        found = bytes(gathered.data)
                    case Call(function):
                        found = function()
            except Exception as e:  # noqa: BLE001 - the procedure decides what an error means
                step = flow.throw(e)
            else:
                step = flow.send(found)
    except StopIteration as end:
        return end.value
    except BaseException:
        if response is not None:
            response.close()
        raise


async def run_async(flow: Flow, inner: Any) -> Any:
    """Run a procedure over an asynchronous transport, as :func:`run` does over a synchronous one."""
    response: Any = None
    found: Any = None
    try:
        step = next(flow)
        while True:
            try:
                match step:
                    case Body(request):
                        found = await request.aread()
                    case Send(request, meanwhile) if meanwhile is not None:
                        found = response = await _sent(inner, request, meanwhile)
                    case Send(request):
                        found = response = await inner.handle_async_request(request)
                    case Read(response, request, limit, seconds):
                        gathered = _Gathered(request, limit, seconds)
                        try:
                            async for piece in response.stream:
                                gathered.add(piece)
                        finally:
                            await response.aclose()
                        found = bytes(gathered.data)
                    case Call(function):
                        from anyio.to_thread import run_sync

                        found = await run_sync(function)
            except Exception as e:  # noqa: BLE001 - the procedure decides what an error means
                step = flow.throw(e)
            else:
                step = flow.send(found)
    except StopIteration as end:
        return end.value
    except BaseException:
        if response is not None:
            await response.aclose()
        raise


async def _sent(inner: Any, request: Any, meanwhile: Callable[[], object]) -> Any:
    """Send a request while a thread calls a function, and return the response when both are done."""
    from anyio import create_task_group
    from anyio.to_thread import run_sync

    response: Any = None
    failure: Exception | None = None
    prevented: Exception | None = None

    async def call() -> None:
        nonlocal prevented
        try:
            await run_sync(meanwhile)
        except Exception as e:  # noqa: BLE001 - it is raised below, in the place of the group's own error
            prevented = e
            group.cancel_scope.cancel()

    try:
        async with create_task_group() as group:
            group.start_soon(call)
            try:
                response = await inner.handle_async_request(request)
            except Exception as e:  # noqa: BLE001 - as above
                failure = e
        error = prevented or failure
        if error is not None:
            raise error
    except BaseException:
        if response is not None:
            await response.aclose()
        raise
    return response


class _Gathered:
    """A body as it arrives, within limits of size and time."""

    def __init__(self, request: Any, limit: int, seconds: float) -> None:
        self.data = bytearray()
        self._limit, self._seconds, self._clock = limit, seconds, Clock(request)

    def add(self, piece: bytes) -> None:
        self.data += piece
        if len(self.data) > self._limit:
            raise VerificationError(1, f"the body of a response has more than {self._limit} bytes")
        self._clock.require(idle=self._seconds, total=self._seconds)
