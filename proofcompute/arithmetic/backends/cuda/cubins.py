"""Finds machine code for the ``.cu`` files: built ahead, kept from an earlier run, or compiled now.

A cubin's name holds a digest of its source with all headers, of the compiler's options and of the
architecture, so another source or option has another file. Cubins are searched

1. in the directory that PROOFCOMPUTE_CUBINS names, filled by ``proofcompute cubins`` on any machine: there an
   older architecture of the same major version serves too, as sm_80 does for a device of sm_86;
2. in the user's cache, which has a directory for each version of NVRTC.

If there is none, NVRTC compiles it and the cache keeps it. :mod:`proofcompute.arithmetic.backends.filecache`
says which files are trusted; any other is compiled again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, final

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.cuda.nvrtc import OPTIONS, Nvrtc, find_nvrtc
from proofcompute.arithmetic.backends.cuda.sources import FILES, source
from proofcompute.arithmetic.compiling import compiling
from proofcompute.errors import DeviceError, InputError, StorageError

__all__ = ["ARCHITECTURES", "VARIABLE", "Cubins", "build_cubins", "files_for"]

VARIABLE: Final = "PROOFCOMPUTE_CUBINS"
"""The environment variable that names a directory of cubins built ahead."""
ARCHITECTURES: Final = (75, 80, 86, 89, 90, 100, 120)
"""Architectures that are built ahead unless others are named."""
LEAST: Final = 75
"""Least compute capability (times 10) of a device."""
_TENSOR_CORES: Final = 80
"""Compute capability (times 10) from which there is the int8 ``mma.sync`` that tensor-core files use."""


def files_for(architecture: int) -> list[str]:
    """Return the names of the ``.cu`` files that compile for an architecture."""
    return [file for file in FILES if architecture >= _TENSOR_CORES or "mma.sync" not in source(file)]


def _name(file: str, architecture: int) -> str:
    key = hashlib.sha256("\0".join([source(file), *OPTIONS, str(architecture)]).encode()).hexdigest()
    return f"{file}-sm_{architecture}-{key[:32]}.cubin"


def _serving(capability: int) -> range:
    """Return the architectures whose cubins run on a device, the best first."""
    return range(capability, max(capability // 10 * 10, LEAST) - 1, -1)


@final
class Cubins:
    """Machine code for devices of one compute capability (times 10).

    ``driver`` is the driver's major version, which bounds NVRTC's; ``compiler`` finds an NVRTC.
    """

    def __init__(
        self,
        capability: int,
        driver: int | None = None,
        compiler: Callable[[int | None], Nvrtc] = find_nvrtc,
    ) -> None:
        self._capability = capability
        self._driver = driver
        self._compiler = compiler

    def get(self, file: str) -> bytes:
        """Return the cubin of ``cuda/<file>.cu``. Raises DeviceError if it must be compiled and cannot be."""
        ahead = self._built_ahead(file)
        if ahead is not None:
            return ahead
        try:
            compiler = self._compiler(self._driver)
        except DeviceError as error:
            where = os.environ.get(VARIABLE)
            hint = f"{VARIABLE} is not set" if not where else f"{where} has no usable cubin of {file}"
            raise DeviceError(f"{error}; {hint} (see: proofcompute cubins --help)") from error
        version = "nvrtc-{}.{}".format(*compiler.version)
        directory = filecache.cache_directory(filecache.user_cache(), "cuda", version)
        kept = None if directory is None else directory / _name(file, self._capability)
        found = None if kept is None else filecache.load(kept)
        if found is None:
            with compiling(f"{file}.cu", 1):
                found = compiler.compile(source(file), f"{file}.cu", self._capability).cubin
            if kept is not None:
                filecache.store(kept, found)
        return found

    def _built_ahead(self, file: str) -> bytes | None:
        where = os.environ.get(VARIABLE)
        directory = filecache.trusted(Path(where)) if where else None
        if directory is None:
            return None
        for architecture in _serving(self._capability):
            found = filecache.load(directory / _name(file, architecture))
            if found is not None:
                return found
        return None


def build_cubins(
    directory: Path,
    architectures: Iterable[int] = ARCHITECTURES,
    done: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Compile every file for every architecture into ``directory``, and return the paths of the cubins.

    This needs NVRTC and no device. ``done(steps, total)`` is called after every file. Raises InputError for
    an architecture that no kernel runs on, DeviceError without NVRTC or for an architecture that it does not
    know, StorageError if the file system refuses.
    """
    wanted = list(dict.fromkeys(architectures))
    for architecture in wanted:
        if architecture < LEAST:
            raise InputError(f"sm_{architecture} is too old; sm_{LEAST} is needed")
    compiler = find_nvrtc()
    work = [(file, architecture) for architecture in wanted for file in files_for(architecture)]
    paths = []
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {directory}: {error.strerror or error}") from error
    for file, architecture in work:
        path = directory / _name(file, architecture)
        if filecache.load(path) is None:
            cubin = compiler.compile(source(file), f"{file}.cu", architecture).cubin
            if not filecache.store(path, cubin):
                raise StorageError(f"cannot write {path}; free some space or choose another place")
        path.chmod(0o644)
        paths.append(path)
        if done is not None:
            done(1, len(work))
    return paths
