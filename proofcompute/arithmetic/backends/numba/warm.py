"""Everything that this backend may compile, at once."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from proofcompute.arithmetic.backends.numba.cache import directory, left
from proofcompute.arithmetic.backends.numba.library import library

__all__ = ["MODULES", "kernels_left", "load_all"]

MODULES: Final = (
    "attention",
    "crew",
    "field",
    "field61",
    "hints",
    "linear",
    "opened",
    "packing",
    "products",
    "rows",
    "sampler",
    "sha256",
)
"""Modules with kernels."""


def kernels_left() -> int:
    """How many kernels would have to be compiled."""
    return 0 if library() is not None else left(directory())


def load_all() -> None:
    """Load every kernel, and compile what the cache lacks."""
    for name in MODULES:
        import_module(f"proofcompute.arithmetic.backends.numba.{name}")
