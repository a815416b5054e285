"""A device through CuPy: its memory pool, streams and events; machine code comes from :mod:`.cubins`.

CuPy is imported when a device is made, not before.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np

from proofcompute.backends.cuda.cubins import LEAST, Cubins
from proofcompute.backends.cuda.device import Argument, Buffer
from proofcompute.backends.cuda.sources import kernel_files
from proofcompute.errors import DeviceError
from proofcompute.kernels import Array

__all__ = ["CupyDevice"]

_BLOCKS_EACH: Final = 8


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
        self._events: list[Any] = []
        self._cubins = Cubins(self.capability, runtime.driverGetVersion() // 1000)
        self._modules: dict[str, Any] = {}
        self._kernels: dict[str, Any] = {}
        self._kernel("add")  # whether there is machine code for the device, before any work is begun

    def allocate(self, size: int) -> Buffer:
        try:
            return Buffer(self._cupy.cuda.alloc(max(size, 1)), 0, size)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceError(f"{self.name} has no room for another {size} bytes ({error})") from error

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        buffer = self.allocate(size)
        buffer.owner.memset_async(0, size, self._streams[stream])
        return buffer

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        buffer = self.allocate(host.nbytes)
        if host.nbytes:
            # Pageable memory: the copy has read all of it when the call returns.
            buffer.owner.copy_from_host_async(_memory(host), host.nbytes, self._streams[stream])
        return buffer

    def download(self, buffer: Buffer, host: Array, stream: int = 0) -> None:
        if host.nbytes != buffer.size:
            raise DeviceError(f"a buffer of {buffer.size} bytes does not fill an array of {host.nbytes}")
        if host.nbytes:
            pointer = buffer.owner + buffer.start
            pointer.copy_to_host_async(_memory(host), host.nbytes, self._streams[stream])
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
        values = tuple(_pointer(a) if a is None or isinstance(a, Buffer) else a for a in arguments)
        with self._streams[stream]:
            self._kernel(kernel)(grid, (threads, 1, 1), values)

    def stream(self) -> int:
        self._streams.append(self._cupy.cuda.Stream(non_blocking=True))
        return len(self._streams) - 1

    def record(self, stream: int) -> int:
        self._events.append(self._streams[stream].record())
        return len(self._events) - 1

    def wait(self, stream: int, event: int) -> None:
        self._streams[stream].wait_event(self._events[event])


def _pointer(buffer: Buffer | None) -> np.uint64:
    return np.uint64(0 if buffer is None else buffer.owner.ptr + buffer.start)


def _memory(host: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(host.ctypes.data)
