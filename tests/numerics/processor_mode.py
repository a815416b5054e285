"""Changing a thread's floating-point mode, as libraries do that were built with -ffast-math."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MACHINE: Final = platform.machine() if sys.platform == "linux" else ""
# the register's place in fenv_t, its bits that matter, and the values of each mode
PLACES: Final = {"x86_64": (28, 0xE040), "aarch64": (0, 0x01C00000)}
MODES: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "flush to zero": 0x8000,
        "subnormals are zero": 0x0040,
        "both": 0x8040,
        "downward": 0x2000,
        "upward": 0x4000,
        "towards zero": 0x6000,
    },
    "aarch64": {
        "both": 0x01000000,
        "upward": 0x00400000,
        "downward": 0x00800000,
        "towards zero": 0x00C00000,
    },
}
NAMES: Final = tuple(MODES.get(MACHINE, {}))


@contextmanager
def mode(name: str) -> Iterator[None]:
    """This thread in the mode ``name``, and then as before."""
    libm = ctypes.CDLL("libm.so.6")
    place, mask = PLACES[MACHINE]
    before = ctypes.create_string_buffer(64)
    libm.fegetenv(before)
    changed = bytearray(before.raw)
    word = struct.unpack_from("<I", changed, place)[0] & ~mask | MODES[MACHINE][name]
    struct.pack_into("<I", changed, place, word)
    now = (ctypes.c_char * 64).from_buffer(changed)
    libm.fesetenv(now)
    try:
        yield
    finally:
        libm.fesetenv(before)
