"""Turn machine code of kernels into Python functions, without Numba.

A kernel's code has one function that Python can call; :mod:`..codegen.entry` makes it, and it checks all
arguments. It comes from a library that was compiled ahead, or from an object file, which LLVM loads. LLVM
ends the process if a symbol that an object file needs is missing, so the symbols are looked up first.

The entry function reads the fields of NumPy's arrays (``PyArrayObject_fields`` and the first fields of
``PyArray_Descr`` in NumPy's public headers). Before the first entry is used, some sample arrays are checked
for the expected values at these offsets.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.fields import Fields
from proofcompute.errors import DeviceError

__all__ = ["address", "bound", "function", "missing"]

_FASTCALL: Final = 0x80
"""``METH_FASTCALL`` of Python's C API."""


class _Method(ctypes.Structure):
    """The C structure ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_new: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)
_SELF: Final = (np.ndarray, TypeError, RuntimeError, None)
"""The Python objects that an entry needs and is bound to.

Their C names would not do, because Numba, once it is imported, gives LLVM other addresses for the same names.
"""
_keep: Final = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))
"""Keeps an object for the life of the process.

A process that ends frees modules in any order, and the collector still reads the structure of a function that
is not freed yet: a list in this module would not keep it long enough.
"""
_guard: Final = threading.Lock()
# A child that is forked while a thread of its parent loads code would wait for that thread for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)


def missing(symbols: Sequence[str]) -> list[str]:
    """Return those of the symbols that this process lacks."""
    from llvmlite import binding

    _start()
    return [name for name in symbols if binding.address_of_symbol(name) is None]


@cache
def _start() -> Any:
    """Return LLVM's execution engine."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    _keep(engine)  # it holds the machine code
    return engine


def _at(x: object, offset: int, kind: Any) -> Any:
    return kind.from_address(id(x) + offset).value


def _check_fields() -> None:
    record = np.dtype([("a", np.int64), ("b", np.float32)], align=True)
    frozen = np.zeros((2, 3), np.int8)
    frozen.flags.writeable = False
    for x in (np.zeros((2, 3, 4), np.float32), np.zeros(7, ">i4"), np.zeros((4, 4))[:, 1:], frozen,
              np.zeros(5, record), np.zeros((1, 0), np.uint64), np.zeros(3, np.bool_)):  # fmt: skip
        shape = (ctypes.c_int64 * x.ndim).from_address(_at(x, Fields.SHAPE, ctypes.c_int64))
        flags = _at(x, Fields.FLAGS, ctypes.c_int32)
        dtype = x.dtype
        fits = (
            _at(x, Fields.TYPE, ctypes.c_int64) == id(np.ndarray)
            and (_at(x, Fields.DATA, ctypes.c_int64) == x.__array_interface__["data"][0])
            and _at(x, Fields.DIMENSIONS, ctypes.c_int32) == x.ndim
            and tuple(shape) == x.shape
            and _at(x, Fields.DTYPE, ctypes.c_int64) == id(dtype)
            and bool(flags & Fields.CONTIGUOUS) == x.flags.c_contiguous
            and bool(flags & Fields.ALIGNED) == x.flags.aligned
            and bool(flags & Fields.WRITEABLE) == x.flags.writeable
            and chr(_at(dtype, Fields.KIND, ctypes.c_uint8)) == dtype.kind
            and chr(_at(dtype, Fields.ORDER, ctypes.c_uint8)) == dtype.byteorder
            and _at(dtype, Fields.SIZE, ctypes.c_int64) == dtype.itemsize
        )
        if not fits:
            raise DeviceError("NumPy's arrays are laid out in an unknown way here; use --device numpy")


@cache
def _fields_fit() -> None:
    _check_fields()


def bound(address: int, name: str, module: str, doc: str) -> Callable[..., Any]:
    """Return the entry at an address as a Python function.

    Raises DeviceError if NumPy's arrays do not have the expected layout.
    """
    _fields_fit()
    method = _Method(name.encode(), address, _FASTCALL, doc.encode())
    _keep(method)
    made: Callable[..., Any] = _new(ctypes.addressof(method), _SELF, module)
    return made


def function(code: bytes, symbol: str, name: str, module: str, doc: str) -> Callable[..., Any]:
    """Load an object file and return its function ``symbol`` under a Python name.

    The process must have all symbols that the file needs. Raises DeviceError if there is no such function.
    """
    from llvmlite import binding

    with _guard:
        engine = _start()
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
        address = engine.get_function_address(symbol)
    if not address:
        raise DeviceError(f"the machine code of {name} lacks its entry")
    return bound(address, name, module, doc)


def address(symbol: str) -> int:
    """Return where a symbol of an object file lies that :func:`function` has loaded. Raises DeviceError."""
    with _guard:
        found = int(_start().get_function_address(symbol))
    if not found:
        raise DeviceError(f"the machine code has no {symbol}")
    return found
