"""Import the modules of kernels; each compiles its kernels or loads their code when it is imported."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen.library import library
from proofcompute.arithmetic.backends.numba.runtime.cache import directory, left

__all__ = ["MODULES", "Module", "kernels_left", "load_all", "load_from"]

MODULES: Final = (
    "kernels.sha256",
    "kernels.opened",
    "kernels.field",
    "kernels.field61",
    "kernels.rows",
    "kernels.reducing",
    "kernels.routing",
    "kernels.sampler",
    "kernels.packing",
    "kernels.products",
    "kernels.linear",
    "kernels.windows",
    "kernels.short",
    "kernels.windowed",
    "kernels.making",
    "kernels.attention",
    "steps.crew",
    "kernels.hints",
    "kernels.codes",
    "kernels.lattice",
)
"""All modules of kernels by their names in this package, each after those that it imports.

The two halves take about equally long to compile.
"""


def kernels_left() -> int:
    """Return the number of kernels that would have to be compiled."""
    return 0 if library() is not None else left(directory())


def load_all(processes: int = 1) -> None:
    """Load every kernel, and compile those that the cache lacks, in ``processes`` processes.

    Each process starts at another module, goes on in order, and loads what it finds in the cache. So the
    processes need not communicate; where two meet, one kernel is compiled twice.
    """
    most = processes if kernels_left() and directory() is not None else 1
    command = [
        sys.executable,
        "-c",
        f"import sys; from {__name__} import load_from; load_from(int(sys.argv[1]))",
    ]
    starts = [len(MODULES) * i // most for i in range(1, most)]
    helpers = [
        subprocess.Popen([*command, str(start)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        for start in starts
    ]
    try:
        load_from(0)
    finally:  # every kernel is there by now, or the process that needs it compiles it
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()


def load_from(start: int) -> None:
    """Load every kernel, beginning with module number ``start``."""
    for name in (*MODULES[start:], *MODULES[:start]):
        import_module(f"{__package__}.{name}")


class Module:
    """A class attribute that stands for a module of kernels and imports it when it is first used."""

    def __init__(self, name: str) -> None:
        self._load = cache(lambda: import_module(f"{__package__}.kernels.{name}"))

    def __get__(self, backend: object, owner: type) -> Any:
        return self._load()
