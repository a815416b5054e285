"""Find kernels that were compiled ahead, one shared library for each level of processors (:mod:`.levels`).

A library's name holds its level and a digest of the sources of its kernels, so that code of other sources is
never found. Using a library needs no compiler: the system's loader loads it, and :mod:`..runtime.machine`
makes functions of its symbols. Libraries are searched for

1. in the directory that PROOFCOMPUTE_KERNELS names, if it belongs to this user or the administrator and
   nobody else can write it (:mod:`proofcompute.arithmetic.backends.filecache`);
2. in the package itself, where ``make wheel`` puts them;

beginning with the best level that this machine's processors have. A file ends with the SHA-256 digest of what
comes before, so a truncated or damaged file counts as absent. If no library is found, or if NUMBA_CPU_NAME,
NUMBA_CPU_FEATURES or NUMBA_ENABLE_AVX asks for other code, kernels are compiled when they are first used.
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
"""The directory in which a wheel has its libraries."""
_BACKENDS: Final = Path(__file__).parents[2]
SOURCES: Final = (_BACKENDS / "numba", _BACKENDS / "scalar", _BACKENDS.parent / "definition")
"""Directories of the .py files that kernels are made from."""
OTHER_CODE: Final = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
"""Settings of Numba that ask for other code than that for this processor."""
_HEAD: Final = 16
"""Bytes of the head of every Python object, in the builds of Python that kernels are compiled for."""
_DIGEST: Final = 32


def source_key(directories: Iterable[Path], words: Iterable[str]) -> str | None:
    """Return a digest of every .py file in ``directories`` and of some words.

    Returns None if a source cannot be read, for instance inside a zip archive.
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
    """Return the digest of the sources that kernels are made from, or None if one cannot be read."""
    return source_key(SOURCES, ())


def file_name(level: Level) -> str | None:
    """Return the file name of a level's library for these sources, or None if a source cannot be read."""
    key = sources_key()
    return None if key is None else f"{level.name}-{key}.so"


def sealed(library: bytes) -> bytes:
    """Return a library's file: the library and its digest, which loaders ignore."""
    return library + hashlib.sha256(library).digest()


def whole(file: Path) -> bool:
    """Return whether a file exists and ends with the digest of what comes before."""
    try:
        data = memoryview(file.read_bytes())
    except OSError:
        return False
    return len(data) > _DIGEST and hashlib.sha256(data[:-_DIGEST]).digest() == data[-_DIGEST:]


@final
class Library:
    """The kernels of one level, loaded into this process."""

    def __init__(self, level: Level, path: Path) -> None:
        """Load the library; raise OSError if the system does not load it."""
        self.level: Final = level
        self.path: Final = path
        self._handle = ctypes.CDLL(str(path))

    def address(self, symbol: str) -> int | None:
        """Return the address of a symbol, or None if the library lacks it."""
        found = getattr(self._handle, symbol, None)
        return None if found is None else ctypes.cast(found, ctypes.c_void_p).value


def _places() -> Iterator[Path]:
    named = os.environ.get(VARIABLE)
    if named and (place := filecache.trusted(Path(named))) is not None:
        yield place
    if PLACE.is_dir():
        yield PLACE


def find(levels: Iterable[Level], places: Iterable[Path]) -> Library | None:
    """Return the first library that is whole and can be loaded, or None."""
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
    """Return the library that this process takes its kernels from, or None if it compiles them."""
    fits = sys.implementation.name == "cpython" and object.__basicsize__ == _HEAD
    if not fits or sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    if any(name in os.environ for name in OTHER_CODE):
        return None
    return find(levels_for(processor_flags()), _places())
