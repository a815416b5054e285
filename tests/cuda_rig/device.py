"""A device whose memory is host memory and whose kernels are the rig's: what the backend's tests run on.

Launches run at once, in the order of threads that is set. Streams and events are followed all the same: a
launch or a copy that touches memory which another stream wrote (or that writes what another stream read)
without an event in between raises, since on hardware it would race.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cuda_rig.build import build
from proofcompute.backends.cuda.device import Argument, Buffer
from proofcompute.errors import DeviceError
from proofcompute.kernels import Array

__all__ = ["ORDERS", "EmulatedDevice"]

ORDERS = (0, 1, 2, 3, 4)
"""Orders of threads: ascending, descending, three seeded shuffles."""

_ROOM = 32
_READ_ONLY = 128


@cache
def _library(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.rig_launch.restype = ctypes.c_char_p
    return library


class _Memory:
    """An allocation: its bytes, and which work on it has to come first."""

    def __init__(self, size: int) -> None:
        self.bytes = np.empty(size // 16 + 1, dtype=np.complex128).view(np.uint8)  # aligned to 16
        self.bytes[:] = 0xA5  # so that what is never written does not pass for zero
        self.written: tuple[int, int] = (0, 0)
        self.read: dict[int, int] = {}


class EmulatedDevice:
    """A :class:`proofcompute.backends.cuda.Device` without hardware."""

    def __init__(
        self, capability: int = 90, order: int = 0, blocks: int = 3, library: Path | None = None
    ) -> None:
        self.name = "emulated"
        self.capability = capability
        self.blocks = blocks
        self.order = order
        self.launches: list[tuple[str, tuple[int, int, int]]] = []
        self.recording: BinaryIO | None = None
        self._library = _library(library or build())
        self._clocks: list[dict[int, int]] = [{0: 0}]
        self._events: list[dict[int, int]] = []

    # -- order of work -------------------------------------------------------------------------------
    def _tick(self, stream: int) -> int:
        self._clocks[stream][stream] += 1
        return self._clocks[stream][stream]

    def _after(self, stream: int, buffer: Buffer, writes: bool, what: str) -> None:
        memory, clock = buffer.owner, self._clocks[stream]
        pending = [memory.written, *(memory.read.items() if writes else ())]
        if any(clock.get(other, 0) < tick for other, tick in pending):
            raise DeviceError(f"{what} on stream {stream} does not wait for what uses its memory")
        if writes:
            memory.written, memory.read = (stream, clock[stream]), {}
        else:
            memory.read[stream] = clock[stream]

    def stream(self) -> int:
        self._clocks.append({len(self._clocks): 0})
        return len(self._clocks) - 1

    def record(self, stream: int) -> int:
        self._events.append(dict(self._clocks[stream]))
        return len(self._events) - 1

    def wait(self, stream: int, event: int) -> None:
        clock = self._clocks[stream]
        for other, tick in self._events[event].items():
            clock[other] = max(clock.get(other, 0), tick)

    # -- memory --------------------------------------------------------------------------------------
    def allocate(self, size: int) -> Buffer:
        return Buffer(_Memory(size), 0, size)

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        return self.upload(np.zeros(size, dtype=np.uint8), stream)

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        assert host.flags.c_contiguous
        buffer = self.allocate(host.nbytes)
        self._tick(stream)
        self._after(stream, buffer, True, "an upload")
        _bytes(buffer)[:] = host.reshape(-1).view(np.uint8)
        return buffer

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        assert host.flags.c_contiguous
        assert host.nbytes == buffer.size
        self._tick(stream)
        self._after(stream, buffer, False, "a download")
        host.reshape(-1).view(np.uint8)[:] = _bytes(buffer)

    # -- launches ------------------------------------------------------------------------------------
    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        stream: int = 0,
    ) -> None:
        sizes = (ctypes.c_uint * _ROOM)()
        count = self._library.rig_arguments(kernel.encode(), sizes, _ROOM)
        if count != len(arguments):
            raise DeviceError(f"{kernel} takes {count} arguments, not {len(arguments)}")
        self._tick(stream)
        values: list[Any] = []
        for i, (argument, expected) in enumerate(zip(arguments, sizes, strict=False)):
            if isinstance(argument, Buffer):
                self._after(stream, argument, not expected & _READ_ONLY, kernel)
                values.append(np.array([_bytes(argument).ctypes.data], dtype=np.uint64))
            else:
                values.append(np.array([0 if argument is None else argument]).astype(_type_of(argument)))
            if values[-1].itemsize != expected % _READ_ONLY:
                raise DeviceError(
                    f"argument {i} of {kernel} has {values[-1].itemsize} bytes, not {expected % 128}"
                )
        self.launches.append((kernel, grid))
        before = (
            [_bytes(a).tobytes() if isinstance(a, Buffer) else b"" for a in arguments]
            if self.recording
            else []
        )
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        shape = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(threads, 1, 1)
        wrong = self._library.rig_launch(kernel.encode(), *shape, pointers, self.order)
        if wrong:
            raise DeviceError(f"{kernel}: {wrong.decode()}")
        if self.recording:
            _record(self.recording, kernel, (*grid, threads, 1, 1), arguments, values, before)


def _type_of(argument: np.generic | None) -> np.dtype[Any]:
    return np.dtype(np.uint64) if argument is None else argument.dtype


def _bytes(buffer: Buffer) -> np.ndarray[Any, np.dtype[np.uint8]]:
    whole: np.ndarray[Any, np.dtype[np.uint8]] = buffer.owner.bytes
    return whole[buffer.start : buffer.start + buffer.size]


def _record(
    to: BinaryIO,
    kernel: str,
    shape: tuple[int, ...],
    arguments: Sequence[Argument],
    values: Sequence[Array],
    before: Sequence[bytes],
) -> None:
    """One record of the file that ``replay.cpp`` reads."""
    to.write(struct.pack("<I", len(kernel)) + kernel.encode() + struct.pack("<7I", *shape, len(arguments)))
    for argument, value, old in zip(arguments, values, before, strict=True):
        if argument is None:
            to.write(b"\x02")
        elif isinstance(argument, Buffer):
            to.write(b"\x01" + struct.pack("<Q", argument.size) + old + _bytes(argument).tobytes())
        else:
            to.write(b"\x00" + struct.pack("<I", value.itemsize) + value.tobytes())
