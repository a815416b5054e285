"""What a CUDA device is to the backend: memory, copies, launches, streams and events, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from proofcompute.errors import InputError
from proofcompute.kernels import Array

__all__ = ["Argument", "Buffer", "Device"]


@dataclass(frozen=True, eq=False)
class Buffer:
    """A range of bytes of one allocation on a device."""

    owner: Any
    """The device's own handle of the allocation, which lives as long as a buffer refers to it."""
    start: int
    """Offset into the allocation, in bytes."""
    size: int
    """Length in bytes."""

    def part(self, start: int, size: int) -> Buffer:
        """Bytes start..start+size of this range. InputError if it has fewer."""
        if start < 0 or size < 0 or start + size > self.size:
            raise InputError(f"bytes {start}..{start + size} of a buffer of {self.size}")
        return Buffer(self.owner, self.start + start, size)


Argument = Buffer | np.generic | None
"""A kernel's argument: device memory, a NumPy scalar of exactly the parameter's type, or a null pointer."""


class Device(Protocol):
    """One device. Work on one stream runs in order; stream 0 always exists.

    Every method that names a stream only queues work, except ``download``, which waits for it.
    """

    name: str
    """For people."""
    capability: int
    """Compute capability times 10: 75 for sm_75, 90 for sm_90."""
    blocks: int
    """Blocks of a grid-stride launch that fill the device."""

    def allocate(self, size: int) -> Buffer:
        """Memory of ``size`` >= 0 bytes with undefined contents. DeviceError if there is not enough."""
        ...

    def zeros(self, size: int, stream: int = 0) -> Buffer:
        """Memory of ``size`` zero bytes."""
        ...

    def upload(self, host: Array, stream: int = 0) -> Buffer:
        """A copy of a C-contiguous array's bytes."""
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
        """Run a kernel of ``cuda/`` with one-dimensional blocks. DeviceError if it cannot run."""
        ...

    def stream(self) -> int:
        """A new stream."""
        ...

    def record(self, stream: int) -> int:
        """An event: the point that the stream's queue has reached."""
        ...

    def wait(self, stream: int, event: int) -> None:
        """What is queued on the stream from now on runs after the event."""
        ...
