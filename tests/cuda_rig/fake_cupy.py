"""Imitates the part of CuPy that :class:`CupyDevice` uses, in host memory, with the rig's kernels.

Names and arguments are CuPy's own; ``test_cupy_device`` compares them with the real package if it is
installed. Streams and captures behave as :mod:`cuda_rig.fake_streams` says. A pool gives freed memory at once
to the next allocation of the same stream, as CuPy's does; memory outside a pool is overwritten when freed.
"""

from __future__ import annotations

import ctypes
import weakref
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from cuda_rig.build import build
from cuda_rig.device import _library
from cuda_rig.fake_streams import (
    Capture,
    CUDADriverError,
    CUDARuntimeError,
    Device,
    Event,
    Stream,
    current_stream,
)

__all__ = ["Foreign", "fake_cupy"]

UNIT = 512
"""A pool allocates multiples of so many bytes."""


class OutOfMemoryError(MemoryError):
    """Stands for CuPy's."""


def _outside() -> Stream:
    """The stream of each device that is current where no other is."""
    found = _defaults.get(Device.current)
    if found is None:
        found = _defaults[Device.current] = Stream(null=True)
    return found


_defaults: dict[int, Stream] = {}


def _block(size: int) -> Any:
    return np.full(16 * (size // 16 + 1), 0xA5, dtype=np.uint8)


class Memory:
    """A separate allocation. Freeing it waits for the device, and destroys what was in it."""

    def __init__(self, size: int) -> None:
        Capture.refuse_unsafe()
        if size > MemoryPool.limit:
            raise OutOfMemoryError(f"{size} bytes")
        self.bytes, self.size, self.device_id = _block(size), size, Device.current
        self.ptr = int(self.bytes.ctypes.data)
        weakref.finalize(self, _freed, self.bytes, self.device_id).atexit = False


_graveyard: list[Any] = []


def _freed(block: Any, device: int) -> None:
    _graveyard.append(block)  # later uses find wrong bytes
    if Stream.running:
        return
    if Capture.active is None:
        Device(device).synchronize()
    block[:] = 0xEE


class _Pooled:
    """A part of a pool's memory, which returns to the pool when nothing refers to this."""

    def __init__(self, block: Any, free: list[Any]) -> None:
        self.bytes, self.ptr, self.device_id = block, int(block.ctypes.data), Device.current
        weakref.finalize(self, free.append, block).atexit = False


class MemoryPointer:
    """An address that keeps its memory alive."""

    def __init__(self, mem: Any, offset: int) -> None:
        self.mem = mem
        self.ptr = int(mem.ptr) + offset
        self._offset = offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self._offset + offset)

    def memset_async(self, value: int, size: int, stream: Stream) -> None:
        to = self.ptr
        stream.enqueue(lambda: ctypes.memset(to, value, size))

    def copy_from_host_async(self, mem: ctypes.c_void_p, size: int, stream: Stream) -> None:
        to, at = self.ptr, mem.value or 0
        assert any(p <= at and at + size <= p + n for p, n in PinnedMemory.ranges), "pageable memory"
        stream.enqueue(lambda: ctypes.memmove(to, at, size))

    def copy_to_host_async(self, mem: ctypes.c_void_p, size: int, stream: Stream) -> None:
        stream.synchronize()  # a copy to pageable memory has been done when the call returns
        ctypes.memmove(mem.value or 0, self.ptr, size)

    def copy_from_device_async(self, src: MemoryPointer, size: int, stream: Stream) -> None:
        to, source = self.ptr, src.ptr  # queued work does not keep memory alive
        stream.enqueue(lambda: ctypes.memmove(to, source, size))


class MemoryPool:
    """Gives at most ``limit`` bytes in one piece."""

    limit = 1 << 34

    def __init__(self) -> None:
        self._free: dict[tuple[int, int], list[Any]] = {}

    def malloc(self, size: int) -> MemoryPointer:
        if size > self.limit:
            raise OutOfMemoryError(f"{size} bytes")
        stream, size = current_stream(_outside()), -(-size // UNIT) * UNIT
        assert stream.device == Device.current
        free = self._free.setdefault((stream.ptr, size), [])
        if not free:
            Capture.refuse_unsafe()
        return MemoryPointer(_Pooled(free.pop() if free else _block(size), free), 0)


class PinnedMemory:
    """Host memory that copies may read later."""

    ranges: ClassVar[list[tuple[int, int]]] = []

    def __new__(cls, size: int) -> Any:
        """Returns a buffer with ``ptr``, as CuPy does."""
        Capture.refuse_unsafe()
        found = np.empty(size, np.uint8).view(_Pinned)
        cls.ranges.append((found.ptr, size))
        return found


class _Pinned(np.ndarray[Any, Any]):
    @property
    def ptr(self) -> int:
        return int(self.ctypes.data)


class Function:
    """A kernel of the rig."""

    def __init__(self, name: str, device: int) -> None:
        self._name, self._device = name, device

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        assert Stream.current, "a launch on no stream of the backend's"
        assert all(isinstance(a, np.generic) for a in args)
        if Device.current != self._device:
            raise CUDADriverError("CUDA_ERROR_INVALID_HANDLE: a module of another device")
        values = [np.array([a]) for a in args]

        def work() -> None:
            pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
            shape = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
            wrong = _library(build()).rig_launch(self._name.encode(), *shape, pointers, 0)
            assert not wrong, wrong

        Stream.current[-1].enqueue(work)


class Module:
    """Loads a cubin, which here is the name of its file."""

    refused = False

    def load(self, cubin: bytes) -> None:
        Capture.refuse_unsafe()
        if Module.refused:
            raise CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU")
        assert isinstance(cubin, bytes)
        self._device = Device.current

    def get_function(self, name: str) -> Function:
        return Function(name, self._device)


class Ndarray:
    """An array on a device."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, memptr: MemoryPointer, owner: Any = None) -> None:
        self.shape, self.dtype, self.data, self._owner = shape, np.dtype(dtype), memptr, owner
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize
        self.device = Device(memptr.mem.device_id)

    def get(self) -> Any:
        """Returns the values, once the current stream has done its work."""
        current_stream(_outside()).synchronize()
        return np.frombuffer(ctypes.string_at(self.data.ptr, self.nbytes), self.dtype).reshape(self.shape)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, *, stream: int) -> Ndarray:
        Stream.all[stream].wait_event(current_stream(_outside()).record())
        return self


class Foreign:
    """An array of another library, which writes ``late`` to it on a stream of its own.

    When nothing refers to its memory any more, its library overwrites it.
    """

    def __init__(self, late: Any, kind: int = 2, interface: str = "both") -> None:
        self.stream = Stream(non_blocking=True)
        self.memory = _Pooled(_block(late.nbytes), [])
        self._late, self._kind, self._interface = late, kind, interface
        address, block, data = self.memory.ptr, self.memory.bytes, late.tobytes()
        self.stream.enqueue(lambda: ctypes.memmove(address, data, len(data)))
        weakref.finalize(self.memory, block.fill, 0xDD).atexit = False

    def __getattribute__(self, name: str) -> Any:
        hidden = {"dlpack": "__cuda_array_interface__", "interface": "__dlpack__"}
        if name == hidden.get(object.__getattribute__(self, "_interface")):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def array(self) -> Ndarray:
        return Ndarray(self._late.shape, self._late.dtype, MemoryPointer(self.memory, 0))

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, self.memory.device_id

    def __dlpack__(self, *, stream: int) -> Ndarray:
        Stream.all[stream].wait_event(self.stream.record())
        return self.array()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 2, "shape": self._late.shape, "typestr": self._late.dtype.str}


def fake_cupy(major: int = 9, minor: int = 0, devices: int = 1) -> Any:
    """Returns a module that takes the place of ``cupy``."""
    pools = [MemoryPool() for _ in range(devices)]
    properties = {"name": b"fake", "major": major, "minor": minor, "multiProcessorCount": 2}
    peers: list[tuple[int, int]] = []

    def reach(peer: int) -> None:
        if (Device.current, peer) in peers:
            raise CUDARuntimeError(704)
        peers.append((Device.current, peer))

    def across(to: int, to_device: int, source: int, source_device: int, size: int, stream: int) -> None:
        assert to_device == Device.current != source_device
        Stream.all[stream].enqueue(lambda: ctypes.memmove(to, source, size))

    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        deviceCanAccessPeer=lambda device, peer: 1,
        deviceEnablePeerAccess=reach,
        driverGetVersion=lambda: 13000,
        getDeviceCount=lambda: devices,
        getDeviceProperties=lambda ordinal: properties,
        memGetInfo=lambda: (1 << 20, 1 << 30),
        memcpyPeerAsync=across,
        streamCaptureModeRelaxed=2,
    )

    def elapsed(start: Event, end: Event) -> float:
        assert start.device == end.device == Device.current
        return 1.0

    cuda = SimpleNamespace(
        Device=Device,
        Event=Event,
        Memory=Memory,
        MemoryPointer=MemoryPointer,
        MemoryPool=MemoryPool,
        Stream=Stream,
        alloc_pinned_memory=PinnedMemory,
        driver=SimpleNamespace(CUDADriverError=CUDADriverError),
        function=SimpleNamespace(Function=Function, Module=Module),
        get_elapsed_time=elapsed,
        get_current_stream=lambda: current_stream(_outside()),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=runtime,
    )

    def from_dlpack(x: Any) -> Ndarray:
        found: Ndarray = x.__dlpack__(stream=current_stream(_outside()).ptr)
        return found

    def asarray(x: Any) -> Ndarray:
        assert x.__cuda_array_interface__
        return x.array()  # type: ignore[no-any-return]

    return SimpleNamespace(
        ascontiguousarray=lambda x: x,
        asarray=asarray,
        cuda=cuda,
        from_dlpack=from_dlpack,
        get_default_memory_pool=lambda: pools[Device.current],
        ndarray=Ndarray,
        peers=peers,
    )
