"""Defines the float operations of rule 1, each with one rounding, on every target.

``plus(a, b)`` is a + b where the compiler leaves a sum alone: in plain Python on NumPy scalars, and in Numba
for the CPU. Numba for CUDA contracts a * b + c into one fused multiply-add, so there
:mod:`proofcompute.arithmetic.backends.numba_cuda` gives these five names a meaning of their own. Every float
operation of :mod:`.functions` that rounds goes through them; comparison, negation and bit patterns are exact
anyhow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

__all__ = ["OPTIONS", "minus", "over", "plus", "register", "root", "shared", "times"]

OPTIONS: Final = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""Numba's options for everything here and in the CPU backend."""
_INLINED: Final = {**OPTIONS, "forceinline": True, "no_cfunc_wrapper": True}
"""Inlines always: a remaining call would keep LLVM from vectorising the loop around it."""
_rounding: Final[list[Callable[..., Any]]] = []
_shared: Final[list[Callable[..., Any]]] = []
"""Functions not yet registered with Numba, which is not imported before something is compiled."""


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that kernels of either target call and compile in; it is plain Python elsewhere."""
    _shared.append(function)
    return function


def register() -> None:
    """Register everything that is :func:`shared` with Numba; call this before it compiles."""
    from numba.extending import overload, register_jitable

    while _shared:
        register_jitable(**_INLINED)(_shared.pop())
    while _rounding:
        _on_the_cpu(_rounding.pop(), overload)


def plus(a: Any, b: Any) -> Any:
    """Return a + b."""
    return a + b


def minus(a: Any, b: Any) -> Any:
    """Return a - b."""
    return a - b


def times(a: Any, b: Any) -> Any:
    """Return a b."""
    return a * b


def over(a: Any, b: Any) -> Any:
    """Return a / b."""
    return a / b


def root(a: Any) -> Any:
    """Return the square root of a."""
    return np.sqrt(a)


def _on_the_cpu(function: Callable[..., Any], overload: Callable[..., Any]) -> None:
    """Register ``function`` as itself in code for the CPU."""

    @overload(function, jit_options=_INLINED, strict=False, target="cpu")
    def choose(*types: Any) -> Callable[..., Any]:
        return function


_rounding.extend((plus, minus, times, over, root))
