"""Launches kernels on arrays that lie on the device: checks shapes, and returns new device arrays."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
from numba import cuda

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.numba_cuda import kernels
from proofcompute.arithmetic.backends.numba_cuda.kernels import BLOCKS, THREADS
from proofcompute.errors import DeviceError, InputError, LimitError, NonFiniteError
from proofcompute.freivalds.field import P31, P61, check_columns, not_canonical
from proofcompute.limits import MAX_WIDTH

__all__ = ["DeviceArrays"]

_GRID_Y: Final = 65535


@final
class DeviceArrays:
    """A part of :class:`proofcompute.arithmetic.kernels.Kernels` for arrays on the current CUDA device.

    Results are byte for byte those of the definition. Arguments have ``__cuda_array_interface__`` (CuPy,
    PyTorch, JAX, Numba) and are read where they lie; NumPy arrays are copied to the device. Results are Numba
    device arrays, which those libraries take without a copy; ``copy_to_host()`` gives NumPy.

    Raises InputError for wrong shapes or types, DeviceError without a device.
    """

    name = "numba-cuda"

    def __init__(self) -> None:
        if not cuda.is_available():
            raise DeviceError("Numba finds no CUDA driver or device; use --device cpu")
        self._compiled = {kernel.__name__: cuda.jit(kernel) for kernel in kernels.KERNELS}

    def _on(self, seen: Any, dimensions: int, *types: str) -> Any:
        """What :func:`_seen` returned, on the device and C-contiguous."""
        if seen.ndim != dimensions or seen.dtype.name not in types:
            wanted = f"{' or '.join(types)} in {dimensions} dimensions"
            raise InputError(f"expected {wanted}, not {seen.dtype} {list(seen.shape)}")
        if not hasattr(seen, "__cuda_array_interface__"):
            return cuda.to_device(np.ascontiguousarray(seen))
        if not seen.is_c_contiguous():
            raise InputError("an array on the device must be C-contiguous")
        return seen

    def _over(self, kernel: str, count: int, *arguments: Any) -> None:
        """Launch a grid-stride kernel over ``count`` elements."""
        if count:
            self._compiled[kernel][min(-(-count // THREADS), BLOCKS), THREADS](*arguments)

    def _elementwise(self, kernel: str, *inputs: Any) -> Any:
        seen = [_seen(x) for x in inputs]
        for x in seen[1:]:
            contracts.add(seen[0], x)
        arrays = [self._on(x, 2, "float32") for x in seen]
        shape = arrays[0].shape
        out = cuda.device_array(shape, np.float32)
        self._over(kernel, out.size, *(x.reshape(out.size) for x in arrays), out.reshape(out.size))
        return out

    # -- elementwise -----------------------------------------------------------------------------------------
    def embed(self, q: Any, s: Any) -> Any:
        q, s = _seen(q), _seen(s)
        contracts.embed(q, s)
        q, s = self._on(q, 2, "int8"), self._on(s, 1, "float32")
        out = cuda.device_array(q.shape, np.float32)
        self._over("embed", out.size, q, s, out)
        return out

    def gate(self, x: Any) -> Any:
        x = _seen(x)
        shape = contracts.gate(x)
        x, out = self._on(x, 2, "float32"), cuda.device_array(shape, np.float32)
        self._over("gate", out.size, x, out)
        return out

    def gelu(self, x: Any) -> Any:
        return self._elementwise("gelu", x)

    def relu(self, x: Any) -> Any:
        return self._elementwise("relu", x)

    def add(self, x: Any, y: Any) -> Any:
        return self._elementwise("add", x, y)

    def settle(self, x: Any) -> Any:
        x, status = self._on(_seen(x), 2, "float32"), cuda.to_device(np.zeros(1, dtype=np.int32))
        out = cuda.device_array(x.shape, np.float32)
        self._over("settle", out.size, x.reshape(out.size), out.reshape(out.size), status)
        if status.copy_to_host()[0]:
            raise NonFiniteError("a committed value must be finite")
        return out

    def rms_norm(self, x: Any, w: Any, eps: np.float32) -> Any:
        x, w = _seen(x), _seen(w)
        n, d = contracts.rms_norm(x, w)
        x, w = self._on(x, 2, "float32"), self._on(w, 1, "float32")
        if d > MAX_WIDTH:
            raise LimitError(f"a row of {d} elements; at most {MAX_WIDTH}")
        out = cuda.device_array((n, d), np.float32)
        if n:
            level = cuda.device_array((n, 1 << max(0, d - 1).bit_length()), np.float32)
            self._compiled["rms_norm"][n, THREADS](x, w, np.float32(eps), level, out)
        return out

    # -- Freivalds -------------------------------------------------------------------------------------------
    def project(self, y: Any, s: Any) -> Any:
        """Return proofcompute.freivalds.field.project31. The columns must be canonical residues."""
        return self._project("project31", y, s, P31)

    def project61(self, y: Any, s: Any) -> Any:
        """Return proofcompute.freivalds.field.project61. The columns must be canonical residues."""
        return self._project("project61", y, s, P61)

    def _project(self, kernel: str, y: Any, s: Any, p: int) -> Any:
        y, s = self._both(y, s, 1, p)
        out = cuda.device_array((y.shape[0], s.shape[0]), s.dtype)
        if out.size:
            self._compiled[kernel][(y.shape[0], s.shape[0]), THREADS](y, s, out)
        return out

    def fold(self, w: Any, s: Any) -> Any:
        """Return proofcompute.freivalds.field.fold31 of int8 weights. Columns must be canonical residues."""
        w, s = self._both(w, s, 0, P31)
        return self._fold("fold31", self._on(w, 2, "int8"), s)

    def fold61(self, w: Any, s: Any) -> Any:
        """Return proofcompute.freivalds.field.fold61. The columns must be canonical residues."""
        return self._fold("fold61", *self._both(w, s, 0, P61))

    def _fold(self, kernel: str, w: Any, s: Any) -> Any:
        out = cuda.device_array((s.shape[0], w.shape[1]), s.dtype)
        self._over(kernel, out.size, w, s, out)
        return out

    def _both(self, y: Any, s: Any, axis: int, p: int) -> tuple[Any, Any]:
        """A matrix of integers, and columns [k, terms] for an axis of it, on the device."""
        y, s = _seen(y), _seen(s)
        check_columns(y, s, axis, p)
        if isinstance(s, np.ndarray) and s.size and int(s.max()) >= p:
            raise not_canonical()
        if s.shape[0] > _GRID_Y or s.shape[1] > MAX_WIDTH:
            raise LimitError(f"columns {list(s.shape)}; at most {_GRID_Y} of {MAX_WIDTH}")
        return self._on(y, 2, y.dtype.name), self._on(s, 2, s.dtype.name)


def _seen(array: Any) -> Any:
    """``array`` as Numba sees it where it lies on the device; another one as it is."""
    return cuda.as_cuda_array(array) if hasattr(array, "__cuda_array_interface__") else array
