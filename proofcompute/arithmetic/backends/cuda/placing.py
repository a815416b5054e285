"""Serves calls with NumPy arrays: errors are raised at once, and results come back as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Launcher

__all__ = ["leading", "placed"]

F = TypeVar("F", bound=Callable[..., Any])


def leading(x: Any) -> Any:
    """Return the first element of an argument that is a (nested) sequence, and any other argument itself."""
    while isinstance(x, list | tuple) and x:
        x = x[0]
    return x


def _resident(arguments: tuple[Any, ...]) -> bool:
    """Return whether the first array among the arguments is on the device."""
    for x in arguments:
        x = leading(x)
        if isinstance(x, DeviceArray):
            return True
        if isinstance(x, np.ndarray):
            return False
    return False


def _home(on: Launcher, x: Any) -> Any:
    if isinstance(x, DeviceArray):
        return on.read(x)
    return tuple(_home(on, part) for part in x) if isinstance(x, tuple) else x


def placed(method: F) -> F:
    """Wrap a method that is written for arrays on the device, so that it takes NumPy arrays too.

    Results are of the kind of the first array among the arguments.
    """

    @wraps(method)
    def call(self: Any, *arguments: Any) -> Any:
        if _resident(arguments):
            return method(self, *arguments)
        on: Launcher = self._on
        operation, on.operation = on.operation, ""  # the caller names the operation, as with any backend
        try:
            out = method(self, *arguments)
            on.faults.look()
        finally:
            on.operation = operation
        return _home(on, out)

    return cast(F, call)
