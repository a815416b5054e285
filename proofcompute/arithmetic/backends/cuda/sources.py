"""Finds the ``.cu`` sources, and lists the kernels that each holds.

They live in ``cuda/`` at the top of the repository and are installed beside this module, so that a checkout,
an editable install and a wheel (zipped or not) all find them. A kernel that is written for a program is a
file of its own, of the kernel's name, which this process remembers.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from proofcompute.errors import DeviceError

__all__ = ["FILES", "KERNEL", "file_of", "generate", "generated", "kernel_files", "source"]

FILES: Final = (
    "add",
    "attention",
    "blake3",
    "codes",
    "embed",
    "fold",
    "gate",
    "gelu",
    "heads",
    "keccak256",
    "layer_norm",
    "linear_few",
    "linear_mma",
    "move",
    "pack",
    "pick",
    "product",
    "project",
    "quantise",
    "reduce",
    "relu",
    "report",
    "rescale",
    "rms_norm",
    "rope",
    "sample",
    "settle",
    "sha256",
    "take",
    "view",
)
"""The names of the ``.cu`` files."""

_INCLUDE: Final = re.compile(r'^#include "([a-z0-9_]+\.cuh)"$', re.MULTILINE)
KERNEL: Final = re.compile(
    r'^extern "C" __global__ void __launch_bounds__\([A-Z]+(?:, [12])?\)\s+([a-z0-9_]+)\(', re.MULTILINE
)
"""Matches the head of a kernel; the group is its name."""


def _read(name: str) -> str:
    installed = resources.files("proofcompute.arithmetic.backends.cuda").joinpath("sources", name)
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    checkout = Path(__file__).parents[4] / "cuda" / name
    try:
        return checkout.read_text(encoding="utf-8")
    except OSError as error:
        raise DeviceError(f"the CUDA source {name} is missing; reinstall proofcompute ({error})") from error


_MOST_GENERATED: Final = 256
"""Most kernels that one process has written for programs; each takes a compiler up to a second."""
_MOST_TEXT: Final = 1 << 17
"""Most letters of such a kernel; compilers take more than linearly long for a long one."""
_generated: Final[dict[str, str]] = {}


def generate(kernel: str, text: str) -> bool:
    """Remember the text of a kernel that is written for a program; its name says what the text is.

    Returns whether the kernel can be used: not if it is too long, or this process has too many others.
    """
    if kernel not in _generated:
        if len(_generated) >= _MOST_GENERATED or len(text) > _MOST_TEXT:
            return False
        _generated[kernel] = text
    return True


def generated(kernel: str) -> str | None:
    """Return the text of a kernel that :func:`generate` was given, else None."""
    return _generated.get(kernel)


def file_of(kernel: str) -> str | None:
    """Return the name of the file that holds a kernel, or None if there is none."""
    return kernel_files().get(kernel) or (kernel if kernel in _generated else None)


@cache
def source(file: str) -> str:
    """Return ``cuda/<file>.cu`` with headers in place of their includes. DeviceError if one is missing."""
    seen: set[str] = set()

    def header(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return _INCLUDE.sub(header, _read(name).replace("#pragma once\n", ""))

    return _INCLUDE.sub(header, _generated.get(file) or _read(f"{file}.cu"))


@cache
def kernel_files() -> dict[str, str]:
    """Return the file of every kernel, by the kernel's name."""
    return {kernel: file for file in FILES for kernel in KERNEL.findall(source(file))}
