"""Run work on the machines of a Ray cluster, in place of processes on one machine.

Each worker is an actor with as many processors as its place has cores, or one, or with as many GPUs as its
device names, and actors are spread over the machines. Ray itself retries nothing here: what is lost with a
machine is handed out again by :func:`proofcompute.scaling.executor.handed_out`, as it is for processes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from proofcompute.errors import InputError
from proofcompute.errors.extras import lacking
from proofcompute.scaling.executor import TRIES, Actor, Make, Result, WorkerLost, _Of, handed_out
from proofcompute.scaling.places import Place

try:
    import ray
    from ray.exceptions import (
        GetTimeoutError,
        LocalRayletDiedError,
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        RayActorError,
        RayTaskError,
        WorkerCrashedError,
    )
except ModuleNotFoundError as e:
    raise lacking(e, "a cluster of machines") from e

__all__ = ["RayExecutor", "connected"]

_LOST: Final = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    LocalRayletDiedError,
    OutOfMemoryError,
    ObjectLostError,
    GetTimeoutError,
)
"""How Ray says that an actor, its process or its machine is gone, or was ended where memory is short."""

_SECONDS: Final = 10.0
"""Seconds in which a cluster takes a connection."""

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Actor:
    """What runs on a machine of the cluster."""

    def __init__(self, make: Make[Any, Any], place: str) -> None:
        self._actor = Actor(make, Place.parse(place).count)

    def work(self, item: Any) -> Any:
        """Work on one item."""
        return self._actor(item)


@final
class _Remote:
    """A worker that is an actor of Ray."""

    def __init__(self, make: Make[Any, Any], place: str, options: Mapping[str, Any]) -> None:
        self._actor = ray.remote(_Actor).options(**options).remote(make, place)

    def submit(self, item: Any) -> Any:
        try:
            return self._actor.work.remote(item)
        except _LOST as e:
            raise WorkerLost(str(e)) from e

    def stop(self) -> None:
        ray.kill(self._actor)


@dataclass(frozen=True)
class _Actors:
    """Workers that are actors of Ray."""

    make: Make[Any, Any]
    options: Callable[[str], Mapping[str, Any]]

    def start(self, place: str) -> _Remote:
        return _Remote(self.make, place, self.options(place))

    def wait(self, handles: Sequence[Any]) -> Iterable[Any]:
        done, _ = ray.wait(list(handles), num_returns=1)
        return list(done)

    def result(self, handle: Any) -> Any:
        try:
            return ray.get(handle)
        except _LOST as e:
            raise WorkerLost(str(e)) from e
        except RayTaskError as e:
            raise e.cause if isinstance(e.cause, Exception) else e from e


def _spread(place: str) -> Mapping[str, Any]:
    return {"num_cpus": 1, "max_restarts": 0, "scheduling_strategy": "SPREAD"}


def _pinned(device: str) -> Mapping[str, Any]:
    place = Place.parse(device)
    takes = {"num_gpus": place.gpus, "num_cpus": len(place.cores) or (0 if place.gpus else 1)}
    return {**takes, "max_restarts": 0, "scheduling_strategy": "SPREAD"}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to a cluster for as long as the block lasts.

    Raises InputError if nothing that is a cluster answers there.
    """
    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _SECONDS).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, OverflowError, ValueError, RuntimeError) as e:
        raise InputError(f"no Ray cluster answers at {address}: {e}") from e
    try:
        yield
    finally:
        ray.shutdown()


@final
class RayExecutor:
    """The machines of the cluster that this process is connected to (``ray.init``).

    A device ``cuda`` is a GPU of its own: Ray shows each actor only the one that it gives it, so ``cuda:1``
    is no other GPU than ``cuda``, and ``cuda:0,1`` are any two. The cores of ``cpu@0-3`` are any four.

    Raises InputError unless there is at least one worker and the process is connected.
    """

    def __init__(self, count: int, *, tries: int = TRIES) -> None:
        if count < 1:
            raise InputError(f"{count} workers do nothing")
        if not ray.is_initialized():
            raise InputError("connect to a cluster first: ray.init(...)")
        self.count, self.tries = count, tries

    def run(self, work: Callable[[_T], _R], items: Mapping[str, _T]) -> Iterator[Result[_R]]:
        """See :class:`proofcompute.scaling.executor.Executor`."""
        places = [str(number) for number in range(min(self.count, max(1, len(items))))]
        return handed_out(_Actors(_Of(work), _spread), places, items, self.tries)

    def run_on(
        self, devices: Sequence[str], make: Make[_T, _R], items: Mapping[str, _T]
    ) -> Iterator[Result[_R]]:
        """See :class:`proofcompute.scaling.executor.Executor`."""
        for device in devices:
            Place.parse(device)  # before an actor is started
        return handed_out(_Actors(make, _pinned), devices, items, self.tries)
