"""Take kernels from a library compiled ahead, or compile them once with Numba and cache the machine code.

Cached code is used without Numba. Libraries (:mod:`..codegen.library`) come first.

The *directory* of the cache is named by a digest of every source of this package, of the scalar definitions
that it takes constants from, of the versions of Numba, llvmlite, NumPy and Python, and of the CPU that code
is generated for: any change leads to another directory. A file holds the symbols that a kernel needs and an
object file. :mod:`proofcompute.arithmetic.backends.filecache` says how files are kept and which are trusted.

Numba is imported when the first kernel has to be compiled. Until then, placeholders stand for the helpers,
intrinsics and Numba functions that kernels use (:mod:`..codegen.definitions`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.numba.codegen.library import SOURCES, library, source_key
from proofcompute.arithmetic.backends.numba.codegen.signatures import (
    ArrayType,
    Signature,
    boolean,
    float32,
    int64,
    void,
)
from proofcompute.arithmetic.backends.numba.codegen.target import SETTINGS, settings, target
from proofcompute.arithmetic.backends.numba.runtime import machine
from proofcompute.arithmetic.backends.scalar.rounded import OPTIONS, register
from proofcompute.arithmetic.compiling import compiling
from proofcompute.errors import DeviceError
from proofcompute.errors.extras import install

__all__ = [
    "KERNELS",
    "collecting",
    "directory",
    "generated",
    "kernel",
    "left",
    "load",
    "require_code",
    "without_code",
]

KERNELS: Final = 70
"""The number of kernels, from which progress messages tell how many are left."""
_loaded: Final[dict[str, Callable[..., Any]]] = {}
"""The function that each entry was made from, by symbol."""
Collector = Callable[[Callable[..., Any], tuple[Signature, ...], str], None]
"""A callback that receives a function, its signatures, and the symbol of its entry."""
_collectors: Final[list[Collector]] = []


def without_code() -> str:
    """Return an error text if there is neither code for this processor nor a compiler, else an empty one."""
    if library() is not None or all(map(importlib.util.find_spec, ("numba", "llvmlite"))):
        return ""
    return f"this install has no kernels for this processor, nor Numba to compile them: {install('numba')}"


def require_code() -> None:
    """Raise DeviceError unless there are kernels for this processor, or a compiler for them."""
    if library() is not None:
        return
    if problem := without_code():
        raise DeviceError(f"{problem}, or use --device numpy")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        raise DeviceError("Numba cannot compile here (NUMBA_DISABLE_JIT is set?); use --device numpy")


def _version_of_numba() -> str:
    """Return the text of Numba's version without importing Numba; raise ImportError if there is none."""
    found = importlib.util.find_spec("numba")
    if found is None or found.origin is None:
        raise ImportError("No module named 'numba'")
    try:
        return Path(found.origin).with_name("_version.py").read_text(encoding="utf-8")
    except OSError:
        return str(importlib.import_module("numba").__version__)


def directory() -> Path | None:
    """Return the directory that compiled kernels are kept in, or None if they cannot be kept."""
    return _directory("numba")


@cache
def _directory(kind: str) -> Path | None:
    import llvmlite

    words = [_version_of_numba(), llvmlite.__version__, np.__version__, sys.version, *target()]
    words += settings()
    words += [SETTINGS.read_bytes().hex()] if SETTINGS.is_file() else []
    return filecache.cache_directory(filecache.user_cache(), kind, source_key(SOURCES, words))


def _check(signature: Signature) -> None:
    for parameter in signature.parameters:
        if not (isinstance(parameter, ArrayType) or parameter in (boolean, int64, float32)):
            raise TypeError(f"a kernel cannot take {parameter}")
    if signature.returns not in (boolean, int64, void):
        raise TypeError(f"a kernel cannot return {signature.returns}")


def _symbol(function: Callable[..., Any], signatures: tuple[Signature, ...]) -> str:
    """Return the symbol of a kernel's entry.

    Raises TypeError for a second function of the same name and signatures, which would get the first one's
    code.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    described = "\0".join((name, *map(repr, signatures)))
    symbol = f"proofcompute_{hashlib.sha256(described.encode()).hexdigest()[:32]}"
    if _loaded.setdefault(symbol, function) is not function:
        raise TypeError(f"there is another kernel {name} with these signatures")
    return symbol


def load(
    function: Callable[..., Any], signatures: tuple[Signature, ...], place: Path | None
) -> tuple[Callable[..., Any], bool]:
    """Return a kernel, and whether its code was in ``place``; if not, compile it and keep it there.

    Raises DeviceError if it cannot be compiled or the process lacks a symbol that its code needs, TypeError
    for a second function of the same name and signatures.
    """
    symbol = _symbol(function, signatures)
    file = None if place is None else place / f"{symbol.partition('_')[2]}.kernel"
    names = function.__name__, function.__module__, function.__doc__ or ""
    body = None if file is None else filecache.load(file)
    if body is not None:
        return _function(body, symbol, names), True
    with compiling(f"{function.__module__.rpartition('.')[2]}.{function.__name__}", left(place)):
        body = _compiled(function, signatures, symbol)
    return _function(_kept(body, file), symbol, names), False


def generated(
    name: str, make: Callable[[], Callable[..., Any]], signature: Signature, worth: bool
) -> tuple[Callable[..., Any], int] | None:
    """Return a loop that is written for a program, from the cache, or compiled if that is ``worth`` it.

    ``name`` says all that the loop depends on besides the sources; ``make`` returns the function to compile.
    The loop comes with the address of its entry for compiled code (:mod:`..codegen.entry`). Returns None if
    the code is not in the cache and not worth it. Loops have a directory of their own.
    """
    _check(signature)
    place = _directory("numba-loops")
    symbol = f"proofcompute_{name}"
    file = None if place is None else place / f"{name}.kernel"
    body = None if file is None else filecache.load(file)
    if body is None:
        if not worth:
            return None
        logging.getLogger("proofcompute").info("compiling %s", name)
        body = _kept(_compiled(make(), (signature,), symbol, f"{symbol}_plain"), file)
    return _function(body, symbol, (name, __name__, "")), machine.address(f"{symbol}_plain")


def _kept(body: bytes, file: Path | None) -> bytes:
    if file is not None:
        filecache.store(file, body)
    return body


def _function(body: bytes, symbol: str, names: tuple[str, str, str]) -> Callable[..., Any]:
    head, _, code = body.partition(b"\n")
    if lacking := machine.missing(json.loads(head)):
        raise DeviceError(f"this process has no {', '.join(lacking)}; use --device numpy")
    return machine.function(code, symbol, *names)


def left(place: Path | None) -> int:
    """Return the number of kernels whose code is not in ``place``."""
    return KERNELS - (0 if place is None else len(list(place.glob("*.kernel"))))


def _compiled(
    function: Callable[..., Any], signatures: tuple[Signature, ...], symbol: str, plain: str | None = None
) -> bytes:
    from proofcompute.arithmetic.backends.numba.codegen.entry import compile_kernel

    register()
    code, needed = compile_kernel(function, signatures, OPTIONS, symbol, plain=plain)
    body: bytes = json.dumps(needed).encode() + b"\n" + code
    return body


@contextmanager
def collecting(collector: Collector) -> Iterator[None]:
    """Pass kernels that are defined within the block to ``collector``; they cannot be called."""
    _collectors.append(collector)
    try:
        yield
    finally:
        _collectors.remove(collector)


def kernel(*signatures: Signature) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for exactly these signatures when it is defined, or take its code from the cache.

    A call with arguments of other types raises TypeError: nothing is compiled again for a stray float64.
    """
    for signature in signatures:
        _check(signature)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if _collectors:
            _collectors[-1](function, signatures, _symbol(function, signatures))
            return function
        ahead = library()
        if ahead is None:
            return load(function, signatures, directory())[0]
        address = ahead.address(_symbol(function, signatures))
        if address is None:
            raise DeviceError(f"{ahead.path} has no kernel {function.__name__}; use --device numpy")
        return machine.bound(address, function.__name__, function.__module__, function.__doc__ or "")

    return decorate
