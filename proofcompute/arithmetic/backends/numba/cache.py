"""Kernels: compiled once with Numba, kept as machine code, and from then on used without Numba.

The *directory* of the cache is named by a digest of every source of this package, of the scalar definitions
that it takes constants from, of the versions of Numba, llvmlite, NumPy and Python, and of the CPU that code
is generated for: any change leads to another directory. A file holds the symbols that a kernel needs and an
object file. How files are kept, and what is believed, says :mod:`proofcompute.arithmetic.backends.filecache`.

Numba is imported when the first kernel has to be compiled. Until then, what kernels are made of (helpers,
intrinsics, functions of Numba) stands for itself as :class:`Later`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import llvmlite
import numpy as np

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.numba import machine
from proofcompute.arithmetic.backends.numba.signatures import (
    Rows,
    Signature,
    boolean,
    float32,
    int64,
    real,
    void,
)
from proofcompute.arithmetic.backends.numba.target import SETTINGS, settings, target
from proofcompute.arithmetic.backends.scalar.rounded import OPTIONS, register
from proofcompute.arithmetic.compiling import compiling
from proofcompute.errors import DeviceError

__all__ = [
    "KERNELS",
    "Later",
    "directory",
    "external",
    "function_of_numba",
    "helper",
    "intrinsic",
    "kernel",
    "left",
    "load",
    "source_key",
]

_BACKENDS: Final = Path(__file__).parents[1]
_SOURCES: Final = (_BACKENDS / "numba", _BACKENDS / "scalar", _BACKENDS.parent / "definition")
KERNELS: Final = 44
"""How many kernels there are, so that it can be said how many are left."""
_loaded: Final[dict[str, Callable[..., Any]]] = {}
"""What each entry was made of."""


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


def _version_of_numba() -> str:
    """What Numba says of its version, without importing it; ImportError where there is no Numba."""
    found = importlib.util.find_spec("numba")
    if found is None or found.origin is None:
        raise ImportError("No module named 'numba'")
    try:
        return Path(found.origin).with_name("_version.py").read_text(encoding="utf-8")
    except OSError:
        return str(importlib.import_module("numba").__version__)


@cache
def directory() -> Path | None:
    """Where compiled code is kept; None if it cannot be kept."""
    words = [_version_of_numba(), llvmlite.__version__, np.__version__, sys.version, *target()]
    words += settings()
    words += [SETTINGS.read_bytes().hex()] if SETTINGS.is_file() else []
    return filecache.cache_directory(filecache.user_cache(), "numba", source_key(_SOURCES, words))


class Later:
    """Something of Numba's, made when Numba asks what it is. Kernels name it as a global."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def made(self) -> Any:
        """The thing itself."""
        return self._make()

    @property
    def _numba_type_(self) -> Any:
        """Numba's question."""
        from numba.core.registry import cpu_target

        made = self.made
        cpu_target.typing_context.refresh()  # else it does not know of what was made just now
        return cpu_target.typing_context.resolve_value_type(made)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels of this backend call; compiled into each of them."""

    def make() -> Any:
        import numba

        return numba.njit(**OPTIONS)(function)

    return Later(make)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that emits IR: ``numba.extending.intrinsic``, with signatures of :mod:`.signatures`."""

    def make() -> Any:
        from functools import wraps

        from numba import extending

        @wraps(function)
        def typed(*types: Any) -> Any:
            signature, code = function(*types)
            return real(signature), code

        return extending.intrinsic(typed)

    return Later(make)


def function_of_numba(name: str) -> Any:
    """A function that Numba exports, such as ``carray``."""
    return Later(lambda: getattr(importlib.import_module("numba"), name))


def external(symbol: str, signature: Signature) -> Any:
    """A C function that this process has."""

    def make() -> Any:
        from numba import types

        return types.ExternalFunction(symbol, signature.numba())

    return Later(make)


def _check(signature: Signature) -> None:
    for parameter in signature.parameters:
        if not (isinstance(parameter, Rows) or parameter in (boolean, int64, float32)):
            raise TypeError(f"a kernel cannot take {parameter}")
    if signature.returns not in (boolean, int64, void):
        raise TypeError(f"a kernel cannot return {signature.returns}")


def load(
    function: Callable[..., Any], signatures: tuple[Signature, ...], place: Path | None
) -> tuple[Callable[..., Any], bool]:
    """A kernel, and whether its code was in ``place``; if not, it is compiled and kept there.

    DeviceError where it cannot be compiled, or the process lacks a symbol that its code needs. TypeError for
    another function of the same name and signatures, which would get the first one's code.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    described = "\0".join((name, *map(repr, signatures)))
    digest = hashlib.sha256(described.encode()).hexdigest()[:32]
    symbol = f"proofcompute_{digest}"
    if _loaded.setdefault(symbol, function) is not function:
        raise TypeError(f"there is another kernel {name} with these signatures")
    file = None if place is None else place / f"{digest}.kernel"
    body = None if file is None else filecache.load(file)
    hit = body is not None
    if body is None:
        with compiling(f"{function.__module__.rpartition('.')[2]}.{function.__name__}", left(place)):
            body = _compiled(function, signatures, symbol)
        if file is not None:
            filecache.store(file, body)
    head, _, code = body.partition(b"\n")
    if lacking := machine.missing(json.loads(head)):
        raise DeviceError(f"this process has no {', '.join(lacking)}; use --device numpy")
    doc = function.__doc__ or ""
    return machine.function(code, symbol, function.__name__, function.__module__, doc), hit


def left(place: Path | None) -> int:
    """Kernels whose code is not in ``place``."""
    return KERNELS - (0 if place is None else len(list(place.glob("*.kernel"))))


def _compiled(function: Callable[..., Any], signatures: tuple[Signature, ...], symbol: str) -> bytes:
    from proofcompute.arithmetic.backends.numba.entry import compile_kernel

    register()
    code, needed = compile_kernel(function, signatures, OPTIONS, symbol)
    body: bytes = json.dumps(needed).encode() + b"\n" + code
    return body


def kernel(*signatures: Signature) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for exactly these signatures, now, or load it from the cache.

    Arguments of other types are a TypeError: nothing is ever compiled again for a stray float64.
    """
    for signature in signatures:
        _check(signature)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return load(function, signatures, directory())[0]

    return decorate
