"""Finds NVIDIA's shared libraries: in a CUDA toolkit, or in the packages that the extras install."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["MAJORS", "candidates", "nvidia_folders"]

MAJORS: Final = (13, 12)
"""Major versions of CUDA whose libraries are used, newest first."""
_TOOLKITS: Final = ("CUDA_PATH", "CUDA_HOME")


def nvidia_folders() -> list[Path]:
    """Return the folders of NVIDIA's Python packages."""
    spec = importlib.util.find_spec("nvidia")
    return [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []


def candidates(name: str) -> Iterator[str]:
    """Yield what may be ``lib<name>.so``: paths in packages and toolkits, then names for the loader."""
    for folder in nvidia_folders():
        yield from map(str, sorted(folder.glob(f"*/lib/lib{name}.so.*")))
    for variable in _TOOLKITS:
        if toolkit := os.environ.get(variable):
            yield from map(str, sorted(Path(toolkit, "lib64").glob(f"lib{name}.so.1[0-9]")))
    yield from (f"lib{name}.so.{major}" for major in MAJORS)
