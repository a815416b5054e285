"""Compiles CUDA with NVRTC, the compiler as a library, through ctypes; no device needs to be present.

The library comes from a CUDA toolkit or from a package that holds one (nvidia-cuda-nvrtc and its like, which
the extras ``cuda12`` and ``cuda13`` install); NVIDIA's NVRTC documentation describes its interface.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, final

from proofcompute.arithmetic.backends.cuda.libraries import candidates
from proofcompute.errors import DeviceError

__all__ = ["OPTIONS", "Compiled", "Nvrtc", "find_nvrtc"]

OPTIONS: Final = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
"""Options of every compilation: nothing is fused, flushed or approximated."""


@dataclass(frozen=True)
class Compiled:
    """A compiled source."""

    ptx: str
    cubin: bytes
    log: str
    """The compiler's messages."""


@final
class Nvrtc:
    """A loaded NVRTC. Raises DeviceError if it cannot be loaded."""

    def __init__(self, path: str) -> None:
        try:
            for builtins in Path(path).parent.glob("libnvrtc-builtins.so.*") if os.path.isabs(path) else ():
                ctypes.CDLL(str(builtins))  # NVRTC opens this one by its bare name
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise DeviceError(f"NVRTC cannot be loaded ({error})") from error
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version: Final = (major.value, minor.value)

    def compile(self, text: str, name: str, architecture: int, *more: str) -> Compiled:
        """Compile a source for sm_<architecture>, with OPTIONS and ``more``. DeviceError if that fails."""
        program = ctypes.c_void_p()
        made = self._library.nvrtcCreateProgram(
            ctypes.byref(program), text.encode(), name.encode(), 0, None, None
        )
        if made:
            raise DeviceError(f"NVRTC refuses {name} (error {made})")
        options = [*OPTIONS, f"--gpu-architecture=sm_{architecture}", *more]
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        wrong = self._library.nvrtcCompileProgram(program, len(options), encoded)
        try:
            log = self._get(program, "ProgramLog").rstrip(b"\0").decode()
            if wrong:
                raise DeviceError(f"NVRTC cannot compile {name} for sm_{architecture} (error {wrong}): {log}")
            ptx = self._get(program, "PTX").rstrip(b"\0").decode()
            return Compiled(ptx, self._get(program, "CUBIN"), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _get(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        wrong = getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        wrong = wrong or getattr(self._library, f"nvrtcGet{what}")(program, text)
        if wrong:
            raise DeviceError(f"NVRTC has no {what} (error {wrong})")
        return text.raw


@cache
def _found() -> tuple[Nvrtc, ...]:
    """Return every NVRTC that can be loaded, newest first."""
    found: dict[tuple[int, int], Any] = {}
    for path in candidates("nvrtc"):
        try:
            library = Nvrtc(path)
        except DeviceError:
            continue
        found.setdefault(library.version, library)
    return tuple(found[version] for version in sorted(found, reverse=True))


def find_nvrtc(driver: int | None = None) -> Nvrtc:
    """Return the newest NVRTC that makes code for a driver of major version ``driver`` (any, if None).

    A driver runs the machine code of its own major version and of older ones. Raises DeviceError if there is
    no NVRTC.
    """
    for library in _found():
        if driver is None or library.version[0] <= driver:
            return library
    which = "" if driver is None else f" of version {driver} or older"
    raise DeviceError(
        f"no NVRTC{which}; install proofcompute[cuda12] or proofcompute[cuda13] as your driver needs, "
        "or a CUDA toolkit"
    )
