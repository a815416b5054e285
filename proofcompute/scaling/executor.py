"""Run work on workers that may die: the protocol, what hands work out, and workers that are processes.

Work comes in two forms. ``run`` calls a function for each item. ``run_on`` first makes an actor on each
device, such as a model with its weights placed there, and then lets the actors take items as they get free.
Functions and classes are named by their module, so they are importable ones, and items and results are copied
between processes.

A worker that dies is replaced, and what it was doing is done again by the next one that is free. An item
whose worker died ``tries`` times is given up: it may be what kills them.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, final

from proofcompute.errors import InputError, ProofcomputeError
from proofcompute.scaling.places import Place

__all__ = [
    "Actor",
    "Executor",
    "Failed",
    "Make",
    "Processes",
    "Result",
    "Worker",
    "WorkerLost",
    "Workers",
    "handed_out",
]

TRIES: Final = 3
"""How often an item is tried whose workers die."""

_T = TypeVar("_T")
_R = TypeVar("_R")
_T_contra = TypeVar("_T_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)

Make = Callable[[str], Callable[[_T], _R]]
"""Makes an actor on a device."""


class WorkerLost(ProofcomputeError):
    """A worker died, or its machine left, while it had an item."""


@dataclass(frozen=True)
class Failed:
    """What is left of an item whose work raised an error, or whose workers died too often."""

    error: Exception


Result = tuple[str, _R | Failed]
"""The name of an item, and what came of it."""


class Executor(Protocol):
    """Runs work; :class:`Processes` and :class:`proofcompute.scaling.cluster.RayExecutor` do."""

    def run(self, work: Callable[[_T], _R], items: Mapping[str, _T]) -> Iterator[Result[_R]]:
        """Yield the name of each item once, with the result of ``work`` for it, as they are done."""
        ...

    def run_on(
        self, devices: Sequence[str], make: Make[_T, _R], items: Mapping[str, _T]
    ) -> Iterator[Result[_R]]:
        """Do the same with one actor for each device, which ``make`` makes of the device's name.

        A device may have cores of its own (``cpu@0-3``, :class:`proofcompute.scaling.places.Place`). Raises
        InputError if one is not written so.
        """
        ...


class Worker(Protocol[_T_contra]):
    """One place where an item at a time is worked on."""

    def submit(self, item: _T_contra) -> Any:
        """Begin an item and return a handle, which is hashable. Raises WorkerLost if the worker is dead."""
        ...

    def stop(self) -> None:
        """End the worker."""
        ...


class Workers(Protocol[_T_contra, _R_co]):
    """Where workers come from, and how their work is waited for."""

    def start(self, place: str) -> Worker[_T_contra]:
        """Start a worker for a device, or for nothing in particular."""
        ...

    def wait(self, handles: Sequence[Any]) -> Iterable[Any]:
        """Wait until at least one piece of work has ended, and return the handles of those that have."""
        ...

    def result(self, handle: Any) -> _R_co:
        """Return the result of work that has ended.

        Raises WorkerLost if its worker died, and otherwise what the work raised.
        """
        ...


def handed_out(
    workers: Workers[_T, _R], places: Sequence[str], items: Mapping[str, _T], tries: int = TRIES
) -> Iterator[Result[_R]]:
    """Yield each item's name and result once, as workers at ``places`` get done with them."""
    if not places or tries < 1:
        raise InputError(f"{len(places)} workers and {tries} tries are none")
    left: deque[tuple[str, int]] = deque((name, 0) for name in items)
    idle: deque[str | tuple[str, Worker[_T]]] = deque(places)
    busy: dict[Any, tuple[str, int, str, Worker[_T]]] = {}
    try:
        while left or busy:
            while left and idle:
                name, tried = left.popleft()
                free = idle.popleft()
                place, worker = (free, workers.start(free)) if isinstance(free, str) else free
                try:
                    handle = worker.submit(items[name])
                except WorkerLost:  # it died while it was idle
                    worker.stop()
                    idle.append(place)
                    left.appendleft((name, tried))
                    continue
                busy[handle] = name, tried, place, worker
            for handle in workers.wait(list(busy)):
                name, tried, place, worker = busy.pop(handle)
                try:
                    found: _R | Failed = workers.result(handle)
                except WorkerLost as e:
                    worker.stop()
                    idle.append(place)
                    if tried + 1 < tries:
                        left.append((name, tried + 1))
                        continue
                    yield name, Failed(e)
                    continue
                except Exception as e:  # noqa: BLE001 - whatever the work raises is the item's result
                    found = Failed(e)
                if left:
                    idle.append((place, worker))
                else:  # a worker that cannot start yet may wait for its place
                    worker.stop()
                    idle.append(place)
                yield name, found
    finally:
        for _, _, _, worker in busy.values():
            worker.stop()
        for one in idle:
            if not isinstance(one, str):
                one[1].stop()


@final
class Actor:
    """An actor that is made where it works; what prevents that is what each of its items gets."""

    def __init__(self, make: Make[Any, Any], device: Callable[[], str]) -> None:
        """Make it on the device that ``device`` returns."""
        self._actor: Callable[[Any], Any] | None = None
        self._failure: Exception | None = None
        try:
            self._actor = make(device())
        except Exception as e:  # noqa: BLE001 - whoever brings an item gets it
            self._failure = e

    def __call__(self, item: Any) -> Any:
        """Work on one item. Raises what the work raises, or what making the actor raised."""
        if self._actor is None:
            raise self._failure or WorkerLost("the worker has no actor")
        return self._actor(item)


# -- processes -----------------------------------------------------------------------------------------------
_actor: Actor | None = None
"""What the worker process calls for each item."""


def _begin(make: Make[Any, Any], place: str) -> None:
    global _actor
    _actor = Actor(make, Place.parse(place).pin)


def _work(item: Any) -> Any:
    if _actor is None:
        raise InputError("this process is no worker")
    return _actor(item)


@dataclass(frozen=True)
class _Of(Generic[_T, _R]):
    """Makes a function of items an actor that needs no device."""

    work: Callable[[_T], _R]

    def __call__(self, place: str) -> Callable[[_T], _R]:
        """Return the function."""
        return self.work


@final
class _Process:
    """A worker that is a process."""

    def __init__(self, make: Make[Any, Any], place: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(make, place))

    def submit(self, item: Any) -> Future[Any]:
        try:
            return self._pool.submit(_work, item)
        except BrokenProcessPool as e:
            raise WorkerLost(str(e)) from e

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Pools:
    """Workers that are processes."""

    make: Make[Any, Any]

    def start(self, place: str) -> _Process:
        return _Process(self.make, place)

    def wait(self, handles: Sequence[Future[Any]]) -> Iterable[Future[Any]]:
        return wait(handles, return_when=FIRST_COMPLETED).done

    def result(self, handle: Future[Any]) -> Any:
        try:
            return handle.result()
        except BrokenProcessPool as e:
            raise WorkerLost(str(e)) from e


@final
class Processes:
    """Processes on this machine. Each works on one item at a time.

    Raises InputError unless there is at least one.
    """

    def __init__(self, count: int, *, tries: int = TRIES) -> None:
        if count < 1:
            raise InputError(f"{count} processes do nothing")
        self.count, self.tries = count, tries

    def run(self, work: Callable[[_T], _R], items: Mapping[str, _T]) -> Iterator[Result[_R]]:
        """See :class:`Executor`."""
        places = [str(number) for number in range(min(self.count, max(1, len(items))))]
        return handed_out(_Pools(_Of(work)), places, items, self.tries)

    def run_on(
        self, devices: Sequence[str], make: Make[_T, _R], items: Mapping[str, _T]
    ) -> Iterator[Result[_R]]:
        """See :class:`Executor`."""
        for device in devices:
            Place.parse(device)  # before a process is started
        return handed_out(_Pools(make), devices, items, self.tries)
