"""As much of CuPy as :class:`CupyDevice` uses, in host memory, with the rig's kernels: tests its Python.

Work runs when it is queued, or, while a stream is captured, when the graph is launched. Names and arguments
are CuPy's own; ``test_cupy_device`` compares them with the real package where that is installed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from cuda_rig.build import build
from cuda_rig.device import _library

__all__ = ["fake_cupy"]

Work = Callable[[], object]


class CUDARuntimeError(RuntimeError):
    """CuPy's."""


class CUDADriverError(RuntimeError):
    """CuPy's."""


class OutOfMemoryError(MemoryError):
    """CuPy's."""


class Stream:
    """A stream; only the one that is captured keeps its work."""

    current: ClassVar[list[Stream]] = []
    capturing: ClassVar[list[Work] | None] = None

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        assert non_blocking or null
        self.ptr = id(self)

    def __enter__(self) -> Stream:
        Stream.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Stream.current.pop()

    def synchronize(self) -> None:
        assert Stream.capturing is None

    def record(self, event: object = None) -> object:
        return SimpleNamespace(stream=self, done=True)

    def wait_event(self, event: Any) -> None:
        assert isinstance(event.stream, Stream)

    def begin_capture(self, mode: object = None) -> None:
        assert Stream.capturing is None
        Stream.capturing = []

    def end_capture(self) -> Graph:
        work, Stream.capturing = Stream.capturing, None
        assert work is not None
        return Graph(work)


class Graph:
    """What was captured."""

    def __init__(self, work: list[Work]) -> None:
        self._work = work

    def launch(self, stream: Stream) -> None:
        for work in self._work:
            work()


def _queue(work: Work) -> None:
    if Stream.capturing is None:
        work()
    else:
        Stream.capturing.append(work)


class MemoryPointer:
    """An address that keeps its memory."""

    def __init__(self, mem: Any, offset: int) -> None:
        self.mem = mem
        self.ptr = int(mem.ctypes.data) + offset
        self._offset = offset

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self._offset + offset)

    def _move(self, to: int, source: int, size: int) -> None:
        _queue(lambda: ctypes.memmove(to, source, size))

    def memset_async(self, value: int, size: int, stream: Stream | None = None) -> None:
        _queue(lambda: ctypes.memset(self.ptr, value, size))

    def copy_from_host_async(self, mem: ctypes.c_void_p, size: int, stream: Stream | None = None) -> None:
        self._move(self.ptr, mem.value or 0, size)

    def copy_to_host_async(self, mem: ctypes.c_void_p, size: int, stream: Stream | None = None) -> None:
        self._move(mem.value or 0, self.ptr, size)

    def copy_from_device_async(self, src: MemoryPointer, size: int, stream: Stream | None = None) -> None:
        self._move(self.ptr, src.ptr, size)


class MemoryPool:
    """Memory, aligned as the device's is; ``limit`` bytes at most in one piece. It stays the pool's."""

    limit = 1 << 34

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def malloc(self, size: int) -> MemoryPointer:
        if size > self.limit:
            raise OutOfMemoryError(f"{size} bytes")
        memory = np.full(16 * (size // 16 + 1), 0xA5, dtype=np.uint8)
        self._kept.append(memory)  # a graph goes on using what was freed while it was made
        return MemoryPointer(memory, 0)


class Function:
    """A kernel of the rig."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        assert Stream.current, "a launch on no stream of the backend's"
        assert all(isinstance(a, np.generic) for a in args)
        values = [np.array([a]) for a in args]

        def work() -> None:
            pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
            shape = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
            wrong = _library(build()).rig_launch(self._name.encode(), *shape, pointers, 0)
            assert not wrong, wrong

        _queue(work)


class Module:
    """Loads a cubin that is its file's name."""

    refused = False

    def load(self, cubin: bytes) -> None:
        if Module.refused:
            raise CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU")
        assert isinstance(cubin, bytes)

    def get_function(self, name: str) -> Function:
        return Function(name)


def _ndarray(shape: tuple[int, ...], dtype: Any, memptr: MemoryPointer) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return memptr.mem[memptr._offset : memptr._offset + size].view(dtype).reshape(shape)


def _gemm(handle: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, *rest: int) -> None:
    """cublasGemmEx of int8 with int32 sums: column-major, the first factor transposed."""
    a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algorithm = rest
    assert (handle, ta, tb, a_type, b_type, c_type, compute, algorithm) == (7, 1, 0, 3, 3, 10, 72, -1)
    assert (ctypes.c_int32.from_address(alpha).value, ctypes.c_int32.from_address(beta).value) == (1, 0)

    def matrix(address: int, rows: int, columns: int, lead: int, kind: Any) -> Any:
        flat = np.ctypeslib.as_array((kind * (lead * (columns - 1) + rows)).from_address(address))
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, lead * flat.itemsize))

    def work() -> None:
        left = matrix(a, k, m, lda, ctypes.c_int8).T.astype(np.int32)
        matrix(c, m, n, ldc, ctypes.c_int32)[...] = left @ matrix(b, k, n, ldb, ctypes.c_int8).astype(
            np.int32
        )

    assert Stream.current
    _queue(work)


class Event:
    """A point in time."""

    def record(self, stream: Stream | None = None) -> None:
        assert stream is not None

    def synchronize(self) -> None:
        assert Stream.capturing is None


class Device:
    """A device."""

    def __init__(self, device: int | None = None) -> None:
        self.id = device or 0

    def use(self) -> None:
        """Nothing to do for one device."""


def fake_cupy(major: int = 9, minor: int = 0, devices: int = 1) -> Any:
    """A module in place of ``cupy``."""
    pool = MemoryPool()
    properties = {"name": b"fake", "major": major, "minor": minor, "multiProcessorCount": 2}
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: 13000,
        getDeviceCount=lambda: devices,
        getDeviceProperties=lambda ordinal: properties,
        memGetInfo=lambda: (1 << 20, 1 << 30),
        memcpyPeerAsync=lambda *a: None,
        streamCaptureModeRelaxed=2,
    )
    outside = Stream(null=True)
    cuda = SimpleNamespace(
        Device=Device,
        Event=Event,
        MemoryPool=MemoryPool,
        Stream=Stream,
        cublas=SimpleNamespace(
            CUBLAS_COMPUTE_32I=72, CUBLAS_GEMM_DEFAULT=-1, CUBLAS_OP_N=0, CUBLAS_OP_T=1, gemmEx=_gemm
        ),
        device=SimpleNamespace(get_cublas_handle=lambda: 7),
        driver=SimpleNamespace(CUDADriverError=CUDADriverError),
        function=SimpleNamespace(Function=Function, Module=Module),
        get_elapsed_time=lambda start, end: 1.0,
        get_current_stream=lambda: Stream.current[-1] if Stream.current else outside,
        memory=SimpleNamespace(MemoryPointer=MemoryPointer, OutOfMemoryError=OutOfMemoryError),
        runtime=runtime,
    )
    return SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool, ndarray=_ndarray)
