"""Provides a device without memory that lists the backend's launches, for models of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.cuda import Argument, Buffer, Device
from proofcompute.arrays import Array

__all__ = ["CountingDevice", "Launched", "Mark"]


@dataclass(frozen=True, eq=False)
class Launched:
    """One launch."""

    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[Argument, ...]
    stream: int
    threads: int = 256
    """Threads of a block."""


@dataclass(frozen=True, eq=False)
class Mark:
    """An event that is recorded on a stream, or for which a stream waits."""

    event: int
    stream: int
    waits: bool


class _Nowhere:
    """The owner of memory that does not exist."""


class CountingDevice:
    """A :class:`proofcompute.arithmetic.backends.cuda.Device`; what it downloads is zeros."""

    def __init__(self, capability: int = 90, blocks: int = 1 << 20) -> None:
        self.name = "counting"
        self.capability = capability
        self.blocks = blocks
        self.library = False
        self.no_library = "nothing is computed"
        self.allocated = 0
        self.launches: list[Launched] = []
        self.timeline: list[Launched | Mark] = []
        """Launches and events, in the order in which they were queued."""
        self._streams = 1
        self._events = 0
        self._making: list[Launched] | None = None

    # -- memory --------------------------------------------------------------------------------------
    def allocate(self, size: int, stream: int = 0) -> Buffer:
        self.allocated += size
        return Buffer(_Nowhere(), 0, size, stream)

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        return self.allocate(size, stream)

    def clear(self, buffer: Buffer, stream: int = 0) -> None:
        self._queue(Launched("clear", (1, 1, 1), (buffer,), stream))

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        return self.allocate(host.nbytes, stream)

    def write(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        """Do nothing."""

    def copy(self, source: Buffer, target: Buffer, stream: int = 0) -> None:
        self._queue(Launched("copy", (1, 1, 1), (source, target), stream))

    def receive(self, source: Buffer, origin: Device, target: Buffer) -> None:
        raise NotImplementedError

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        host.reshape(-1).view(np.uint8)[:] = 0

    # -- work ----------------------------------------------------------------------------------------
    def _queue(self, launched: Launched) -> None:
        if self._making is not None:
            self._making.append(launched)
            return
        self.launches.append(launched)
        self.timeline.append(launched)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        stream: int = 0,
    ) -> None:
        self._queue(Launched(kernel, grid, tuple(arguments), stream, threads))

    def gemm(
        self,
        q: Buffer,
        ldq: int,
        w: Buffer,
        ldw: int,
        shape: tuple[int, int, int],
        acc: Buffer,
        stream: int = 0,
    ) -> None:
        raise NotImplementedError

    def timed(self, work: Callable[[], object]) -> float:
        raise NotImplementedError

    def stream(self) -> int:
        self._streams += 1
        return self._streams - 1

    def record(self, stream: int) -> Any:
        self._events += 1
        self.timeline.append(Mark(self._events, stream, waits=False))
        return self._events

    def done(self, event: Any) -> bool:
        return True

    def wait(self, stream: int, event: Any) -> None:
        self.timeline.append(Mark(event, stream, waits=True))

    def begin(self) -> None:
        self._making = []

    def end(self) -> Any:
        made, self._making = self._making, None
        return made

    def abandon(self) -> None:
        self._making = None

    def replay(self, graph: Any) -> None:
        self.launches += graph
        self.timeline += graph

    def export(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        raise NotImplementedError

    def adopt(self, x: Any, stream: int = 0) -> tuple[Buffer, np.dtype[Any], tuple[int, ...]]:
        raise NotImplementedError
