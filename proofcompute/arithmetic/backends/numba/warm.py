"""Everything that this backend may compile, at once."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import Final

from proofcompute.arithmetic.backends.numba.cache import directory, left
from proofcompute.arithmetic.backends.numba.library import library

__all__ = ["MODULES", "kernels_left", "load_all", "load_from"]

MODULES: Final = (
    *("sha256", "opened", "field", "field61", "rows", "sampler"),
    *("packing", "products", "linear", "attention", "crew", "hints"),
)
"""Modules with kernels, each after those that it imports; both halves take about as long to compile."""


def kernels_left() -> int:
    """How many kernels would have to be compiled."""
    return 0 if library() is not None else left(directory())


def load_all(processes: int = 1) -> None:
    """Load every kernel, and compile what the cache lacks, with the help of other processes if told so.

    Each process takes the modules in order from another one on, and loads what it finds in the cache. So they
    need not speak to each other; where two meet, one kernel is compiled twice.
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
    finally:  # all is there by now, or will be compiled by whoever needs it
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()


def load_from(start: int) -> None:
    """Load every kernel, those of module ``start`` first."""
    for name in (*MODULES[start:], *MODULES[:start]):
        import_module(f"proofcompute.arithmetic.backends.numba.{name}")
