"""Compiling kernels, and keeping the compiled code between processes.

Numba's own cache looks at one source file, so a kernel that inlines a function of another file would be
served stale. Here the *directory* of the cache is named by a digest of every source of this package, of the
scalar definitions that it takes constants from, of the versions of Numba, llvmlite, NumPy and Python, and of
the CPU that code is generated for: any change leads to another directory. A file holds pickled code.

How files are kept, and what is believed, says :mod:`proofcompute.backends.filecache`. Numba's settings, which
other libraries in the process share, are left alone.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target

from proofcompute.backends import filecache
from proofcompute.backends.scalar.rounded import OPTIONS

__all__ = ["KernelCache", "helper", "kernel", "read", "source_key", "write"]

_BACKENDS: Final = Path(__file__).parents[1]
_SOURCES: Final = (_BACKENDS / "numba", _BACKENDS / "scalar", _BACKENDS.parent / "numerics")


def source_key(directories: Iterable[Path], machine: Iterable[str]) -> str | None:
    """A digest of every .py file in ``directories`` and of the words in ``machine``, or None.

    None where a source cannot be read, such as inside a zip archive.
    """
    state = hashlib.sha256()
    try:
        for directory in directories:
            files = sorted(directory.glob("*.py"))
            if not files:
                return None
            for file in files:
                data = file.read_bytes()
                state.update(f"{file.name}\0{len(data)}\0".encode())
                state.update(data)
    except OSError:
        return None
    for word in machine:
        state.update(f"{len(word)}\0{word}".encode())
    return state.hexdigest()[:32]


@cache
def _directory() -> Path | None:
    machine = [numba.__version__, llvmlite.__version__, np.__version__, sys.version]
    machine += map(str, cpu_target.target_context.codegen().magic_tuple())
    return filecache.cache_directory(filecache.user_cache(), "numba", source_key(_SOURCES, machine))


class KernelCache(NullCache):  # type: ignore[misc]
    """The compiled forms of one function, one file for each signature, in ``directory``."""

    def __init__(self, function: Callable[..., Any], directory: Path | None) -> None:
        self._function = function
        self._path = directory

    @property
    def cache_path(self) -> str | None:
        return None if self._path is None else str(self._path)

    def _file(self, signature: Any) -> Path | None:
        if self._path is None:
            return None
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        return self._path / (hashlib.sha256(f"{name}\0{signature}".encode()).hexdigest()[:32] + ".kernel")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled form for a signature; None if there is none or its file is damaged."""
        file = self._file(sig)
        body = None if file is None else filecache.load(file)
        if body is None:
            return None
        target_context.refresh()
        return CompileResult._rebuild(target_context, *pickle.loads(body))  # noqa: S301 our own directory

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled form; a file system that refuses costs only the time of the next compilation."""
        file = self._file(sig)
        if file is None or data.lifted or data.library.has_dynamic_globals:
            return
        filecache.store(file, serialize.dumps(data._reduce()))


def read(element: Any, dimensions: int) -> Any:
    """The type of a C-contiguous array that a kernel only reads; it may lie in read-only memory."""
    return types.Array(element, dimensions, "C", readonly=True)


def write(element: Any, dimensions: int) -> Any:
    """The type of a C-contiguous array that a kernel writes."""
    return types.Array(element, dimensions, "C")


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for exactly these signatures, now, or load it from the cache.

    Arguments of other types are a TypeError: nothing is ever compiled again for a stray float64.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**OPTIONS)(function)
        dispatcher._cache = KernelCache(function, _directory())
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return decorate


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels of this backend call; compiled into each of them."""
    return numba.njit(**OPTIONS)(function)
