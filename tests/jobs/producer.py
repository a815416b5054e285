"""A library of arrays of its own, which exchanges them by DLPack and nothing else."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arrays import Array

CPU, CUDA, PINNED, METAL = (1, 0), (2, 0), (3, 0), (8, 0)


class Foreign:
    """An array of another library, on a device of its own choice; its memory is NumPy's."""

    def __init__(self, values: Any, place: tuple[int, int] = CPU) -> None:
        self.values = np.asarray(values)
        self.place = place

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place

    def __dlpack__(self, **options: Any) -> Any:
        options.pop("stream", None)
        return self.values.__dlpack__(**options)

    def __array_namespace__(self) -> Any:
        return LIBRARY

    def __matmul__(self, other: Foreign) -> Foreign:
        assert isinstance(other, Foreign)
        assert self.place == other.place  # as libraries require
        return Foreign(self.values @ other.values, self.place)


def _taken(x: Any) -> Foreign:
    """Take an array where it lies: one of an emulated device says that it is the host's."""
    return Foreign(np.from_dlpack(x), CUDA if isinstance(x, DeviceArray) else CPU)


LIBRARY = SimpleNamespace(__name__="foreign", from_dlpack=_taken, isfinite=lambda x: np.isfinite(x.values))


class Plain:
    """As PyTorch's tensors: no namespace, but a package with ``from_dlpack``."""

    def __init__(self, values: Any, problem: str = "") -> None:
        self.values, self.problem = np.asarray(values), problem

    def is_neg(self) -> bool:
        """As PyTorch's: whether the numbers are those in memory with their signs changed."""
        return self.problem == "negative"

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU

    def __dlpack__(self, **options: Any) -> Any:
        if self.problem:
            raise BufferError(self.problem)
        return self.values.__dlpack__(**options)


def from_dlpack(x: Any) -> Plain:
    """Take an array of another library."""
    return Plain(np.from_dlpack(x))


def package(monkeypatch: Any, name: str = "plainlib", **functions: Any) -> None:
    """Make ``Plain`` a class of a package that has ``from_dlpack``, or whatever is given."""
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__name__=name, **functions))
    monkeypatch.setattr(Plain, "__module__", f"{name}.arrays")


def values(x: Any) -> Array:
    """The values of an array of either kind, or NumPy's."""
    found: Array = x if isinstance(x, np.ndarray) else x.values
    return found
