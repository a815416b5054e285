"""Keep the newest traces, up to a number of bytes, and compute a missing one only once at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import final

from proofcompute.prover.stored import StoredTrace

__all__ = ["Traces"]


@final
class Traces:
    """Traces by the digest of their receipt, for any number of threads."""

    def __init__(self, most: int) -> None:
        """Keep at most ``most`` bytes of traces besides the newest one; 0: none at all."""
        self.most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[bytes, StoredTrace] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._nbytes = 0
        self._running: dict[bytes, Future[StoredTrace]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all traces that are kept."""
        return self._nbytes

    @property
    def digests(self) -> list[bytes]:
        """Digests of the receipts whose traces are kept; the one used last comes last."""
        with self._guard:
            return list(self._kept)

    def get(self, digest: bytes) -> StoredTrace | None:
        """Return a trace if it is kept; it then counts as the newest."""
        with self._guard:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
            return found

    def keep(self, digest: bytes, trace: StoredTrace) -> None:
        """Keep a trace as the newest, and drop those that were used longest ago beyond :attr:`most` bytes."""
        if not self.most:
            return
        size = trace.nbytes
        with self._guard:
            self._nbytes += size - self._sizes.get(digest, 0)
            self._kept[digest], self._sizes[digest] = trace, size
            self._kept.move_to_end(digest)
            while self._nbytes - self._sizes[digest] > self.most:
                oldest, _ = self._kept.popitem(last=False)
                self._nbytes -= self._sizes.pop(oldest)

    def made(self, digest: bytes, make: Callable[[], StoredTrace]) -> StoredTrace:
        """Return a trace that is kept, or make it; threads that want the same one wait for the first.

        Each of them raises the error of ``make``, if it has one. If the first is interrupted, the next one
        makes the trace.
        """
        while True:
            with self._guard:
                found = self._kept.get(digest)
                if found is not None:
                    self._kept.move_to_end(digest)
                    return found
                running = self._running.get(digest)
                if mine := running is None:
                    running = self._running[digest] = Future()
            if mine:
                return self._make(digest, make, running)
            with suppress(CancelledError):
                return running.result()

    def _make(
        self, digest: bytes, make: Callable[[], StoredTrace], running: Future[StoredTrace]
    ) -> StoredTrace:
        try:
            trace = make()
            self.keep(digest, trace)
            running.set_result(trace)
        except Exception as e:
            running.set_exception(e)
            raise
        finally:
            with self._guard:
                del self._running[digest]
            running.cancel()  # does nothing unless this thread was interrupted
        return trace
