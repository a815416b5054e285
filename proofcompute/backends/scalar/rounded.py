"""Rule 1 in one number: each float operation with one rounding, on every target.

``plus(a, b)`` is a + b where the compiler leaves a sum alone: in plain Python on NumPy scalars, and in Numba
for the CPU. Numba for CUDA contracts a * b + c into one fused multiply-add, so there
:mod:`proofcompute.backends.numba_cuda` gives these five names a meaning of their own. Every float operation
of :mod:`.functions` that rounds goes through them; comparison, negation and bit patterns are exact anyhow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba.extending import overload, register_jitable

__all__ = ["OPTIONS", "minus", "over", "plus", "root", "shared", "times"]

OPTIONS: Final = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""How Numba compiles everything here and in the CPU backend."""
_INLINED: Final = {**OPTIONS, "forceinline": True}
"""A call that is left would keep LLVM from making vectors of the loop around it."""


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that kernels of either target call, compiled into each of them; plain Python elsewhere."""
    return register_jitable(**_INLINED)(function)  # type: ignore[no-any-return]


def plus(a: Any, b: Any) -> Any:
    """a + b."""
    return a + b


def minus(a: Any, b: Any) -> Any:
    """a - b."""
    return a - b


def times(a: Any, b: Any) -> Any:
    """a b."""
    return a * b


def over(a: Any, b: Any) -> Any:
    """a / b."""
    return a / b


def root(a: Any) -> Any:
    """The square root of a."""
    return np.sqrt(a)


def _on_the_cpu(function: Callable[..., Any]) -> None:
    """In code for the CPU, ``function`` is itself."""

    @overload(function, jit_options=_INLINED, strict=False, target="cpu")
    def choose(*types: Any) -> Callable[..., Any]:
        return function


for _function in (plus, minus, times, over, root):
    _on_the_cpu(_function)
