"""Emulates a device, with host memory and the rig's kernels, for tests of the backend.

Launches run at once, in the chosen order of threads. Streams, events and graphs are tracked all the same
(``order.py``): work raises if it touches memory which another stream wrote, or writes memory which another
stream read, without an event in between, since it would race on hardware. What is queued while a graph is
made runs only when the graph is replayed, with the same arguments.
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cuda_rig.build import build
from cuda_rig.order import Order, Uses
from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Device, Window
from proofcompute.arithmetic.backends.cuda.sources import generated
from proofcompute.arrays import Array
from proofcompute.errors import DeviceError, DeviceMemoryError, InputError

__all__ = ["ORDERS", "EmulatedDevice"]

ORDERS = (0, 1, 2, 3, 4)
"""Orders of threads: ascending, descending, three seeded shuffles."""

_ROOM = 128
_READ_ONLY = 128
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Work = tuple[str, int, Callable[[int], None]]


@cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.rig_launch.restype = ctypes.c_char_p
    return library


@cache
def _generated(kernel: str, text: str) -> Any:
    return _library(build(files=(kernel,), changed={f"{kernel}.cu": text}))


class _Memory:
    """An allocation: its bytes, and the work that has touched them."""

    def __init__(self, size: int) -> None:
        self.bytes: Bytes = np.empty(size // 16 + 1, dtype=np.complex128).view(np.uint8)  # aligned to 16
        self.bytes[:] = 0xA5  # so that memory that was never written is not zero
        self.uses = Uses()


class EmulatedDevice:
    """A :class:`proofcompute.arithmetic.backends.cuda.Device` without hardware.

    ``launches`` lists every launch that ran, with its grid; ``downloads`` and ``uploads`` the sizes in bytes
    of transfers. ``memory`` bounds the bytes allocated at a time. ``blas`` says whether there is a vendor's
    product; ``seconds`` is the pretended time of a launch, 1 by default. ``recorded`` names kernels written
    for programs that are recorded, too.
    """

    def __init__(
        self,
        capability: int = 90,
        order: int = 0,
        blocks: int = 3,
        library: Path | None = None,
        memory: int = 1 << 40,
        name: str = "emulated",
        blas: bool = False,
    ) -> None:
        self.name = name
        self.capability = capability
        self.blocks = blocks
        self.order = order
        self.memory = memory
        self.library = blas
        self.no_library = "" if blas else "the emulated device was made without one"
        self.used = 0
        self.launches: list[tuple[str, tuple[int, int, int]]] = []
        self.downloads: list[int] = []
        self.uploads: list[int] = []
        self.replays = 0
        self.seconds: dict[str, float] = {}
        self.recording: BinaryIO | None = None
        self.recorded: set[str] = set()
        self._library = _library(library or build())
        self._order = Order()
        self._making: list[Work] | None = None

    # -- order of work -------------------------------------------------------------------------------
    def stream(self) -> int:
        return self._order.stream()

    def record(self, stream: int) -> Any:
        event = self._order.event()
        self._queue("an event", stream, lambda s: self._order.record(s, event))
        return event

    def done(self, event: Any) -> bool:
        return True  # launches run at once

    def wait(self, stream: int, event: Any) -> None:
        self._queue("a wait", stream, lambda s: self._order.wait(s, event))

    def _queue(self, what: str, stream: int, work: Callable[[int], None]) -> None:
        if self._making is None:
            work(stream)
        else:
            self._making.append((what, stream, work))

    def _now(self, what: str) -> None:
        if self._making is not None:
            raise DeviceError(f"{what} while a graph is made")

    def begin(self) -> None:
        self._now("another graph")
        self._making = []

    def end(self) -> Any:
        making, self._making = self._making, None
        assert making is not None
        return making

    def abandon(self) -> None:
        self._making = None

    def replay(self, graph: Any) -> None:
        self._now("a replay")
        self.replays += 1
        branches = self._order.branches(0, [stream for _, stream, _ in graph])
        for _, stream, work in graph:
            work(branches[stream])
        if not self._order.joined(0, branches.values()):
            raise DeviceError("a graph's branch is not joined to its main stream")

    # -- memory --------------------------------------------------------------------------------------
    def allocate(self, size: int, stream: int = 0) -> Buffer:
        if self.used + size > self.memory:
            raise DeviceMemoryError(f"{self.used} of {self.memory} bytes are in use")
        memory = _Memory(size)
        self.used += size
        weakref.finalize(memory, self._release, size)
        return Buffer(memory, 0, size, stream)

    def _release(self, size: int) -> None:
        self.used -= size

    def _touch(self, what: str, stream: int, buffer: Buffer, *, writes: bool) -> None:
        uses: Uses = buffer.owner.uses
        if not uses.touch(self._order, stream, buffer.start, buffer.start + buffer.size, writes=writes):
            raise DeviceError(f"{what} on stream {stream} does not wait for what uses its memory")

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        buffer = self.allocate(size, stream)
        self.clear(buffer, stream)
        return buffer

    def clear(self, buffer: Buffer, stream: int = 0) -> None:
        def work(on: int) -> None:
            self._order.tick(on)
            self._touch("clearing", on, buffer, writes=True)
            _bytes(buffer)[:] = 0

        self._queue("clearing", stream, work)

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        buffer = self.allocate(host.nbytes, stream)
        self.write(buffer, host, stream)
        return buffer

    def write(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        self._now("an upload")
        assert host.flags.c_contiguous
        assert host.nbytes == buffer.size
        self._order.tick(stream)
        self._touch("an upload", stream, buffer, writes=True)
        _bytes(buffer)[:] = host.reshape(-1).view(np.uint8)
        self.uploads.append(buffer.size)

    def copy(self, source: Buffer, target: Buffer, stream: int = 0) -> None:
        assert source.size == target.size

        def work(on: int) -> None:
            self._order.tick(on)
            self._touch("a copy", on, source, writes=False)
            self._touch("a copy", on, target, writes=True)
            _bytes(target)[:] = _bytes(source)

        self._queue("a copy", stream, work)

    def receive(self, source: Buffer, origin: Device, target: Buffer) -> None:
        assert isinstance(origin, EmulatedDevice)
        assert source.size == target.size
        self._now("a copy between devices")
        origin._now("a copy between devices")
        origin._order.tick(0)
        origin._touch("a copy to another device", 0, source, writes=False)
        self._order.tick(0)
        self._touch("a copy from another device", 0, target, writes=True)
        _bytes(target)[:] = _bytes(source)

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        self._now("a download")
        assert host.flags.c_contiguous
        assert host.nbytes == buffer.size
        self._order.tick(stream)
        self._touch("a download", stream, buffer, writes=False)
        host.reshape(-1).view(np.uint8)[:] = _bytes(buffer)
        self.downloads.append(buffer.size)

    # -- other libraries -----------------------------------------------------------------------------
    def export(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        self._now("an exchange of arrays")
        self._order.tick(0)
        self._touch("an export", 0, buffer, writes=False)  # later work waits for the main stream only
        return _bytes(buffer).view(dtype).reshape(shape)

    def adopt(self, x: Any, stream: int = 0) -> tuple[Buffer, np.dtype[Any], tuple[int, ...]]:
        self._now("an exchange of arrays")
        if not hasattr(x, "__dlpack__"):
            raise InputError(f"{type(x).__name__} does not exchange arrays")
        host = np.from_dlpack(x)
        memory = _Memory(0)
        memory.bytes = host.reshape(-1).view(np.uint8)
        return Buffer(memory, 0, host.nbytes, stream), host.dtype, host.shape

    # -- the vendor's product ------------------------------------------------------------------------
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
        n, m, d = shape
        wrong = [v for v in (m, d, ldq, ldw, q.start, w.start, acc.start) if v % 4]
        if not self.library or wrong:
            raise DeviceError(f"no library, or sizes that it does not take: {wrong}")

        def work(on: int) -> None:
            self._order.tick(on)
            self._touch("gemm", on, q, writes=False)
            self._touch("gemm", on, w, writes=False)
            self._touch("gemm", on, acc, writes=True)
            left, right = _rows(q, n, ldq, d), _rows(w, m, ldw, d)
            _bytes(acc).view(np.int32).reshape(n, m)[:] = left.astype(np.int32) @ right.astype(np.int32).T
            self.launches.append(("gemm", (n, m, d)))

        self._queue("gemm", stream, work)

    def timed(self, work: Callable[[], object]) -> float:
        self._now("timing")
        before = len(self.launches)
        work()
        return sum(self.seconds.get(name, 1.0) for name, _ in self.launches[before:])

    # -- launches ------------------------------------------------------------------------------------
    def _library_of(self, kernel: str) -> Any:
        """Returns the library that holds a kernel: one of its own for one that is written for a program."""
        text = generated(kernel)
        return self._library if text is None else _generated(kernel, text)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        stream: int = 0,
    ) -> None:
        sizes = (ctypes.c_uint * _ROOM)()
        library = self._library_of(kernel)
        count = library.rig_arguments(kernel.encode(), sizes, _ROOM)
        if count != len(arguments):
            raise DeviceError(f"{kernel} takes {count} arguments, not {len(arguments)}")
        given = tuple(arguments)
        for i, (argument, expected) in enumerate(zip(given, sizes, strict=False)):
            size = argument.itemsize if isinstance(argument, np.generic) else 8
            if size != expected % _READ_ONLY:
                raise DeviceError(f"argument {i} of {kernel} has {size} bytes, not {expected % _READ_ONLY}")
        read_only = [bool(s & _READ_ONLY) for s in sizes[:count]]
        self._queue(kernel, stream, lambda on: self._run(kernel, grid, threads, given, read_only, on))

    def _run(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        read_only: Sequence[bool],
        stream: int,
    ) -> None:
        self._order.tick(stream)
        values: list[Any] = []
        for argument, only in zip(arguments, read_only, strict=True):
            if isinstance(argument, Buffer | Window):
                self._touch(kernel, stream, _touched(argument), writes=not only)
                values.append(np.array([_bytes(_base(argument)).ctypes.data], dtype=np.uint64))
            elif argument is None:
                values.append(np.zeros(1, np.uint64))
            else:
                values.append(np.array([argument]).astype(argument.dtype))
        self.launches.append((kernel, grid))
        # what is written for a program is not in the program that replays, unless it is made for it
        known = generated(kernel) is None or kernel in self.recorded
        recording = self.recording if known and not _overlapping(arguments, read_only) else None
        before = [_old(a) for a in arguments] if recording else []
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        shape = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(threads, 1, 1)
        wrong = self._library_of(kernel).rig_launch(kernel.encode(), *shape, pointers, self.order)
        if wrong:
            raise DeviceError(f"{kernel}: {wrong.decode()}")
        if recording:
            _record(recording, kernel, (*grid, threads, 1, 1), arguments, values, before)


def _base(argument: Argument) -> Any:
    """Returns the buffer that a kernel gets, None for a value."""
    return (
        argument.base if isinstance(argument, Window) else argument if isinstance(argument, Buffer) else None
    )


def _old(argument: Argument) -> bytes:
    base = _base(argument)
    return b"" if base is None else _bytes(base).tobytes()


def _touched(argument: Buffer | Window) -> Buffer:
    """Returns the bytes that a kernel touches. Raises DeviceError if they are outside the buffer."""
    if isinstance(argument, Buffer):
        return argument
    row = int(_bytes(argument.row).view(np.int64)[0])
    try:
        return argument.base.part(row * argument.width, argument.rows * argument.width)
    except InputError as error:
        raise DeviceError(f"rows from {row} on: {error}") from error


def _overlapping(arguments: Sequence[Argument], read_only: Sequence[bool]) -> bool:
    """Returns whether a written range overlaps another argument: in a replay each has memory of its own."""
    pairs = zip(arguments, read_only, strict=True)
    touched = [(_touched(a), only) for a, only in pairs if isinstance(a, Buffer | Window)]
    return any(
        a.owner is b.owner and a.start < b.start + b.size and b.start < a.start + a.size
        for i, (a, _) in enumerate(touched)
        for j, (b, only) in enumerate(touched)
        if i != j and not only
    )


def _bytes(buffer: Buffer) -> Bytes:
    whole: Bytes = buffer.owner.bytes
    return whole[buffer.start : buffer.start + buffer.size]


def _rows(buffer: Buffer, n: int, pitch: int, d: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Returns int8 rows [n, d] that lie ``pitch`` bytes apart."""
    data = _bytes(buffer).view(np.int8)
    return np.lib.stride_tricks.as_strided(data[: (n - 1) * pitch + d], (n, d), (pitch, 1))


def _record(
    to: BinaryIO,
    kernel: str,
    shape: tuple[int, ...],
    arguments: Sequence[Argument],
    values: Sequence[Array],
    before: Sequence[bytes],
) -> None:
    """Writes a record of the file that ``replay.cpp`` reads."""
    to.write(struct.pack("<I", len(kernel)) + kernel.encode() + struct.pack("<7I", *shape, len(arguments)))
    for argument, value, old in zip(arguments, values, before, strict=True):
        base = _base(argument)
        if argument is None:
            to.write(b"\x02")
        elif base is not None:
            to.write(b"\x01" + struct.pack("<Q", base.size) + old + _bytes(base).tobytes())
        else:
            to.write(b"\x00" + struct.pack("<I", value.itemsize) + value.tobytes())
