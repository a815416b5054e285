"""Turn CuPy's errors into this package's, and tell a lack of memory from a device that has failed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, cast

from proofcompute.errors import DeviceError, DeviceMemoryError

__all__ = ["failure", "typed"]

_MEMORY: Final = 2
"""cudaErrorMemoryAllocation and CUDA_ERROR_OUT_OF_MEMORY: a call failed, and the context is as it was."""

F = TypeVar("F", bound=Callable[..., Any])


def failure(text: str, error: Exception) -> DeviceError:
    """Return the error to raise in place of one of CuPy's; it says ``text`` and what CuPy says."""
    kind = DeviceMemoryError if getattr(error, "status", None) == _MEMORY else DeviceError
    return kind(f"{text} ({error})")


def typed(method: F) -> F:
    """Wrap a method of a device that queues or waits: any call may report that earlier work failed."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except self._failures as error:
            raise failure(f"{self.name} failed", error) from error

    return cast(F, call)
