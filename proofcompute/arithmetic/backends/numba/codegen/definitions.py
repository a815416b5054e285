"""What kernels are made of, named without Numba or llvmlite, which a process imports only to compile.

Helpers, intrinsics and functions of Numba stand for themselves as :class:`Later` until Numba asks for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

from proofcompute.arithmetic.backends.numba.codegen.signatures import Signature, real
from proofcompute.arithmetic.backends.scalar.rounded import OPTIONS

__all__ = ["Later", "emitted", "external", "function_of_numba", "helper", "intrinsic"]


class Later:
    """Something of Numba's, made when Numba asks what it is. Kernels name it as a global."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def made(self) -> Any:
        """The thing itself."""
        return self._make()

    @property
    def _numba_type_(self) -> Any:
        """Numba's question."""
        from numba.core.registry import cpu_target

        made = self.made
        cpu_target.typing_context.refresh()  # else it does not know of what was made just now
        return cpu_target.typing_context.resolve_value_type(made)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels of this backend call; compiled into each of them."""

    def make() -> Any:
        import numba

        return numba.njit(**OPTIONS)(function)

    return Later(make)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that emits IR: ``numba.extending.intrinsic``, with signatures of :mod:`.signatures`."""

    def make() -> Any:
        from functools import wraps

        from numba import extending

        @wraps(function)
        def typed(*types: Any) -> Any:
            signature, code = function(*types)
            return real(signature), code

        return extending.intrinsic(typed)

    return Later(make)


def function_of_numba(name: str) -> Any:
    """A function that Numba exports, such as ``carray``."""
    return Later(lambda: getattr(importlib.import_module("numba"), name))


def emitted(module: str, name: str, *arguments: object, **named: object) -> Any:
    """The intrinsic ``name`` of a module that emits IR, or what that name makes of some arguments.

    The module, and llvmlite with it, is imported when Numba asks for the intrinsic, which it never does where
    code is kept.
    """

    def make() -> Any:
        found = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return (found(*arguments, **named) if arguments else found).made

    return Later(make)


def external(symbol: str, signature: Signature) -> Any:
    """A C function that this process has."""

    def make() -> Any:
        from numba import types

        return types.ExternalFunction(symbol, signature.numba())

    return Later(make)
