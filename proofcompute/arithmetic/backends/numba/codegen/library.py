"""Kernels that were compiled ahead, one shared library for each level of processors (:mod:`.levels`).

A library's name holds its level and a digest of the sources that its kernels were made of, so that no other
code than these sources' is ever found. Nothing that compiles has a part in using one: the system's loader
puts it into memory, and :mod:`..runtime.machine` makes functions of its symbols. Libraries are looked for

1. in the directory that PROOFCOMPUTE_KERNELS names, if it belongs to this user or the administrator and
nobody
   else can write it (:mod:`proofcompute.arithmetic.backends.filecache`);
2. in the package itself, where ``make wheel`` puts them;

those for the best level that this machine's processors have first. A file ends with the SHA-256 digest of
what comes before: one that is cut short or damaged counts as absent. Where none is found, kernels are
compiled when they are first used. So they are where NUMBA_CPU_NAME or NUMBA_CPU_FEATURES asks for other code.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, final

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.numba.codegen.levels import Level, levels_for, processor_flags

__all__ = [
    "OTHER_CODE",
    "PLACE",
    "SOURCES",
    "VARIABLE",
    "Library",
    "file_name",
    "find",
    "library",
    "sealed",
    "source_key",
    "sources_key",
    "whole",
]

VARIABLE: Final = "PROOFCOMPUTE_KERNELS"
"""The environment variable that names a directory of libraries built ahead."""
PLACE: Final = Path(__file__).parents[1] / "ahead"
"""Where a wheel has them."""
_BACKENDS: Final = Path(__file__).parents[2]
SOURCES: Final = (_BACKENDS / "numba", _BACKENDS / "scalar", _BACKENDS.parent / "definition")
"""Directories whose .py files kernels are made of."""
OTHER_CODE: Final = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
"""Settings of Numba that ask for code of another kind than that for this processor."""
_HEAD: Final = 16
"""Bytes of the head of every object of Python, in the Pythons that kernels are compiled for."""
_DIGEST: Final = 32


def source_key(directories: Iterable[Path], words: Iterable[str]) -> str | None:
    """A digest of every .py file in ``directories`` and of some words, or None.

    None where a source cannot be read, such as inside a zip archive.
    """
    state = hashlib.sha256()
    try:
        for directory in directories:
            files = sorted(directory.rglob("*.py"))
            if not files:
                return None
            for file in files:
                data = file.read_bytes()
                state.update(f"{file.relative_to(directory).as_posix()}\0{len(data)}\0".encode())
                state.update(data)
    except OSError:
        return None
    for word in words:
        state.update(f"{len(word)}\0{word}".encode())
    return state.hexdigest()[:32]


@cache
def sources_key() -> str | None:
    """The digest of the sources that kernels are made of; None where one cannot be read."""
    return source_key(SOURCES, ())


def file_name(level: Level) -> str | None:
    """What the library of a level and these sources is called; None where no source can be read."""
    key = sources_key()
    return None if key is None else f"{level.name}-{key}.so"


def sealed(library: bytes) -> bytes:
    """What is written in the file of a library; what follows the library itself no loader looks at."""
    return library + hashlib.sha256(library).digest()


def whole(file: Path) -> bool:
    """Whether a file is there and ends with the digest of what comes before."""
    try:
        data = memoryview(file.read_bytes())
    except OSError:
        return False
    return len(data) > _DIGEST and hashlib.sha256(data[:-_DIGEST]).digest() == data[-_DIGEST:]


@final
class Library:
    """The kernels of one level, in the memory of this process."""

    def __init__(self, level: Level, path: Path) -> None:
        """OSError where the system does not load it."""
        self.level: Final = level
        self.path: Final = path
        self._handle = ctypes.CDLL(str(path))

    def address(self, symbol: str) -> int | None:
        """Where a symbol is; None if there is none of this name."""
        found = getattr(self._handle, symbol, None)
        return None if found is None else ctypes.cast(found, ctypes.c_void_p).value


def _places() -> Iterator[Path]:
    named = os.environ.get(VARIABLE)
    if named and (place := filecache.trusted(Path(named))) is not None:
        yield place
    if PLACE.is_dir():
        yield PLACE


def find(levels: Iterable[Level], places: Iterable[Path]) -> Library | None:
    """The first library that is whole and can be loaded."""
    places = list(places)
    for level in levels if places else ():
        name = file_name(level)
        for file in () if name is None else (place / name for place in places):
            if whole(file):
                try:
                    return Library(level, file)
                except OSError as e:
                    logging.getLogger(__name__).warning("kernels in %s cannot be used: %s", file, e)
    return None


@cache
def library() -> Library | None:
    """The library that this process takes its kernels from; None if it compiles them."""
    fits = sys.implementation.name == "cpython" and object.__basicsize__ == _HEAD
    if not fits or sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    if any(name in os.environ for name in OTHER_CODE):
        return None
    return find(levels_for(processor_flags()), _places())
