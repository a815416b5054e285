"""Keep a worker process beside a service, for work that should not hold up what the service answers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Any, Final, Generic, TypeVar, final

from proofcompute.scaling.executor import Actor, Make, WorkerLost
from proofcompute.scaling.places import Place

__all__ = ["Standing"]

_TRIES: Final = 3
"""How often an item is tried whose worker dies."""
_END: Final = 5.0
"""Seconds that a worker that was told to end has for it."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@final
class Standing(Generic[_T, _R]):
    """A process that stays, and works on one item at a time. Threads may share it; each waits for its turn.

    It is started with the first item, or by :meth:`start`, and again when it has died; the item that it had
    is then tried again. It ends with the process that made it, after the item that it has.

    Args:
        make: makes the actor, in the process.
        place: the device that the actor is made on, or a number.
        behind: how far its priority is below that of this process (``nice``), where systems have that.
    """

    def __init__(self, make: Make[_T, _R], place: str = "0", *, behind: int = 0) -> None:
        self._made = make, place, behind
        self._turn, self._lock = Lock(), Lock()
        self._worker: tuple[BaseProcess, Connection] | None = None
        self._stopped = False

    def start(self) -> None:
        """Start the process, and return at once."""
        self._started()

    def __call__(self, item: _T) -> _R:
        """Return what the actor makes of an item.

        Raises what the actor raises, or what making it raised, and WorkerLost if the process died each time
        or was stopped.
        """
        with self._turn:
            for _ in range(_TRIES):
                worker = self._started()
                try:
                    worker[1].send(item)
                    done, found = worker[1].recv()
                except (EOFError, OSError):
                    self._drop(worker)
                    continue
                if not done:
                    raise found
                made: _R = found
                return made
        raise WorkerLost(f"the worker died {_TRIES} times over one item")

    def _started(self) -> tuple[BaseProcess, Connection]:
        with self._lock:
            if self._stopped:
                raise WorkerLost("the worker was stopped")
            if self._worker is None:
                context = multiprocessing.get_context("spawn")
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, *self._made), daemon=True)
                process.start()
                theirs.close()  # so that the end of the process is the end of the line
                self._worker = process, ours
            return self._worker

    def _drop(self, worker: tuple[BaseProcess, Connection]) -> None:
        with self._lock:
            if self._worker is worker:
                self._worker = None
        process, line = worker
        line.close()
        process.join(_END)
        if process.is_alive():
            process.kill()
            process.join()

    def stop(self) -> None:
        """End the process; who has an item there gets WorkerLost."""
        with self._lock:
            self._stopped, worker = True, self._worker
        if worker is not None:
            worker[0].terminate()
            self._drop(worker)


def _work(line: Connection, make: Make[Any, Any], place: str, behind: int) -> None:
    """Make the actor, and hand it what comes until the line ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to children too
    if behind and hasattr(os, "nice"):
        os.nice(behind)
    actor = Actor(make, Place.parse(place).pin)
    while True:
        try:
            item = line.recv()
        except EOFError:
            return
        try:
            answer = True, actor(item)
        except Exception as e:  # noqa: BLE001 - whatever the work raises is the item's result
            answer = False, e
        line.send(answer)
