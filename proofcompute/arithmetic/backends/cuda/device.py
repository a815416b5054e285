"""Defines what the backend needs of a CUDA device: memory, copies, launches, streams, events and graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError

__all__ = ["Argument", "Buffer", "Device", "Window"]


@dataclass(frozen=True, eq=False)
class Buffer:
    """A range of bytes of one allocation on a device."""

    owner: Any
    """The device's own handle of the allocation, which lives as long as a buffer refers to it."""
    start: int
    """Offset into the allocation, in bytes."""
    size: int
    """Length in bytes."""
    stream: int = 0
    """The stream for which it was allocated: freed memory is reused by later work of that stream."""

    def part(self, start: int, size: int) -> Buffer:
        """Return bytes start..start+size of this range. Raises InputError if it has fewer."""
        if start < 0 or size < 0 or start + size > self.size:
            raise InputError(f"bytes {start}..{start + size} of a buffer of {self.size}")
        return Buffer(self.owner, self.start + start, size, self.stream)


@dataclass(frozen=True, eq=False)
class Window:
    """The part of a buffer that a launch touches where device memory says which rows: it gets ``base``."""

    base: Buffer
    row: Buffer
    """The first row's number, int64."""
    width: int
    """Bytes from a row to the next."""
    rows: int


Argument = Buffer | Window | np.generic | None
"""A kernel's argument: device memory, a NumPy scalar of exactly the parameter's type, or a null pointer."""


class Device(Protocol):
    """One device. Work on one stream runs in order; stream 0, the main one, always exists.

    Every method that names a stream only queues work, except ``download``, which waits for it. Between
    ``begin`` and ``end`` nothing runs: what is queued becomes a graph, and only memory, launches, copies,
    clearing and events are allowed.
    """

    name: str
    """The name, to be shown."""
    capability: int
    """Compute capability times 10: 75 for sm_75, 90 for sm_90."""
    blocks: int
    """Blocks of a grid-stride launch that fill the device."""
    library: bool
    """Whether the vendor's library computes products of int8 matrices."""
    no_library: str
    """Why it does not, and what to do; empty if it does."""

    def allocate(self, size: int, stream: int = 0) -> Buffer:
        """Allocate ``size`` >= 0 bytes with undefined contents, for work on a stream.

        Raises DeviceMemoryError if there is not enough. While a graph is being made, the graph keeps the
        memory.
        """
        ...

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        """Allocate ``size`` zero bytes."""
        ...

    def clear(self, buffer: Buffer, stream: int = 0) -> None:
        """Set bytes to zero."""
        ...

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        """Return a copy of a C-contiguous array's bytes."""
        ...

    def write(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        """Fill a buffer with a C-contiguous array's bytes, which have all been read when this returns."""
        ...

    def copy(self, source: Buffer, target: Buffer, stream: int = 0) -> None:
        """Copy bytes between buffers of equal size."""
        ...

    def receive(self, source: Buffer, origin: Device, target: Buffer) -> None:
        """Copy from another device, behind its main stream's work and before later work of this one's."""
        ...

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        """Fill a C-contiguous array of the buffer's size, after all work queued on the stream."""
        ...

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        stream: int = 0,
    ) -> None:
        """Run a kernel of ``cuda/`` with one-dimensional blocks. Raises DeviceError if it cannot run."""
        ...

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
        """Compute what ``product_dp4a`` computes with the vendor's library, if ``library`` is true.

        ``shape`` = (n, m, d); int8 rows q [n, d] and w [m, d], ldq and ldw bytes apart; acc int32 [n, m].
        m, d, ldq, ldw and addresses are multiples of 4. Raises DeviceError if the library does not take it.
        """
        ...

    def timed(self, work: Callable[[], object]) -> float:
        """Return the seconds that the main stream takes for what ``work`` queues on it; waits for it."""
        ...

    # -- order -----------------------------------------------------------------------------------------
    def stream(self) -> int:
        """Return a new stream."""
        ...

    def record(self, stream: int) -> Any:
        """Return an event that marks the current end of the stream's queue."""
        ...

    def done(self, event: Any) -> bool:
        """Return whether the work before the event has been done."""
        ...

    def wait(self, stream: int, event: Any) -> None:
        """Let everything queued on the stream from now on run after the event."""
        ...

    def begin(self) -> None:
        """Begin a graph of what is queued on the main stream."""
        ...

    def end(self) -> Any:
        """End and return the graph. Raises DeviceError if it cannot be made; no graph is begun afterwards."""
        ...

    def abandon(self) -> None:
        """Discard the graph that was begun, if there is one; raises nothing."""
        ...

    def replay(self, graph: Any) -> None:
        """Queue all work of a graph on the main stream."""
        ...

    # -- other libraries -------------------------------------------------------------------------------
    def export(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        """Return an array of the device's library on the same memory, which other libraries can take.

        Later work on that library's current stream waits for the main stream.
        """
        ...

    def adopt(self, x: Any, stream: int = 0) -> tuple[Buffer, np.dtype[Any], tuple[int, ...]]:
        """Return memory shared with an array of another library, or a copy if it is not C-contiguous.

        Later work on the stream waits for the work that computes it; the other library gets the memory back
        once nothing queued here uses it. Raises InputError if it is not on this device.
        """
        ...
