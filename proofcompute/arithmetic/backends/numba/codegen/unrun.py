"""Keep Numba from making machine code of the functions that a kernel consists of.

Numba compiles each function that it meets so that Python could call it: it emits machine code, and loads it.
A kernel takes their intermediate code alone, and its own machine code is made once, when all is linked. Code
that nothing runs would be a third of the time of compiling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.codegen import JITCodeLibrary

__all__ = ["unrun"]


class _Intermediate(JITCodeLibrary):  # type: ignore[misc]
    """A library that is linked into others and never loaded."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@contextmanager
def unrun(context: Any) -> Iterator[None]:
    """Within the block, what is compiled for Numba's target context cannot be run.

    The caller holds Numba's lock for compiling.
    """
    context.refresh()  # Numba's own functions for memory, which are run, are compiled before
    codegen = context.codegen()
    usual = codegen._library_class
    codegen._library_class = _Intermediate
    codegen.set_env = lambda name, environment: None  # writes into a function that was loaded
    try:
        yield
    finally:
        codegen._library_class = usual
        del codegen.set_env
