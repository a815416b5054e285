"""A device through CuPy: its memory pool, streams and events; machine code comes from :mod:`.cubins`.

CuPy is imported when a device is made, not before.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np

from proofcompute.backends.cuda.cubins import LEAST, Cubins
from proofcompute.backends.cuda.device import Argument, Buffer, Device, Window
from proofcompute.backends.cuda.sources import kernel_files
from proofcompute.errors import DeviceError, InputError
from proofcompute.kernels import Array

__all__ = ["CupyDevice"]

_BLOCKS_EACH: Final = 8
_INT8: Final = 3
_INT32: Final = 10
"""CUDA_R_8I and CUDA_R_32I of CUDA's library_types.h."""
_ONE: Final = np.ones(1, np.int32)
_ZERO: Final = np.zeros(1, np.int32)


@final
class CupyDevice:
    """CUDA device number ``ordinal``.

    DeviceError, saying what to do, where CuPy, a driver or the device is missing, or the device is too old.
    """

    def __init__(self, ordinal: int = 0) -> None:
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
        self._pool: Any = None
        try:
            self.library = hasattr(self._cupy.cuda.cublas, "gemmEx")
        except ImportError:  # the vendor's library is a package of its own
            self.library = False
        self._modules: dict[str, Any] = {}
        self._kernels: dict[str, Any] = {}
        self._kernel("add")  # whether there is machine code for the device, before any work is begun

    def allocate(self, size: int, stream: int = 0) -> Buffer:
        self._device.use()
        pool = self._cupy.get_default_memory_pool() if self._pool is None else self._pool
        try:
            with self._streams[stream]:  # a pool gives freed memory to the stream that had it
                return Buffer(pool.malloc(max(size, 1)), 0, size, stream)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            free, total = self._cupy.cuda.runtime.memGetInfo()
            raise DeviceError(f"{free:,} of {total:,} bytes are free") from error

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        buffer = self.allocate(size, stream)
        self.clear(buffer, stream)
        return buffer

    def clear(self, buffer: Buffer, stream: int = 0) -> None:
        self._device.use()
        if buffer.size:
            _pointer(buffer).memset_async(0, buffer.size, self._streams[stream])

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        buffer = self.allocate(host.nbytes, stream)
        self.write(buffer, host, stream)
        return buffer

    def write(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        _fits(buffer, host.nbytes)
        self._now("an upload")
        self._device.use()
        if host.nbytes:
            # Pageable memory: the copy has read all of it when the call returns.
            _pointer(buffer).copy_from_host_async(_memory(host), host.nbytes, self._streams[stream])

    def copy(self, source: Buffer, target: Buffer, stream: int = 0) -> None:
        _fits(target, source.size)
        self._device.use()
        if source.size:
            _pointer(target).copy_from_device_async(_pointer(source), source.size, self._streams[stream])

    def receive(self, source: Buffer, origin: Device, target: Buffer) -> None:
        if not isinstance(origin, CupyDevice):
            raise DeviceError("arrays move between devices of one kind only")
        _fits(target, source.size)
        self._now("a copy between devices")
        here, there = self._streams[0], origin._streams[0]
        here.wait_event(origin.record(0))
        ends = (_address(target), self._device.id, _address(source), origin._device.id)
        self._device.use()
        self._cupy.cuda.runtime.memcpyPeerAsync(*map(int, ends), source.size, here.ptr)
        there.wait_event(self.record(0))  # what follows there may write over the source

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        _fits(buffer, host.nbytes)
        self._now("a download")
        self._device.use()
        if host.nbytes:
            _pointer(buffer).copy_to_host_async(_memory(host), host.nbytes, self._streams[stream])
        self._streams[stream].synchronize()

    def _kernel(self, name: str) -> Any:
        if name not in self._kernels:
            file = kernel_files().get(name)
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
        with self._streams[stream]:
            self._kernel(kernel)(grid, (threads, 1, 1), values)

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
        cupy, (n, m, d) = self._cupy, shape
        blas = cupy.cuda.cublas
        self._device.use()
        with self._streams[stream]:
            # Matrices are column-major there: rows of acc are columns of w^T times columns of q.
            blas.gemmEx(
                cupy.cuda.device.get_cublas_handle(),
                blas.CUBLAS_OP_T,
                blas.CUBLAS_OP_N,
                m,
                n,
                d,
                _ONE.ctypes.data,
                int(_address(w)),
                _INT8,
                ldw,
                int(_address(q)),
                _INT8,
                ldq,
                _ZERO.ctypes.data,
                int(_address(acc)),
                _INT32,
                m,
                blas.CUBLAS_COMPUTE_32I,
                blas.CUBLAS_GEMM_DEFAULT,
            )

    def timed(self, work: Callable[[], object]) -> float:
        start = self._cupy.cuda.Event()
        end = self._cupy.cuda.Event()
        start.record(self._streams[0])
        work()
        end.record(self._streams[0])
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, end)) / 1000

    def stream(self) -> int:
        self._device.use()
        self._streams.append(self._cupy.cuda.Stream(non_blocking=True))
        return len(self._streams) - 1

    def record(self, stream: int) -> Any:
        self._device.use()
        return self._streams[stream].record()

    def done(self, event: Any) -> bool:
        return bool(event.done)

    def wait(self, stream: int, event: Any) -> None:
        self._streams[stream].wait_event(event)

    def _now(self, what: str) -> None:
        if self._pool is not None:
            raise DeviceError(f"{what} while a graph is made")

    def begin(self) -> None:
        self._now("another graph")
        self._device.use()
        self._pool = self._cupy.cuda.MemoryPool()  # nobody else is given the graph's memory between replays
        # Relaxed: memory may be allocated meanwhile, which is no part of the graph.
        self._streams[0].begin_capture(self._cupy.cuda.runtime.streamCaptureModeRelaxed)

    def end(self) -> Any:
        pool, self._pool = self._pool, None
        return self._streams[0].end_capture(), pool

    def replay(self, graph: Any) -> None:
        self._device.use()
        graph[0].launch(self._streams[0])

    def export(self, buffer: Buffer, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        self._cupy.cuda.get_current_stream().wait_event(self._streams[0].record())
        return self._cupy.ndarray(shape, dtype, memptr=_pointer(buffer))

    def adopt(self, x: Any, stream: int = 0) -> tuple[Buffer, np.dtype[Any], tuple[int, ...]]:
        cupy = self._cupy
        if hasattr(x, "__cuda_array_interface__"):
            array = cupy.asarray(x)
        elif hasattr(x, "__dlpack__"):
            array = cupy.from_dlpack(x)
        else:
            raise InputError(f"{type(x).__name__} does not exchange arrays on devices")
        if array.device.id != self._device.id:
            raise InputError(f"the array is on device {array.device.id}, not on {self._device.id}")
        array = cupy.ascontiguousarray(array)
        self._streams[stream].wait_event(cupy.cuda.get_current_stream().record())
        return Buffer(array.data, 0, int(array.nbytes), stream), array.dtype, tuple(array.shape)


def _pointer(buffer: Buffer) -> Any:
    """CuPy's pointer, which keeps the memory."""
    return buffer.owner + buffer.start


def _address(argument: Buffer | Window | None) -> np.uint64:
    if isinstance(argument, Window):
        argument = argument.base
    return np.uint64(0 if argument is None else argument.owner.ptr + argument.start)


def _fits(buffer: Buffer, size: int) -> None:
    if buffer.size != size:
        raise DeviceError(f"a buffer of {buffer.size} bytes does not fill one of {size}")


def _memory(host: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(host.ctypes.data)
