"""The int8 product of cuBLAS, through CuPy: what ours is compared with."""

from __future__ import annotations

import importlib
from typing import Any, Final, final

import numpy as np

__all__ = ["Cublas"]

_N, _T = 0, 1
"""CUBLAS_OP_N and CUBLAS_OP_T (cublas_api.h)."""
_R_8I, _R_32I = 3, 10
"""CUDA_R_8I and CUDA_R_32I (library_types.h)."""
_COMPUTE_32I: Final = 72
_DEFAULT: Final = -1


@final
class Cublas:
    """q [n, d] times the rows of w [m, d], int8, into acc [n, m] int32; ImportError without cuBLAS."""

    def __init__(self, cupy: Any = None) -> None:
        self._cupy = importlib.import_module("cupy") if cupy is None else cupy
        self._cublas = self._cupy.cuda.cublas
        self._handle = self._cupy.cuda.device.get_cublas_handle()
        self._one, self._zero = np.array([1], np.int32), np.array([0], np.int32)

    def product(self, q: Any, w: Any, acc: Any) -> None:
        """Queue the product of CuPy arrays. In cuBLAS's columns a row-major matrix is its transpose."""
        (n, d), m = q.shape, w.shape[0]
        self._cublas.gemmEx(
            self._handle,
            _T,
            _N,
            m,
            n,
            d,
            self._one.ctypes.data,
            w.data.ptr,
            _R_8I,
            d,
            q.data.ptr,
            _R_8I,
            d,
            self._zero.ctypes.data,
            acc.data.ptr,
            _R_32I,
            m,
            _COMPUTE_32I,
            _DEFAULT,
        )

    def arrays(self, *hosts: Any) -> list[Any]:
        """NumPy arrays on the device."""
        return [self._cupy.asarray(host) for host in hosts]

    def host(self, x: Any) -> Any:
        """A CuPy array as a NumPy array; waits for it."""
        return self._cupy.asnumpy(x)

    def wait(self) -> None:
        """Until what was queued is done."""
        self._cupy.cuda.get_current_stream().synchronize()
