"""Compiles the rig, once for each content of its sources, under ``build/rig``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from proofcompute.arithmetic.backends.cuda.sources import FILES, KERNEL

__all__ = ["ROOT", "VARIANTS", "build", "sources", "why_not"]

ROOT: Final = Path(__file__).parents[2]
_HERE: Final = Path(__file__).parent
_COMMON: Final = (
    "-std=c++17",
    "-ffp-contract=off",
    "-fno-strict-aliasing",  # words may be read from bytes, as on the device
    "-fno-ipa-reference",  # static shared variables change at barriers
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-ignored-qualifiers",
)
VARIANTS: Final = {
    "plain": ("-O2",),
    "address": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-O1", "-g", "-fsanitize=thread"),
    "coverage": ("-O0", "--coverage"),
}
"""Compiler options of each build: the fast one, the sanitizers', and gcov's."""


def why_not() -> str:
    """Returns why the rig cannot be built here; empty if it can."""
    return "" if shutil.which("g++") else "g++ is not installed"


def sources() -> dict[str, str]:
    """Returns the text of every file of ``cuda/``, by name."""
    return {path.name: path.read_text() for path in sorted((ROOT / "cuda").glob("*.cu*"))}


@cache
def _compiler() -> str:
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def _compiled(folder: Path, name: str, key: str, text: Path, options: tuple[str, ...]) -> Path:
    target = folder / f"{name}-{key}.o"
    if not target.exists():
        scratch = folder / f"{name}-{key}-{os.getpid()}.o"
        _run(["g++", *_COMMON, *options, f"-I{_HERE}", "-c", str(text), "-o", str(scratch)], folder)
        scratch.replace(target)
    return target


def build(
    variant: str = "plain", files: tuple[str, ...] = FILES, changed: Mapping[str, str] | None = None
) -> Path:
    """Builds the rig of a variant: a shared library, or the program ``replay`` for all but the plain one.

    ``changed`` replaces the text of files of ``cuda/``, to seed a fault.
    """
    options = VARIANTS[variant]
    texts = {**sources(), **(changed or {})}
    headers = "".join(text for name, text in texts.items() if name.endswith(".cuh"))
    rig = {name: (_HERE / name).read_text() for name in ("rig.h", "rig.cpp", "replay.cpp")}
    tag = _digest(_compiler(), *_COMMON, *options, headers, *rig.values())
    folder = ROOT / "build" / "rig" / f"{variant}-{tag}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        if name.endswith(".cuh"):
            _write(folder / name, text)
    parts = [_compiled(folder, "rig", "0", _HERE / "rig.cpp", options)]
    keys = []
    for file in files:
        text = texts[f"{file}.cu"]
        key = _digest(text)
        keys.append(key)
        _write(folder / f"{file}-{key}.cu", text)
        kernels = "".join(f"RIG_KERNEL({kernel})\n" for kernel in KERNEL.findall(text))
        wrapper = folder / f"{file}-{key}.cpp"
        _write(wrapper, f'#include "rig.h"\n#include "{file}-{key}.cu"\n{kernels}')
        parts.append(_compiled(folder, file, key, wrapper, options))
    name = f"rig-{_digest(*files, *keys)}"
    target = folder / (f"{name}.so" if variant == "plain" else name)
    if not target.exists():
        scratch = folder / f"{name}-{os.getpid()}"
        if variant == "plain":
            _run(["g++", "-shared", *map(str, parts), "-o", str(scratch)], folder)
        else:
            parts.append(_compiled(folder, "replay", "0", _HERE / "replay.cpp", options))
            _run(["g++", *options, *map(str, parts), "-o", str(scratch)], folder)
        scratch.replace(target)
    return target


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        scratch = path.with_name(f"{path.name}-{os.getpid()}")
        scratch.write_text(text)
        scratch.replace(path)
