"""Computes int8 products with cuBLASLt, NVIDIA's library, through ctypes.

The interface is that of ``cublasLt.h`` and of NVIDIA's cuBLAS documentation (``cublasLtMatmul``). Every call
names its stream and its workspace, so it allocates and synchronises nothing, and a product can be part of a
captured graph; CuPy's wrapper of cuBLAS refuses that.

The library's matrices are column-major: rows of the result are columns of w^T times columns of q. For
ordinary matrices CUBLAS_COMPUTE_32I takes the layout "TN": the first factor transposed, the second not,
addresses and leading dimensions multiples of 4, and therefore the rows of w and the contraction too. The
number of rows of q is free. The library chooses the algorithm; sums of integers do not depend on it.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, final

from proofcompute.arithmetic.backends.cuda.libraries import candidates
from proofcompute.errors import DeviceError
from proofcompute.limits import MIB

__all__ = ["UNIT", "WORKSPACE", "CublasLt", "Product", "find_cublaslt", "version"]

UNIT: Final = 4
"""Addresses, leading dimensions, output channels and contractions must be multiples of it."""
WORKSPACE: Final = 32 * MIB
"""Bytes of scratch memory that a product may use."""

_INT8, _INT32 = 3, 10
"""CUDA_R_8I and CUDA_R_32I of CUDA's library_types.h."""
_COMPUTE_INT32: Final = 72
"""CUBLAS_COMPUTE_32I."""
_TRANSPOSE_A, _TRANSPOSE_B = 3, 4
"""CUBLASLT_MATMUL_DESC_TRANSA and _TRANSB."""
_MOST_WORKSPACE: Final = 1
"""CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES."""
_ALIGNMENTS: Final = (5, 6, 7, 8)
"""CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES to _D_BYTES."""
_BEST_ALIGNED: Final = 256
_PLANS: Final = 1024
"""Most plans that are kept."""

_pointer, _status = ctypes.c_void_p, ctypes.c_int
_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "cublasLtCreate": (_pointer,),
    "cublasLtMatmulDescCreate": (_pointer, ctypes.c_int, ctypes.c_int),
    "cublasLtMatmulDescDestroy": (_pointer,),
    "cublasLtMatmulDescSetAttribute": (_pointer, ctypes.c_int, _pointer, ctypes.c_size_t),
    "cublasLtMatrixLayoutCreate": (_pointer, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutDestroy": (_pointer,),
    "cublasLtMatmulPreferenceCreate": (_pointer,),
    "cublasLtMatmulPreferenceDestroy": (_pointer,),
    "cublasLtMatmulPreferenceSetAttribute": (_pointer, ctypes.c_int, _pointer, ctypes.c_size_t),
    "cublasLtMatmulAlgoGetHeuristic": (*[_pointer] * 7, ctypes.c_int, _pointer, _pointer),
    "cublasLtMatmul": (*[_pointer] * 14, ctypes.c_size_t, _pointer),
}
"""Argument types of the functions that are called; all return a status."""


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


class Product(NamedTuple):
    """A product of int8 rows q [n, d] and rows w [m, d] to int32 acc [n, m]: addresses, and ld in bytes."""

    q: int
    ldq: int
    w: int
    ldw: int
    shape: tuple[int, int, int]
    acc: int

    def fits(self) -> bool:
        """Return whether the library takes such a product at all."""
        (_, m, d), numbers = self.shape, (self.q, self.ldq, self.w, self.ldw, self.acc)
        return not any(x % UNIT for x in (m, d, *numbers))


@dataclass(frozen=True)
class _Plan:
    """How products of one kind are computed."""

    layouts: tuple[int, int, int]
    """Handles for the transposed factor, the other factor and the result."""
    chosen: _Heuristic


@cache
def version(library: Any) -> str:
    """The name and version, to be shown."""
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    number = int(library.cublasLtGetVersion())
    return f"cuBLASLt {number // 10_000}.{number // 100 % 100}"


def find_cublaslt(driver: int | None = None, load: Callable[[str], Any] = ctypes.CDLL) -> Any:
    """Return the newest library for a driver of major version ``driver`` (any, if None).

    A driver runs libraries of its own major version of CUDA and of older ones. Raises DeviceError if there
    is none.
    """
    found: dict[int, Any] = {}
    for path in candidates("cublasLt"):
        major = path.rpartition(".")[2]
        if not major.isdecimal() or (driver is not None and int(major) > driver) or int(major) in found:
            continue
        try:
            library = load(path)
            for name, arguments in _PROTOTYPES.items():
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, _status
        except (OSError, AttributeError):  # not there, or without one of the functions
            continue
        found[int(major)] = library
    if not found:
        which = "" if driver is None else f" for CUDA {driver} or older"
        raise DeviceError(
            f"no libcublasLt{which}; install the driver's extra, proofcompute[cuda12] or proofcompute[cuda13]"
        )
    return found[max(found)]


@final
class CublasLt:
    """The library on the current device. Raises DeviceError if it does not start."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.name = version(library)
        self._handle = self._new("cublasLtCreate")
        self._operation = self._new("cublasLtMatmulDescCreate", _COMPUTE_INT32, _INT32)
        for attribute, value in ((_TRANSPOSE_A, 1), (_TRANSPOSE_B, 0)):
            self._set("cublasLtMatmulDescSetAttribute", self._operation, attribute, ctypes.c_int32(value))
        self._one, self._zero = ctypes.c_int32(1), ctypes.c_int32(0)
        self._plans: OrderedDict[tuple[int, ...], _Plan] = OrderedDict()

    def run(self, product: Product, workspace: int, size: int, stream: int) -> None:
        """Queue a product on a stream, with ``size`` bytes of scratch memory that nothing else uses.

        Raises DeviceError if the library does not take the product, or has no algorithm for it.
        """
        if not product.fits():
            raise DeviceError(f"cuBLASLt does not take {product}")
        plan = self._plan(product, size)
        a, b, c = plan.layouts
        self._call(
            "cublasLtMatmul",
            self._handle,
            self._operation,
            ctypes.addressof(self._one),
            product.w,
            a,
            product.q,
            b,
            ctypes.addressof(self._zero),
            product.acc,
            c,
            product.acc,
            c,
            ctypes.addressof(plan.chosen),
            workspace,
            size,
            stream,
        )

    def _plan(self, product: Product, size: int) -> _Plan:
        aligned = tuple(
            min(_BEST_ALIGNED, x & -x if x else _BEST_ALIGNED) for x in (product.w, product.q, product.acc)
        )
        key = (*product.shape, product.ldq, product.ldw, size, *aligned)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._new_plan(product, size, aligned)
            if len(self._plans) > _PLANS:
                _, old = self._plans.popitem(last=False)
                self._forget(old.layouts)
        self._plans.move_to_end(key)
        return plan

    def _new_plan(self, product: Product, size: int, aligned: tuple[int, ...]) -> _Plan:
        n, m, d = product.shape
        layouts = (
            self._new("cublasLtMatrixLayoutCreate", _INT8, d, m, product.ldw),
            self._new("cublasLtMatrixLayoutCreate", _INT8, d, n, product.ldq),
            self._new("cublasLtMatrixLayoutCreate", _INT32, m, n, m),
        )
        wanted = self._new("cublasLtMatmulPreferenceCreate")
        try:
            setter = "cublasLtMatmulPreferenceSetAttribute"
            self._set(setter, wanted, _MOST_WORKSPACE, ctypes.c_uint64(size))
            for attribute, value in zip(_ALIGNMENTS, (*aligned, aligned[2]), strict=True):
                self._set(setter, wanted, attribute, ctypes.c_uint32(value))
            chosen, count = _Heuristic(), ctypes.c_int(0)
            a, b, c = layouts
            found = (1, ctypes.addressof(chosen), ctypes.addressof(count))
            self._call(
                "cublasLtMatmulAlgoGetHeuristic", self._handle, self._operation, a, b, c, c, wanted, *found
            )
            if not count.value or chosen.state:
                raise DeviceError(f"cuBLASLt has no algorithm for {product.shape}")
        except DeviceError:
            self._forget(layouts)
            raise
        finally:
            self._library.cublasLtMatmulPreferenceDestroy(wanted)
        return _Plan(layouts, chosen)

    def _forget(self, layouts: tuple[int, ...]) -> None:
        for layout in layouts:
            self._library.cublasLtMatrixLayoutDestroy(layout)

    def _new(self, function: str, *arguments: int) -> int:
        made = ctypes.c_void_p()
        self._call(function, ctypes.addressof(made), *arguments)
        return made.value or 0

    def _set(self, function: str, of: int, attribute: int, value: Any) -> None:
        self._call(function, of, attribute, ctypes.addressof(value), ctypes.sizeof(value))

    def _call(self, function: str, *arguments: int) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise DeviceError(f"{function} of {self.name} fails (cublasStatus_t {status})")
