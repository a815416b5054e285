"""Implements a device with CuPy: memory pool, streams and events; machine code comes from :mod:`.cubins`.

CuPy is imported when a device is made, not before. Every method first makes its device the thread's current
one, because several devices may be in use and CuPy uses the current one.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np

from proofcompute.arithmetic.backends.cuda.adopted import Lenders
from proofcompute.arithmetic.backends.cuda.cubins import LEAST, Cubins
from proofcompute.arithmetic.backends.cuda.cublaslt import WORKSPACE, CublasLt, Product, find_cublaslt
from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Device, Window
from proofcompute.arithmetic.backends.cuda.failures import failure, typed
from proofcompute.arithmetic.backends.cuda.sources import file_of
from proofcompute.arithmetic.backends.cuda.staging import Staging
from proofcompute.arrays import Array
from proofcompute.errors import DeviceError, DeviceMemoryError, InputError

__all__ = ["CupyDevice"]

_BLOCKS_EACH: Final = 8
_PEER_KNOWN: Final = 704
"""cudaErrorPeerAccessAlreadyEnabled."""
_ON_DEVICE: Final = (2, 13)
"""kDLCUDA and kDLCUDAManaged of DLPack."""


@final
class CupyDevice:
    """CUDA device number ``ordinal``.

    ``pooled`` = False makes every array an allocation of its own, so that a tool such as compute-sanitizer's
    memcheck sees where it ends; this is slower. Raises DeviceError, which says what to do, if CuPy, a driver
    or the device is missing, or the device is too old.
    """

    def __init__(self, ordinal: int = 0, *, pooled: bool = True) -> None:
        try:
            self._cupy: Any = importlib.import_module("cupy")
        except ImportError as error:
            raise DeviceError(
                "CuPy is missing; install proofcompute[cuda12] or proofcompute[cuda13], or use --device cpu"
            ) from error
        runtime = self._cupy.cuda.runtime
        try:
            count = runtime.getDeviceCount()
            if not 0 <= ordinal < count:
                raise DeviceError(f"there is no CUDA device {ordinal}, only {count}; use --device cpu")
            properties = runtime.getDeviceProperties(ordinal)
            self._device = self._cupy.cuda.Device(ordinal)
            self._device.use()
        except runtime.CUDARuntimeError as error:
            raise DeviceError(f"no usable CUDA driver or device ({error}); use --device cpu") from error
        self.name = str(properties["name"].decode())
        self.capability = int(properties["major"]) * 10 + int(properties["minor"])
        self.blocks = int(properties["multiProcessorCount"]) * _BLOCKS_EACH
        if self.capability < LEAST:
            raise DeviceError(f"{self.name} is sm_{self.capability}; sm_{LEAST} is needed, use --device cpu")
        self._streams: list[Any] = [self._cupy.cuda.Stream(non_blocking=True)]
        self._cubins = Cubins(self.capability, runtime.driverGetVersion() // 1000)
        self._failures = (runtime.CUDARuntimeError, self._cupy.cuda.driver.CUDADriverError)
        self._pooled = pooled
        self._capturing = False
        self._pool: Any = None
        """The memory pool of the graph that is being made."""
        self._staging = Staging(self._cupy)
        self._lenders = Lenders()
        self._peers: set[int] = set()
        self._workspaces: dict[int, Any] = {}
        self._lt: CublasLt | None = None
        self.no_library = ""
        self._modules: dict[str, Any] = {}
        self._kernels: dict[str, Any] = {}
        self._kernel("add")  # fails before any work begins if there is no machine code for the device
        try:
            self._lt = CublasLt(find_cublaslt(runtime.driverGetVersion() // 1000))
            self._try_library(self._lt.name)
        except DeviceError as error:
            self._lt, self.no_library = None, str(error)
        self.library = self._lt is not None

    def _try_library(self, name: str) -> None:
        """Raise DeviceError unless a small product is right: another library may have been loaded."""
        n, m, d = 33, 8, 64
        q, w = (np.resize(np.arange(-127, 128, dtype=np.int8), (rows, d)) for rows in (n, m))
        acc, found = self.allocate(4 * n * m), np.empty((n, m), np.int32)
        self.gemm(self.upload(q), d, self.upload(w), d, (n, m, d), acc)
        self.download(acc, found)
        if found.tobytes() != (q.astype(np.int32) @ w.astype(np.int32).T).tobytes():
            raise DeviceError(f"{name} computes another product of int8 matrices")

    def allocate(self, size: int, stream: int = 0) -> Buffer:
        self._device.use()
        if not self._capturing:
            self._lenders.sweep(self._events)
        return Buffer(self._room(size, stream), 0, size, stream)

    def _room(self, size: int, stream: int) -> Any:
        """Return CuPy's pointer to new memory."""
        try:
            with self._streams[stream]:  # a pool reuses freed memory for the stream that had it
                if self._pool is not None:
                    return self._pool.malloc(max(size, 1))
                if self._pooled:
                    return self._cupy.get_default_memory_pool().malloc(max(size, 1))
                return self._cupy.cuda.MemoryPointer(self._cupy.cuda.Memory(max(size, 1)), 0)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            free, total = self._cupy.cuda.runtime.memGetInfo()
            raise DeviceMemoryError(f"{free:,} of {total:,} bytes are free") from error
        except self._failures as error:
            raise failure("no memory", error) from error

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        buffer = self.allocate(size, stream)
        self.clear(buffer, stream)
        return buffer

    @typed
    def clear(self, buffer: Buffer, stream: int = 0) -> None:
        self._device.use()
        if buffer.size:
            _pointer(buffer).memset_async(0, buffer.size, self._streams[stream])

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        buffer = self.allocate(host.nbytes, stream)
        self.write(buffer, host, stream)
        return buffer

    @typed
    def write(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        _fits(buffer, host.nbytes)
        self._now("an upload")
        self._device.use()
        if host.nbytes:
            self._staging.copy(host, _pointer(buffer), self._streams[stream])

    @typed
    def copy(self, source: Buffer, target: Buffer, stream: int = 0) -> None:
        _fits(target, source.size)
        self._device.use()
        if source.size:
            _pointer(target).copy_from_device_async(_pointer(source), source.size, self._streams[stream])

    @typed
    def receive(self, source: Buffer, origin: Device, target: Buffer) -> None:
        if not isinstance(origin, CupyDevice):
            raise DeviceError("arrays move between devices of one kind only")
        _fits(target, source.size)
        self._now("a copy between devices")
        here, there = self._streams[0], origin._streams[0]
        before = origin.record(0)
        self._device.use()
        self._reach(origin._device.id)
        here.wait_event(before)
        ends = (_address(target), self._device.id, _address(source), origin._device.id)
        self._cupy.cuda.runtime.memcpyPeerAsync(*map(int, ends), source.size, here.ptr)
        after = self.record(0)
        origin._device.use()
        there.wait_event(after)  # later work there may overwrite the source

    def _reach(self, peer: int) -> None:
        """Let copies from another device go directly where possible; else CUDA goes through host memory."""
        runtime = self._cupy.cuda.runtime
        if peer in self._peers or peer == self._device.id:
            return
        self._peers.add(peer)
        if not runtime.deviceCanAccessPeer(self._device.id, peer):
            return
        try:
            runtime.deviceEnablePeerAccess(peer)
        except runtime.CUDARuntimeError as error:
            if error.status != _PEER_KNOWN:  # another library may have enabled it
                raise DeviceError(f"device {self._device.id} cannot reach {peer} ({error})") from error

    @typed
    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        _fits(buffer, host.nbytes)
        self._now("a download")
        self._device.use()
        if host.nbytes:
            where = ctypes.c_void_p(host.ctypes.data)
            _pointer(buffer).copy_to_host_async(where, host.nbytes, self._streams[stream])
        self._streams[stream].synchronize()
        self._lenders.sweep(self._events)

    def _events(self) -> list[Any]:
        """Record an event on each stream, behind all that is queued."""
        return [stream.record() for stream in self._streams]

    def _kernel(self, name: str) -> Any:
        if name not in self._kernels:
            file = file_of(name)
            if file is None:
                raise DeviceError(f"there is no kernel {name}")
            if file not in self._modules:
                self._modules[file] = self._load(file)
            self._kernels[name] = self._modules[file].get_function(name)
        return self._kernels[name]

    def _load(self, file: str) -> Any:
        module = self._cupy.cuda.function.Module()
        try:
            module.load(self._cubins.get(file))
        except self._cupy.cuda.driver.CUDADriverError as error:
            raise DeviceError(f"the driver refuses the machine code of {file}.cu ({error})") from error
        return module

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        stream: int = 0,
    ) -> None:
        values = tuple(a if isinstance(a, np.generic) else _address(a) for a in arguments)
        self._device.use()
        try:
            with self._streams[stream]:
                self._kernel(kernel)(grid, (threads, 1, 1), values)
        except self._failures as error:
            raise failure(f"{kernel} cannot be launched", error) from error

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
        if self._lt is None:
            raise DeviceError(self.no_library)
        self._device.use()
        if stream not in self._workspaces:  # each stream has its own, since their products may overlap
            self._workspaces[stream] = self._room(WORKSPACE, stream)
        product = Product(int(_address(q)), ldq, int(_address(w)), ldw, shape, int(_address(acc)))
        self._lt.run(product, self._workspaces[stream].ptr, WORKSPACE, self._streams[stream].ptr)

    @typed
    def timed(self, work: Callable[[], object]) -> float:
        self._now("timing")
        self._device.use()
        start = self._cupy.cuda.Event()
        end = self._cupy.cuda.Event()
        start.record(self._streams[0])
        work()
        self._device.use()  # work may have used another
        end.record(self._streams[0])
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, end)) / 1000

    @typed
    def stream(self) -> int:
        self._device.use()
        self._streams.append(self._cupy.cuda.Stream(non_blocking=True))
        return len(self._streams) - 1

    @typed
    def record(self, stream: int) -> Any:
        self._device.use()
        return self._streams[stream].record()

    @typed
    def done(self, event: Any) -> bool:
        return bool(event.done)

    @typed
    def wait(self, stream: int, event: Any) -> None:
        self._device.use()
        self._streams[stream].wait_event(event)

    def _now(self, what: str) -> None:
        if self._capturing:
            raise DeviceError(f"{what} while a graph is made")

    def begin(self) -> None:
        self._now("another graph")
        self._device.use()
        if self._pooled:
            self._pool = self._cupy.cuda.MemoryPool()  # its memory is not reused between replays
        else:
            self._pool = _Plain(self._cupy)
        try:
            # relaxed, as memory may be allocated meanwhile, which is not part of the graph
            self._streams[0].begin_capture(self._cupy.cuda.runtime.streamCaptureModeRelaxed)
        except self._failures as error:
            self._pool = None
            raise failure("no graph can be made", error) from error
        self._capturing = True

    def end(self) -> Any:
        self._device.use()
        self._capturing, pool, self._pool = False, self._pool, None
        try:
            return self._streams[0].end_capture(), pool
        except self._failures as error:
            raise failure("the graph cannot be made", error) from error

    def abandon(self) -> None:
        if not self._capturing:
            return
        try:
            self.end()
        except DeviceError:
            pass  # the capture was invalid before, for a reason already reported, and has ended

    def replay(self, graph: Any) -> None:
        self._device.use()
        try:
            graph[0].launch(self._streams[0])
        except self._failures as error:
            raise failure(f"{self.name} does not repeat a step", error) from error

    # -- other libraries -------------------------------------------------------------------------------
    @typed
    def export(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        self._now("an exchange of arrays")
        self._device.use()
        self._cupy.cuda.get_current_stream().wait_event(self._streams[0].record())
        return self._cupy.ndarray(shape, dtype, memptr=_pointer(buffer))

    @typed
    def adopt(self, x: Any, stream: int = 0) -> tuple[Buffer, np.dtype[Any], tuple[int, ...]]:
        self._now("an exchange of arrays")
        cupy = self._cupy
        self._device.use()
        self._lenders.sweep(self._events)
        with self._streams[stream]:
            if hasattr(x, "__dlpack__"):  # the producer makes this stream wait for its pending work
                kind, number = map(int, x.__dlpack_device__())
                if kind not in _ON_DEVICE:
                    raise InputError(f"{type(x).__name__} is not an array on a CUDA device")
                self._mine(number)
                array = cupy.from_dlpack(x)
            elif hasattr(x, "__cuda_array_interface__"):
                if x.__cuda_array_interface__.get("stream") is None:
                    self._device.synchronize()  # the stream that computes it is unknown
                array = cupy.asarray(x)  # waits for the stream that is named
            else:
                raise InputError(f"{type(x).__name__} does not exchange arrays on devices")
            self._mine(int(array.device.id))
            array = cupy.ascontiguousarray(array)
        buffer = Buffer(self._lenders.borrow(array), 0, int(array.nbytes), stream)
        return buffer, array.dtype, tuple(array.shape)

    def _mine(self, number: int) -> None:
        if number != self._device.id:
            raise InputError(f"the array is on device {number}, not on {self._device.id}")


class _Plain:
    """A graph's memory: each array is an allocation of its own, which lives as long as this."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._kept: list[Any] = []

    def malloc(self, size: int) -> Any:
        """Return CuPy's pointer to ``size`` bytes."""
        made = self._cupy.cuda.MemoryPointer(self._cupy.cuda.Memory(size), 0)
        self._kept.append(made)
        return made


def _pointer(buffer: Buffer) -> Any:
    """Return CuPy's pointer, which keeps the memory alive."""
    return buffer.owner + buffer.start


def _address(argument: Buffer | Window | None) -> np.uint64:
    if isinstance(argument, Window):
        argument = argument.base
    return np.uint64(0 if argument is None else argument.owner.ptr + argument.start)


def _fits(buffer: Buffer, size: int) -> None:
    if buffer.size != size:
        raise DeviceError(f"a buffer of {buffer.size} bytes does not fill one of {size}")
