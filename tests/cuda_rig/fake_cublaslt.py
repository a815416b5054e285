"""Imitates cuBLASLt: its functions as C functions by address, on host memory.

They are called through ctypes as functions of a shared library are, so a wrong number, order or width of
arguments is noticed. Handles, descriptors, layouts, alignments, workspace and stream are checked against the
library's documentation; a product is queued on its stream.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuda_rig.fake_streams import Stream

__all__ = ["FakeCublasLt"]

SUCCESS, NOT_INITIALIZED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 7, 15
INT8, INT32, COMPUTE_INT32 = 3, 10, 72
TRANSPOSED = {3: 1, 4: 0}
MAGIC = 0x5EED_0000_0000_0000
"""Base of the handles: above 32 bits, so that a truncated pointer is unknown."""

P, C, Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "Create": (P,),
    "MatmulDescCreate": (P, C, C),
    "MatmulDescDestroy": (P,),
    "MatmulDescSetAttribute": (P, C, P, Z),
    "MatrixLayoutCreate": (P, C, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "MatrixLayoutDestroy": (P,),
    "MatmulPreferenceCreate": (P,),
    "MatmulPreferenceDestroy": (P,),
    "MatmulPreferenceSetAttribute": (P, C, P, Z),
    "MatmulAlgoGetHeuristic": (P, P, P, P, P, P, P, C, P, P),
    "Matmul": (P, P, P, P, P, P, P, P, P, P, P, P, P, P, Z, P),
}


@dataclass
class Thing:
    """A handle, or the object behind a descriptor."""

    kind: str
    numbers: tuple[int, ...] = ()
    attributes: dict[int, int] = field(default_factory=dict)


class FakeCublasLt:
    """Takes the place of the shared library.

    ``algorithms`` is the number of products with an algorithm; ``off`` is added to every accumulator.
    """

    def __init__(
        self, version: int = 130100, *, algorithms: int = 1 << 30, starts: bool = True, off: int = 0
    ) -> None:
        self.off = off
        self.algorithms = algorithms
        self.starts = starts
        self.products: list[tuple[int, int, int]] = []
        """(m, n, k) of each product that ran."""
        self._things: dict[int, Thing] = {}
        self._numbers = itertools.count(MAGIC, 0x1_0000_0010)
        self._kept: list[Any] = []
        self.cublasLtGetVersion = self._export(lambda: version, Z, ())
        for name, arguments in SIGNATURES.items():
            own = getattr(self, "_" + "".join("_" + c.lower() if c.isupper() else c for c in name)[1:])
            setattr(self, f"cublasLt{name}", self._export(own, C, arguments))

    def _export(self, function: Callable[..., int], result: Any, arguments: tuple[Any, ...]) -> Any:
        """Returns a function as ``ctypes.CDLL`` does: an address, without a prototype."""
        typed = ctypes.CFUNCTYPE(result, *arguments)(function)
        self._kept.append(typed)
        address = ctypes.cast(typed, P).value
        assert address
        return ctypes.CFUNCTYPE(C)(address)

    @property
    def alive(self) -> int:
        """Number of descriptors that were not destroyed."""
        return sum(thing.kind in ("layout", "preference") for thing in self._things.values())

    def _put(self, to: int, thing: Thing) -> int:
        number = next(self._numbers)
        self._things[number] = thing
        ctypes.c_uint64.from_address(to).value = number
        return SUCCESS

    def _get(self, number: int | None, kind: str) -> Thing | None:
        found = self._things.get(number or 0)
        return found if found is not None and found.kind == kind else None

    def _drop(self, number: int, kind: str) -> int:
        if self._get(number, kind) is None:
            return INVALID_VALUE
        del self._things[number]
        return SUCCESS

    def _set(self, number: int, kind: str, attribute: int, value: int, size: int, width: int) -> int:
        thing = self._get(number, kind)
        if thing is None or size != width:
            return INVALID_VALUE
        thing.attributes[attribute] = int.from_bytes(ctypes.string_at(value, size), "little")
        return SUCCESS

    def _create(self, to: int) -> int:
        return self._put(to, Thing("handle")) if self.starts else NOT_INITIALIZED

    def _matmul_desc_create(self, to: int, compute: int, scale: int) -> int:
        return self._put(to, Thing("operation", (compute, scale)))

    def _matmul_desc_destroy(self, number: int) -> int:
        return self._drop(number, "operation")

    def _matmul_desc_set_attribute(self, number: int, attribute: int, value: int, size: int) -> int:
        return self._set(number, "operation", attribute, value, size, 4)

    def _matrix_layout_create(self, to: int, kind: int, rows: int, columns: int, lead: int) -> int:
        return self._put(to, Thing("layout", (kind, rows, columns, lead))) if lead >= rows else INVALID_VALUE

    def _matrix_layout_destroy(self, number: int) -> int:
        return self._drop(number, "layout")

    def _matmul_preference_create(self, to: int) -> int:
        return self._put(to, Thing("preference"))

    def _matmul_preference_destroy(self, number: int) -> int:
        return self._drop(number, "preference")

    def _matmul_preference_set_attribute(self, number: int, attribute: int, value: int, size: int) -> int:
        return self._set(number, "preference", attribute, value, size, 8 if attribute == 1 else 4)

    def _shapes(self, handle: int, operation: int, *layouts: int) -> tuple[Any, ...] | int:
        """Returns the numbers of the layouts of A, B, C and D, or why they cannot be multiplied."""
        known = self._get(operation, "operation")
        found = [self._get(layout, "layout") for layout in layouts]
        if self._get(handle, "handle") is None or known is None or None in found:
            return INVALID_VALUE
        if known.numbers != (COMPUTE_INT32, INT32) or known.attributes != TRANSPOSED:
            return NOT_SUPPORTED
        a, b, c, d = (thing.numbers for thing in found if thing is not None)
        (k, m), (_, n) = a[1:3], b[1:3]
        if (a[0], b[0], c[0]) != (INT8, INT8, INT32) or b[1] != k or c[1:3] != (m, n) or c != d:
            return INVALID_VALUE
        leads = (a[3], b[3], c[3])
        return NOT_SUPPORTED if any(x % 4 for x in (m, k, *leads)) else (m, n, k, *leads)

    def _matmul_algo_get_heuristic(self, *given: int) -> int:
        *things, preference, wanted, results, count = given
        shapes, asked = self._shapes(*things), self._get(preference, "preference")
        if isinstance(shapes, int) or asked is None or wanted != 1:
            return shapes if isinstance(shapes, int) else INVALID_VALUE
        known, self.algorithms = self.algorithms > 0, self.algorithms - 1
        ctypes.c_int.from_address(count).value = int(known)
        if known:  # stores the settings, as an algorithm does
            aligned = [asked.attributes.get(i, 256) for i in (5, 6, 7, 8)]
            numbers = [*shapes[:3], *aligned, asked.attributes.get(1, 0)]
            ctypes.memmove(results, (ctypes.c_uint64 * 8)(*numbers), 64)
            ctypes.c_size_t.from_address(results + 64).value = numbers[-1]
            ctypes.c_int.from_address(results + 72).value = SUCCESS
        return SUCCESS

    def _matmul(self, *given: int) -> int:
        handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, *rest = given
        algorithm, workspace, size, stream = rest
        shapes = self._shapes(handle, operation, a_layout, b_layout, c_layout, d_layout)
        if isinstance(shapes, int):
            return shapes
        m, n, k, lda, ldb, ldc = shapes
        factors = [ctypes.c_int32.from_address(p).value for p in (alpha, beta)]
        on = Stream.all.get(stream)
        if factors != [1, 0] or c != d or on is None:
            return INVALID_VALUE
        *shape, align_a, align_b, align_c, align_d, scratch = ctypes.cast(
            algorithm, ctypes.POINTER(ctypes.c_uint64)
        )[:8]
        aligned = zip((a, b, c, d), (align_a, align_b, align_c, align_d), strict=True)
        if shape != [m, n, k] or any(p % by for p, by in aligned) or not workspace or scratch > size:
            return NOT_SUPPORTED

        def matrix(address: int, rows: int, columns: int, lead: int, kind: Any) -> Any:
            flat = np.ctypeslib.as_array((kind * (lead * (columns - 1) + rows)).from_address(address))
            steps = (flat.itemsize, lead * flat.itemsize)
            return np.lib.stride_tricks.as_strided(flat, (rows, columns), steps)

        def work() -> None:
            self.products.append((m, n, k))
            ctypes.memset(workspace, 0x5A, 64)  # which nothing else may use meanwhile
            left = matrix(a, k, m, lda, ctypes.c_int8).T.astype(np.int32)
            right = matrix(b, k, n, ldb, ctypes.c_int8).astype(np.int32)
            matrix(d, m, n, ldc, ctypes.c_int32)[...] = left @ right + self.off

        on.enqueue(work)
        return SUCCESS
