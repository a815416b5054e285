"""Name the parts of kernels without Numba or llvmlite, which a process imports only to compile.

A :class:`Later` stands for a helper, an intrinsic or a function of Numba until Numba asks for it.
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
    """An object of Numba that is made when Numba asks for its type. Kernels name it as a global."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def made(self) -> Any:
        """The object that this stands for."""
        return self._make()

    @property
    def _numba_type_(self) -> Any:
        """The type, which Numba asks for by this name."""
        from numba.core.registry import cpu_target

        made = self.made
        cpu_target.typing_context.refresh()  # else the context does not know an object made just now
        return cpu_target.typing_context.resolve_value_type(made)


def helper(function: Callable[..., Any]) -> Any:
    """Decorate a function that kernels of this backend call; it is compiled into each of them."""

    def make() -> Any:
        import numba

        return numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)

    return Later(make)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Decorate a function that emits IR: ``numba.extending.intrinsic`` with types of :mod:`.signatures`."""

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
    """Return a function that Numba exports, such as ``carray``."""
    return Later(lambda: getattr(importlib.import_module("numba"), name))


def emitted(module: str, name: str, *arguments: object, **named: object) -> Any:
    """Return the intrinsic ``name`` of a module that emits IR; with arguments, the one that ``name`` makes.

    The module, and llvmlite with it, is imported when Numba asks for the intrinsic, hence never if the code
    is in the cache.
    """

    def make() -> Any:
        found = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return (found(*arguments, **named) if arguments else found).made

    return Later(make)


def external(symbol: str, signature: Signature) -> Any:
    """Return a C function that this process has."""

    def make() -> Any:
        from numba import types

        return types.ExternalFunction(symbol, signature.numba())

    return Later(make)
