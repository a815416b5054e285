"""Hand what a runner computes to those who wait for it, in event loops and in threads.

A ticket keeps the tokens that were computed, which its answer needs anyway, and each reader keeps how many of
them it has seen. So a slow reader finds more tokens at once the next time. It never holds up the runner, and
there is no queue that could grow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from threading import Condition
from typing import final

from proofcompute.engine import Session
from proofcompute.errors import StoppedError, bare
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Answer

__all__ = ["Bell", "Ticket"]

_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


@final
class Bell:
    """Event loops to wake after a step, each of them once, however many of its tickets changed."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}

    def add(self, waiters: Sequence[_Waiter]) -> None:
        """Note that the next :meth:`ring` wakes some waiters."""
        for loop, future in waiters:
            self._waiting.setdefault(loop, []).append(future)

    def ring(self) -> None:
        """Wake all waiters. An event loop that was closed has none left."""
        waiting, self._waiting = self._waiting, {}
        for loop, futures in waiting.items():
            with suppress(RuntimeError):  # what asyncio raises if the loop is closed
                loop.call_soon_threadsafe(_release, futures)


def _release(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


@final
class Ticket:
    """A request that a :class:`proofcompute.Runner` has taken.

    Iterating over a ticket, with ``for`` or ``async for``, yields the answer's tokens, in lists of those
    that came since the last ones, until the generation has ended. Afterwards :meth:`answer` (in an event
    loop) and :meth:`result` (in a thread) return the signed answer. Any number of readers may do so, at any
    time; each sees all tokens. In a ``with`` or ``async with`` statement, a ticket is cancelled when the
    block is left before the answer is there.
    """

    def __init__(self, request: Request, cancel: Callable[[Ticket], None]) -> None:
        self.request = request
        """The request as it was submitted."""
        self.submitted = time.monotonic()
        """When the request was submitted, in seconds of the monotonic clock."""
        self._cancel = cancel
        self._changed = Condition()
        self._waiters: list[_Waiter] = []
        self._tokens: list[int] = []
        self._ended = False
        self._reason: str | None = None
        self._cancelled = False
        self._session: Session | None = None
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    # -- for whoever waits -----------------------------------------------------------------------------
    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens computed so far."""
        with self._changed:
            return tuple(self._tokens)

    @property
    def stop_reason(self) -> str | None:
        """Why the generation ended, as receipts say it; None while it goes on, and if it failed.

        It is there together with the last tokens, before the answer.
        """
        with self._changed:
            return self._reason

    @property
    def done(self) -> bool:
        """Whether the answer is there, or an error in its place."""
        with self._changed:
            return self._settled

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called before the generation had ended."""
        with self._changed:
            return self._cancelled

    @property
    def error(self) -> BaseException | None:
        """The error in place of the answer, if there is one already."""
        with self._changed:
            return self._error

    def cancel(self) -> None:
        """Stop the computation after the step that runs now; does nothing if it has ended.

        What was computed until then gets an answer of its own if it has a token, and :meth:`answer` returns
        it: that to the same request with ``max_tokens`` reduced to the tokens of the answer. This request,
        :attr:`proofcompute.Answer.request`, has another digest than the one that was submitted, so the
        receipt cannot pass for one of the full answer. Without a token, :meth:`answer` raises StoppedError.
        """
        with self._changed:
            if self._ended or self._settled or self._cancelled:
                return
            self._cancelled = True
        self._cancel(self)

    def result(self, timeout: float | None = None) -> Answer:
        """Wait in a thread and return the answer.

        Raises TimeoutError after ``timeout`` seconds, and else the errors of :meth:`answer`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._settled, timeout):
                raise TimeoutError("the answer is not there yet")
            return self._found()

    async def answer(self) -> Answer:
        """Wait in an event loop and return the answer.

        Raises ExecutionError if the arithmetic has no result for this request, MismatchError if tokens known
        from before are not this request's, MemoryError if there was too little memory for it, StoppedError if
        it was given up, and DeviceError if the device failed.
        """
        while True:
            with self._changed:
                if self._settled:
                    return self._found()
                future = self._register()
            await self._wait(future)

    def __iter__(self) -> Iterator[list[int]]:
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda n=seen: self._news(n))  # type: ignore[misc]
                delta = self._tokens[seen:]
                if not delta and not self._more():
                    return
            seen += len(delta)
            yield delta

    async def __aiter__(self) -> AsyncIterator[list[int]]:
        seen = 0
        while True:
            with self._changed:
                delta = self._tokens[seen:]
                if not delta and not self._more():
                    return
                future = None if delta else self._register()
            if future is not None:
                await self._wait(future)
                continue
            seen += len(delta)
            yield delta

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    async def __aenter__(self) -> Ticket:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    # -- for the runner --------------------------------------------------------------------------------
    def push(self, tokens: Sequence[int], bell: Bell, reason: str | None) -> None:
        """Add tokens, the last ones if the generation ended for a ``reason``.

        Whoever waits in an event loop is noted in ``bell``.
        """
        with self._changed:
            self._tokens += tokens
            self._reason, self._ended = reason, reason is not None
            self._notify(bell)

    def settle(self, outcome: Answer | Session | BaseException, bell: Bell) -> bool:
        """Set the outcome, unless there is one already, and return whether this was the first."""
        with self._changed:
            if self._settled:
                return False
            self._ended = True
            if isinstance(outcome, Answer):
                self._answer = outcome
            elif isinstance(outcome, Session):
                self._session = outcome
            else:
                self._error = bare(outcome)
            self._notify(bell)
            return True

    def session(self) -> Session:
        """Wait in a thread for the finished session of a recomputation. Raises as :meth:`answer`."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled)
            if self._session is None:
                raise self._failure()
            return self._session

    # -- under the lock --------------------------------------------------------------------------------
    @property
    def _settled(self) -> bool:
        return self._answer is not None or self._session is not None or self._error is not None

    def _news(self, seen: int) -> bool:
        return self._ended or len(self._tokens) > seen

    def _more(self) -> bool:
        """Return whether tokens may follow. Raises the ticket's error, unless it was cancelled."""
        if self._error is not None and not (self._cancelled and isinstance(self._error, StoppedError)):
            raise self._failure()
        return not self._ended

    def _found(self) -> Answer:
        if self._answer is None:
            raise self._failure()
        return self._answer

    def _failure(self) -> BaseException:
        """Return the error to raise, without the traceback that an earlier reader gave it."""
        if self._error is None:
            return StoppedError("this was a computation without an answer")
        return self._error.with_traceback(None)

    def _register(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append((loop, future))
        return future

    async def _wait(self, future: asyncio.Future[None]) -> None:
        try:
            await future
        finally:
            with self._changed:
                self._waiters = [w for w in self._waiters if w[1] is not future]

    def _notify(self, bell: Bell) -> None:
        bell.add(self._waiters)
        self._waiters = []
        self._changed.notify_all()
