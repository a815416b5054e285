"""Queues launches and copies in terms of arrays; every method of the backend is written with it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position
from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Device, Window
from proofcompute.arithmetic.backends.cuda.faults import Faults, Kind
from proofcompute.arithmetic.backends.cuda.moves import MOST, Move, conflict, launch_arguments
from proofcompute.arrays import Array
from proofcompute.errors import DeviceError, DeviceMemoryError, InputError

__all__ = ["THREADS", "Given", "Launcher", "i32", "i64"]

THREADS: Final = 256
"""Threads of a block, except in kernels that hash rows (``cuda/canonical.cuh``)."""
HASHERS: Final = 64
"""Threads of a block that hashes rows (``cuda/message.cuh``)."""

i32, i64 = np.int32, np.int64

Given: TypeAlias = Any
"""An array on this device, or a NumPy array, which is uploaded."""

_CONSTANTS: Final = 256


@dataclass(eq=False)
class Capture:
    """A capture: what is queued becomes a graph."""

    graph: Any = None
    """The device's graph, at the end."""
    uses: dict[int, Buffer] = field(default_factory=dict)
    """A buffer of each allocation from outside that the graph touches."""
    made: set[int] = field(default_factory=set)
    """The graph's own allocations, which the device keeps for it."""


@final
class Launcher:
    """Uploads, launches and downloads on a device's main stream, or on its side stream."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._moves: list[Move] = []
        self.operation = "status words"
        self._stream = 0
        self._beside: int | None = None
        self._unjoined: Any = None
        self._lent: list[Buffer] = []
        self._lending: deque[tuple[Any, list[Buffer]]] = deque()
        """Memory of the main stream that side work uses, with the event behind that work."""
        self._capture: Capture | None = None
        self._constants: OrderedDict[bytes, Buffer] = OrderedDict()
        self.faults = Faults(self)
        self.operation = ""

    @property
    def device(self) -> Device:
        """The device, once everything asked for so far has been queued on it."""
        self._make_moves()
        return self._device

    # -- memory --------------------------------------------------------------------------------------
    def allocate(self, size: int) -> Buffer:
        """Allocate memory with undefined contents. Raises DeviceMemoryError, which says what it was for."""
        try:
            buffer = self._device.allocate(size, self._stream)
        except DeviceMemoryError as error:
            raise self._no_room(size, error) from error
        if self._capture is not None:
            self._capture.made.add(id(buffer.owner))
        return buffer

    def _no_room(self, size: int, error: DeviceMemoryError) -> DeviceMemoryError:
        what = self.operation or "an array"
        return DeviceMemoryError(
            f"{self.device.name}: no room for {size:,} bytes for {what}: {error}. Serve fewer requests at a "
            "time or shorter ones, take a model with fewer bits, spread it over more devices, or use "
            "--device cpu"
        )

    def new(self, dtype: npt.DTypeLike, *shape: int) -> DeviceArray:
        """Return an array with undefined contents."""
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        return DeviceArray(self, self.allocate(size), dtype, shape)

    def zeros(self, dtype: npt.DTypeLike, *shape: int) -> DeviceArray:
        """Return an array of zeros."""
        out = self.new(dtype, *shape)
        self.device.clear(out.buffer, self._stream)
        return out

    def array(self, x: Given) -> DeviceArray:
        """Return ``x`` on this device: itself, a NumPy array's copy, or another library's memory."""
        if isinstance(x, DeviceArray):
            return x if x.on is self else self._moved(x)
        if isinstance(x, np.ndarray):
            host = np.ascontiguousarray(x)
            out = self.new(host.dtype, *x.shape)
            self.device.write(out.buffer, host, self._stream)
            return out
        buffer, dtype, shape = self.device.adopt(x, self._stream)
        return DeviceArray(self, buffer, dtype, shape)

    def _moved(self, x: DeviceArray) -> DeviceArray:
        out = self.new(x.dtype, *x.shape)
        self.device.receive(x.buffer, x.on.device, out.buffer)
        return out

    def exported(self, x: DeviceArray) -> Any:
        """Return ``x`` as an array of the device's library, on the same memory."""
        self.faults.look()
        self._use(x.buffer)
        return self.device.export(x.buffer, x.dtype, x.shape)

    def constant(self, host: Array) -> Buffer:
        """Return a small array that is uploaded once; the least recently used ones are forgotten."""
        key = host.tobytes()
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = self.array(host).buffer
            if len(self._constants) > _CONSTANTS:
                self._constants.popitem(last=False)
        self._constants.move_to_end(key)
        return found

    def write(self, buffer: Buffer, host: Array) -> None:
        """Fill a buffer from the host."""
        self._use(buffer)
        self.device.write(buffer, host, self._stream)

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy bytes on the device."""
        if source.size:
            self._use(source)
            self._use(target)
            self.device.copy(source, target, self._stream)

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
        width = source.row_bytes
        self.columns(source.buffer, width, target.buffer, width, rows, width, from_row, to_row)

    def columns(
        self,
        source: Buffer,
        pitch: int,
        target: Buffer,
        to_pitch: int,
        rows: int,
        width: int,
        from_row: Position | None = None,
        to_row: Position | None = None,
    ) -> None:
        """Copy ``width`` bytes of each row; rows are ``pitch`` and ``to_pitch`` bytes apart."""
        a = None if from_row is None else from_row.word
        b = None if to_row is None else to_row.word
        move = Move(source, pitch, a, target, to_pitch, b, rows, width)
        if not move.units:
            return
        if len(self._moves) == MOST or any(conflict(move, other) for other in self._moves):
            self._make_moves()
        for buffer in (source, target, a, b):
            if buffer is not None:
                self._use(buffer)
        self._moves.append(move)

    def _make_moves(self) -> None:
        if self._moves:
            moves, self._moves = self._moves, []
            blocks = min(-(-max(m.units for m in moves) // THREADS), self._device.blocks)
            grid = (blocks, len(moves), 1)
            self._device.launch("move_rows", grid, THREADS, launch_arguments(moves), self._stream)

    # -- what crosses to the host --------------------------------------------------------------------
    def fetch(self, x: DeviceArray) -> Array:
        """Return the values of an array. Raises the error of a check that failed so far."""
        self.faults.look()
        return self.read(x)

    def read(self, x: DeviceArray) -> Array:
        """Return the values of an array, whatever checks are pending."""
        host = np.empty(x.shape, dtype=x.dtype)
        self._use(x.buffer)
        self.device.download(x.buffer, host, self._stream)
        return host

    def fault(self, *kinds: Kind) -> Buffer:
        """Return the status word of a new check of the operation that runs now."""
        return self.faults.word(self.operation, kinds)

    # -- launches ------------------------------------------------------------------------------------
    def over(self, kernel: str, count: int, *arguments: Argument | DeviceArray) -> None:
        """Launch a grid-stride kernel over ``count`` elements, or over as many as it finds, up to that."""
        self.blocks(kernel, (min(-(-count // THREADS), self._device.blocks),), *arguments)

    def few(self, kernel: str, count: int, groups: int, *arguments: Argument | DeviceArray) -> None:
        """Launch a grid-stride kernel over ``count`` elements of each group, in blocks of few threads."""
        blocks = min(-(-count // HASHERS), self._device.blocks * THREADS // HASHERS)
        self.blocks(kernel, (blocks, groups), *arguments, threads=HASHERS)

    def blocks(
        self, kernel: str, grid: tuple[int, ...], *arguments: Argument | DeviceArray, threads: int = THREADS
    ) -> None:
        """Launch a kernel on a grid of up to three dimensions; do nothing if one of them is 0."""
        x, y, z = (*grid, 1, 1)[:3]
        if not (x and y and z):
            return
        plain: list[Argument] = []
        for argument in arguments:
            if isinstance(argument, DeviceArray):
                if argument.on is not self:
                    raise InputError(f"{kernel}: an array of {argument.on.device.name} is not on this device")
                argument = argument.buffer
            if argument is not None and not isinstance(argument, np.generic):
                self._use(argument.base if isinstance(argument, Window) else argument)
            plain.append(argument)
        try:
            self.device.launch(kernel, (x, y, z), threads, plain, self._stream)
        except DeviceError as error:
            raise type(error)(f"{self.operation or 'outside a step'}: {error}") from error

    def gemm(self, q: Buffer, ldq: int, w: Buffer, ldw: int, n: int, m: int, d: int, acc: Buffer) -> None:
        """Queue the library's int8 product (:class:`Device`)."""
        for buffer in (q, w, acc):
            self._use(buffer)
        self.device.gemm(q, ldq, w, ldw, (n, m, d), acc, self._stream)

    # -- streams -------------------------------------------------------------------------------------
    def _use(self, buffer: Buffer) -> None:
        if self._capture is not None and id(buffer.owner) not in self._capture.made:
            self._capture.uses.setdefault(id(buffer.owner), buffer)
        if buffer.stream == self._stream:
            return
        if self._stream == 0:
            self.join()
        else:
            self._lent.append(buffer)  # must not be reused before the side work is done

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        """Queue what is asked for inside on the side stream, behind the main stream's work so far."""
        device = self.device
        if self._beside is None:
            self._beside = device.stream()
        if self._stream:
            raise DeviceError("work beside the main stream has no work beside it")
        while self._lending and device.done(self._lending[0][0]):
            self._lending.popleft()
        device.wait(self._beside, device.record(0))
        self._stream = self._beside
        try:
            yield
        finally:
            self._make_moves()
            self._stream = 0
            self._unjoined = device.record(self._beside)
            self._lending.append((self._unjoined, self._lent))
            self._lent = []

    @property
    def capturing(self) -> bool:
        """Return whether what is queued becomes a graph."""
        return self._capture is not None

    @contextmanager
    def capture(self) -> Iterator[Capture]:
        """Make a graph of what is queued inside; nothing runs.

        An error inside is raised unchanged and leaves the device as it was: what was queued is forgotten.
        """
        self.device.begin()
        capture = self._capture = Capture()
        try:
            yield capture
            capture.graph = self.device.end()
        finally:
            self._capture = None
            if capture.graph is None:
                self._moves.clear()
                self.faults.take()
                self._device.abandon()

    def join(self) -> None:
        """Let the main stream's later work run behind all side work."""
        if self._capture is not None:
            raise DeviceError("a captured step uses what is made beside it")
        if self._unjoined is not None:
            self.device.wait(0, self._unjoined)
            self._unjoined = None
            self._lending.clear()
