"""Compiles the ``.cu`` files for devices that need not be there, and reads what the compiler made of them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from proofcompute.arithmetic.backends.cuda import nvrtc
from proofcompute.arithmetic.backends.cuda.libraries import nvidia_folders
from proofcompute.arithmetic.backends.cuda.nvrtc import OPTIONS, Nvrtc, find_nvrtc
from proofcompute.arithmetic.backends.cuda.sources import source
from proofcompute.errors import DeviceError

__all__ = ["Compiled", "Used", "compiled", "disassembly", "version", "why_no_disassembler", "why_not"]

_USED: Final = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_KEPT: Final = Path(__file__).parents[2] / "build" / "nvrtc"
_SHARED: Final = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Used:
    """What a kernel uses of a multiprocessor, as ptxas reports it."""

    registers: int
    shared: int
    """Static shared memory of a block, in bytes."""
    stack: int
    """Local memory of a thread, in bytes."""
    spills: int
    """Bytes of spill stores and loads."""


@dataclass(frozen=True)
class Compiled:
    """A file of ``cuda/`` for one architecture."""

    ptx: str
    cubin: bytes
    used: dict[str, Used]


@cache
def _compiler() -> Nvrtc | None:
    try:
        return find_nvrtc()
    except DeviceError:
        return None


def why_not() -> str:
    """Returns why nothing can be compiled here; empty if it can."""
    return "" if _compiler() else "the package nvidia-cuda-nvrtc is not installed"


def _disassembler() -> Path | None:
    return next((p for folder in nvidia_folders() for p in folder.glob("*/bin/nvdisasm")), None)


def why_no_disassembler() -> str:
    """Returns why no cubin can be read here; empty if one can."""
    return why_not() or ("" if _disassembler() else "the package nvidia-cuda-nvdisasm is not installed")


def version() -> tuple[int, int]:
    """Returns NVRTC's version."""
    return find_nvrtc().version


@cache
def compiled(file: str, architecture: int) -> Compiled:
    """Compiles ``cuda/<file>.cu`` for sm_<architecture>, with a CuPy device's options. Fails on a warning.

    The result is kept under ``build/nvrtc``, by content.
    """
    key = hashlib.sha256(
        "\0".join([source(file), *OPTIONS, str(architecture), str(version())]).encode()
    ).hexdigest()
    kept = _KEPT / f"{file}-{architecture}-{key[:24]}.json"
    if not kept.exists():
        made = _compile(file, architecture)
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = kept.with_suffix(f".{os.getpid()}")
        cubin = base64.b64encode(made.cubin).decode()
        scratch.write_text(json.dumps({"ptx": made.ptx, "cubin": cubin, "log": made.log}))
        scratch.replace(kept)
    found = json.loads(kept.read_text())
    return Compiled(found["ptx"], base64.b64decode(found["cubin"]), _used(found["log"]))


def _used(log: str) -> dict[str, Used]:
    used = {}
    for found in _USED.finditer(log):
        shared = _SHARED.search(found["rest"])
        used[found["kernel"]] = Used(
            int(found["registers"]),
            int(shared[1]) if shared else 0,
            int(found["stack"]),
            int(found["stores"]) + int(found["loads"]),
        )
    return used


def _compile(file: str, architecture: int) -> nvrtc.Compiled:
    made = find_nvrtc().compile(source(file), f"{file}.cu", architecture, "--ptxas-options=-v")
    assert "warning" not in made.log, made.log
    return made


def disassembly(file: str, architecture: int, scratch: Path) -> dict[str, list[str]]:
    """Returns the SASS of every kernel of a file: its operation codes, in order.

    HFMA2 with -RZ and RZ as factors only loads a constant; it is reported as MOV.
    """
    path = scratch / f"{file}-{architecture}.cubin"
    path.write_bytes(compiled(file, architecture).cubin)
    text = subprocess.run(
        [str(_disassembler()), "-c", "-ndf", str(path)], capture_output=True, text=True, check=True
    ).stdout
    kernels: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if section := re.match(r"\s*\.section\s+\.text\.(\w+)", line):
            current = kernels.setdefault(section[1], [])
        elif code := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*)", line):
            constant = code[1].startswith("HFMA2") and re.search(r"-RZ, RZ,", code[2])
            current.append("MOV" if constant else code[1])
    return kernels
