"""Modules of kernels, imported when they are needed: importing one compiles it, or loads its code."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["Module"]


class Module:
    """A module of kernels as an attribute: imported, and so compiled, when it is first used."""

    def __init__(self, name: str) -> None:
        self._load = cache(lambda: import_module(f"proofcompute.arithmetic.backends.numba.{name}"))

    def __get__(self, backend: object, owner: type) -> Any:
        return self._load()
