"""Launches in terms of arrays: what every method of the backend is written with."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from proofcompute.backends.cuda.device import Argument, Buffer, Device
from proofcompute.kernels import Array

__all__ = ["THREADS", "Launcher", "i32", "i64"]

THREADS = 256
"""Threads of every block (``cuda/canonical.cuh``)."""

i32, i64 = np.int32, np.int64


@final
class Launcher:
    """Uploads, launches and downloads on one stream of a device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def put(self, host: Array) -> Buffer:
        """A C-contiguous copy of ``host`` on the device."""
        return self.device.upload(np.ascontiguousarray(host))

    def put_or_null(self, host: Array | None) -> Buffer | None:
        """The same, or a null pointer for None."""
        return None if host is None else self.put(host)

    def new(self, dtype: npt.DTypeLike, *shape: int) -> Buffer:
        """Room for an array, with undefined contents."""
        return self.device.allocate(np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)))

    def status(self) -> Buffer:
        """An int32 zero, in which a kernel sets bits."""
        return self.device.zeros(4)

    def get(self, buffer: Buffer, dtype: npt.DTypeLike, *shape: int) -> Any:
        """The array that a buffer holds."""
        host = np.empty(shape, dtype=dtype)
        self.device.download(buffer, host)
        return host

    def bits(self, status: Buffer) -> int:
        """What kernels have set in a status."""
        return int(self.get(status, i32, 1)[0])

    def over(self, kernel: str, count: int, *arguments: Argument) -> None:
        """A grid-stride kernel over ``count`` elements."""
        blocks = min(-(-count // THREADS), self.device.blocks)
        if blocks:
            self.device.launch(kernel, (blocks, 1, 1), THREADS, arguments)

    def blocks(self, kernel: str, grid: tuple[int, ...], *arguments: Argument) -> None:
        """A kernel on a grid of up to three dimensions; nothing where one of them is 0."""
        x, y, z = (*grid, 1, 1)[:3]
        if x and y and z:
            self.device.launch(kernel, (x, y, z), THREADS, arguments)
