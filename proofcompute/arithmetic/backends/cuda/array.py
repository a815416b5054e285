"""Defines arrays on a device, and row numbers that the device reads from its memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Device
from proofcompute.arrays import Array
from proofcompute.errors import InputError

__all__ = ["DeviceArray", "Position", "Queue", "side_by_side"]


@final
class Position(int):
    """A row number for the host's bookkeeping; launches read it from device memory.

    So a captured launch can be repeated for another row: the host uses this only for sizes, as upper bounds.
    """

    word: Buffer
    """The row number as int64."""
    limit: int
    """Exclusive upper bound of the row numbers that the word holds while the launch is kept."""

    def __new__(cls, value: int, word: Buffer, limit: int) -> Position:
        self = super().__new__(cls, value)
        self.word, self.limit = word, limit
        return self


class Queue(Protocol):
    """The part of a launcher that arrays and status words on its device use."""

    @property
    def device(self) -> Device:
        """The device, once everything asked for so far has been queued on it."""
        ...

    def new(self, dtype: npt.DTypeLike, *shape: int) -> DeviceArray:
        """Return an array with undefined contents."""
        ...

    def zeros(self, dtype: npt.DTypeLike, *shape: int) -> DeviceArray:
        """Return an array of zeros."""
        ...

    def array(self, x: Any) -> DeviceArray:
        """Return ``x`` on this device."""
        ...

    def write(self, buffer: Buffer, host: Array) -> None:
        """Fill a buffer from the host."""
        ...

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy bytes on the device."""
        ...

    def columns(
        self, source: Buffer, pitch: int, target: Buffer, to_pitch: int, rows: int, width: int
    ) -> None:
        """Copy ``width`` bytes of each row; rows are ``pitch`` and ``to_pitch`` bytes apart."""
        ...

    def move(
        self,
        source: DeviceArray,
        target: DeviceArray,
        rows: int,
        *,
        from_row: Position | None = None,
        to_row: Position | None = None,
    ) -> None:
        """Copy whole rows from or to a row that device memory names."""
        ...

    def blocks(self, kernel: str, grid: tuple[int, ...], *arguments: Argument | DeviceArray) -> None:
        """Launch a kernel on a grid."""
        ...

    def fetch(self, x: DeviceArray) -> Array:
        """Return the values of an array. Raises the error of a check that failed so far."""
        ...

    def exported(self, x: DeviceArray) -> Any:
        """Return ``x`` as an array of the device's library, on the same memory."""
        ...


@final
class DeviceArray:
    """A C-contiguous array in a device's memory (:mod:`proofcompute.arithmetic.kernels` lists its uses).

    Leading rows from a :class:`Position` on are copied out or in by a kernel; other slices share memory.
    """

    __slots__ = ("__weakref__", "buffer", "dtype", "on", "shape")

    def __init__(self, on: Queue, buffer: Buffer, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self.on = on
        self.buffer = buffer
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape = shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def _range(self, key: slice) -> tuple[int, int]:
        if key.step is not None or not self.shape:
            raise InputError("an array on a device is sliced by consecutive leading rows")
        start, stop, _ = slice(
            None if key.start is None else int(key.start), None if key.stop is None else int(key.stop)
        ).indices(self.shape[0])
        return start, max(start, stop)

    def __getitem__(self, key: int | slice) -> DeviceArray:
        if not isinstance(key, slice):
            row = range(self.shape[0])[key]  # IndexError ends an iteration
            return self[row : row + 1].reshape(*self.shape[1:])
        if isinstance(key.start, Position):
            rows = int(key.stop) - int(key.start)
            out = self.on.new(self.dtype, rows, *self.shape[1:])
            self.on.move(self, out, rows, from_row=key.start)
            return out
        if isinstance(key.stop, Position):
            key = slice(key.start, key.stop.limit)
        start, stop = self._range(key)
        part = self.buffer.part(start * self.row_bytes, (stop - start) * self.row_bytes)
        return DeviceArray(self.on, part, self.dtype, (stop - start, *self.shape[1:]))

    def __setitem__(self, key: int | slice | EllipsisType, rows: Any) -> None:
        if isinstance(key, slice) and isinstance(key.start, Position):
            count = int(key.stop) - int(key.start)
            source = self.on.array(rows)
            if source.shape != (count, *self.shape[1:]) or source.dtype != self.dtype:
                raise InputError(f"{source.dtype} {list(source.shape)} does not fill {count} rows")
            self.on.move(source, self, count, to_row=key.start)
            return
        if isinstance(key, EllipsisType):
            target = self
        else:
            target = self[key if isinstance(key, slice) else slice(key, key + 1)]
        if isinstance(rows, DeviceArray):
            if (rows.size, rows.dtype) != (target.size, self.dtype):
                raise InputError(f"{rows.dtype} {list(rows.shape)} does not fill {list(target.shape)}")
            self.on.copy(rows.buffer, target.buffer)
        else:
            host = np.empty(target.shape, self.dtype)
            host[...] = rows
            self.on.write(target.buffer, host)

    def reshape(self, *shape: int | tuple[int, ...]) -> DeviceArray:
        """Return the same memory under another shape; one length may be -1."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        known = tuple(int(n) for n in sizes)  # type: ignore[arg-type]
        if -1 in known:
            rest = math.prod(n for n in known if n != -1)
            known = tuple(self.size // max(rest, 1) if n == -1 else n for n in known)
        if math.prod(known) != self.size:
            raise InputError(f"{list(self.shape)} cannot be shaped {list(known)}")
        return DeviceArray(self.on, self.buffer, self.dtype, known)

    def view(self, dtype: npt.DTypeLike) -> DeviceArray:
        """Return the same memory as elements of another type; the last length changes with their size."""
        size = np.dtype(dtype).itemsize
        last = self.shape[-1] * self.itemsize
        if last % size:
            raise InputError(f"{last} bytes are not whole elements of {size}")
        return DeviceArray(self.on, self.buffer, dtype, (*self.shape[:-1], last // size))

    def copy(self) -> DeviceArray:
        """Return a copy in memory of its own."""
        out = self.on.new(self.dtype, *self.shape)
        self.on.copy(self.buffer, out.buffer)
        return out

    def tobytes(self) -> bytes:
        """Return the bytes, on the host."""
        return self.host().tobytes()

    def host(self) -> Array:
        """Return the values, on the host; raises the error of a check that failed so far."""
        return self.on.fetch(self)

    # -- exchange with other libraries -----------------------------------------------------------------
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.on.exported(self).__cuda_array_interface__)

    def __dlpack__(self, **options: Any) -> Any:
        return self.on.exported(self).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self.on.exported(self).__dlpack_device__()
        return int(kind), int(number)


def side_by_side(on: Queue, parts: Sequence[DeviceArray]) -> DeviceArray:
    """Return the bytes of all parts' rows side by side, uint8 [n, width]."""
    n, width, at = len(parts[0]), sum(part.row_bytes for part in parts), 0
    out = on.new(np.uint8, n, width)
    for part in parts:
        if n:
            target = out.buffer.part(at, out.nbytes - at)
            on.columns(part.buffer, part.row_bytes, target, width, n, part.row_bytes)
        at += part.row_bytes
    return out
