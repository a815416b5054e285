"""Evaluate expressions by loops that are generated, compiled once and kept by their content.

A loop costs some tenths of a second to compile, so an expression is evaluated as it is defined, in NumPy,
until it has had ``_WORTH`` elements times terms; code that another process has kept is used at once. So a
program of many expressions, each used little, makes nobody compile them all. No result depends on it.

A long expression becomes several loops with arrays between them, because compilers take more than linearly
long for one. All fall back to the definition where there is no
compiler, or after ``_MOST_LOOPS`` loops.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from proofcompute.arithmetic import shapes
from proofcompute.arithmetic.backends.axes import Axes, axes_of, has_margin
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.expressions import (
    BROADCAST,
    CONTIGUOUS,
    STRIDED,
    Loop,
    written,
)
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import generated
from proofcompute.arithmetic.definition import primitives
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, View
from proofcompute.arrays import Array
from proofcompute.errors import DeviceError

__all__ = ["Part", "evaluate", "parts_of"]

_MOST_COST: Final = 48
"""The cost of compiling a loop, in simple terms, from which on it ends."""
_COSTS: Final = {
    **dict.fromkeys(("pow", "sin", "cos"), 6),
    **dict.fromkeys(("exp", "log", "tanh", "erf", "atan", "rem"), 3),
}
"""The costs of functions that are not simple."""
_MOST_LOOPS: Final = 256
"""Most loops that one process makes."""
_WORTH: Final = 1 << 24
"""Elements times terms from which on a loop is worth its compilation."""
_CHUNK: Final = 1 << 13
"""Most elements of the last axis that one unit takes."""
_SPLIT: Final = 200_000
"""Least elements times terms of a part for which a thread pays."""
_LINE: Final = 1 << 13
"""Elements times costs that one line of a recorded loop has: some microseconds."""
_ALIGNED: Final = 64
"""Elements of which the units of a recorded loop are multiples."""


@dataclass
class _Known:
    """What is known of an expression for some classes of strides."""

    work: int = 0
    """Elements times terms so far."""
    function: tuple[Callable[..., Any], int] | None = None
    """The compiled loop, and the address of its entry for compiled code."""
    tried: bool = False
    """Whether the code was looked for where other processes keep it."""


_known: Final[dict[Loop, _Known]] = {}
_guard: Final = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child would wait for a thread of its parent that compiles
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)


@cache
def _compiles() -> bool:
    """Return whether there is a compiler here."""
    found = all(map(importlib.util.find_spec, ("numba", "llvmlite")))
    return found and os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def _class(stride: int) -> str:
    return {0: BROADCAST, 1: CONTIGUOUS}.get(stride, STRIDED)


@lru_cache(maxsize=1024)
def _loops(expression: Expression, classes: tuple[str, ...]) -> tuple[Loop, ...]:
    """Cut an expression into loops; what one computes for another is an array of its own."""
    k, count = len(expression.inputs), len(expression.terms)
    dtypes = [*expression.inputs, *(term.dtype for term in expression.terms)]
    made: list[Loop] = []
    last = 0
    while last < count:
        first, cost = last, 0
        while last < count and cost < _MOST_COST:
            cost += _COSTS.get(expression.terms[last].function, 1)
            last += 1
        terms = expression.terms[first:last]
        needed = sorted({i for term in terms for i in term.args if i < k + first})
        later = {i for term in expression.terms[last:] for i in term.args} | {k + count - 1}
        made.append(
            Loop(
                tuple((i, dtypes[i], classes[i] if i < k else CONTIGUOUS) for i in needed),
                k + first,
                terms,
                tuple((i, dtypes[i]) for i in range(k + first, k + last) if i in later),
            )
        )
    return tuple(made)


def _function(loop: Loop, work: int) -> tuple[Callable[..., Any], int] | None:
    """Return the compiled loop and its address, or None if it is not worth that yet.

    ``work`` is what it has to do now.
    """
    with _guard:
        known = _known.get(loop)
        if known is None:
            if len(_known) >= _MOST_LOOPS:
                return None
            known = _known[loop] = _Known()
        known.work += work
        if known.function is not None or (known.tried and known.work < _WORTH):
            return known.function
        name = f"map_{hashlib.sha256(repr(loop).encode()).hexdigest()[:32]}"
        arrays = [read(ELEMENTS[dtype], 1) for _, dtype, _ in loop.inputs]
        arrays += [write(ELEMENTS[dtype], 1) for _, dtype in loop.outputs]
        signature = types.boolean(types.int64, types.int64, read(types.int64, 1), *arrays)
        known.tried = True
        known.function = generated(name, lambda: written(loop, name), signature, known.work >= _WORTH)
        return known.function


def _plan(axes: Axes, which: Sequence[int | None], chunk: int, chunks: int) -> Array:
    """Return the plan of a loop whose inputs are those of the expression, or, for None, whole arrays."""
    *outer, inner = axes.sizes
    whole = [math.prod(axes.sizes[i + 1 :]) for i in range(len(axes.sizes))]
    plan = [inner, chunk, chunks, len(outer), *outer]
    for i in which:
        plan += [0, *whole] if i is None else [axes.offsets[i], *axes.strides[i]]
    return np.array(plan, dtype=np.int64)


def _run(expression: Expression, inputs: Sequence[Array], axes: Axes, result: Array) -> bool | None:
    """Write the result; return whether it exists, or None if nothing is compiled for it yet."""
    size, k = result.size, len(inputs)
    loops = _loops(expression, tuple(_class(steps[-1]) for steps in axes.strides))
    functions = [_function(loop, size * len(loop.terms)) for loop in loops]
    if None in functions:
        return None
    inner = axes.sizes[-1]
    chunk = min(inner, _CHUNK)
    chunks = -(-inner // chunk)
    units = size // inner * chunks
    values = dict(enumerate(inputs))
    final = k + len(expression.terms) - 1
    for number, (loop, found) in enumerate(zip(loops, functions, strict=True)):
        function, _ = found  # type: ignore[misc]
        plan = _plan(axes, [i if i < k else None for i, _, _ in loop.inputs], chunk, chunks)
        for i, dtype in loop.outputs:
            values[i] = result.reshape(-1) if i == final else np.empty(size, ELEMENTS[dtype])
        arrays = [values[i] for i, _, _ in loop.inputs] + [values[i] for i, _ in loop.outputs]
        least = _SPLIT // (chunk * len(loop.terms))
        if not threads.split(function, units, least, plan, *arrays):
            return False
        needed = {i for after in loops[number + 1 :] for i, _, _ in after.inputs}
        values = {i: x for i, x in values.items() if i in needed or i < k}
    return True


class Part(NamedTuple):
    """One loop of an expression over a row, for commands (:mod:`.steps.commands`)."""

    address: int
    """Where its entry for compiled code is."""
    plan: Array
    reads: tuple[int, ...]
    """The values that it reads: inputs, and then terms of the expression."""
    writes: tuple[tuple[int, str], ...]
    """The values that it writes, whole rows, and their types."""
    units: int
    share: int
    """Units of one line."""
    together: int
    """Lines from which on they are shared out among threads."""


def parts_of(
    expression: Expression, rows: Sequence[tuple[int, ...]], shape: Sequence[int], *, worth: bool
) -> list[Part] | None:
    """Return the loops that evaluate an expression for one row, whose inputs are rows of these shapes.

    Returns None if they are not compiled, and, unless that is ``worth`` it, are not to be.
    """
    size, k = math.prod(shape), len(rows)
    if not size or not _compiles():
        return None
    axes = axes_of(1, shape, [(1, row, None) for row in rows])
    inner = axes.sizes[-1]
    parts = []
    for loop in _loops(expression, tuple(_class(steps[-1]) for steps in axes.strides)):
        found = _function(loop, _WORTH if worth else 0)
        if found is None:
            return None
        cost = sum(_COSTS.get(term.function, 1) for term in loop.terms)
        chunk = min(inner, max(_ALIGNED, _LINE // cost // _ALIGNED * _ALIGNED))
        chunks = -(-inner // chunk)
        plan = _plan(axes, [i if i < k else None for i, _, _ in loop.inputs], chunk, chunks)
        reads = tuple(i for i, _, _ in loop.inputs)
        share = max(1, _LINE // (cost * chunk))
        together = max(2, _LINE // (cost * chunk * share))
        parts.append(Part(found[1], plan, reads, loop.outputs, size // inner * chunks, share, together))
    return parts


def evaluate(
    expression: Expression,
    inputs: Sequence[Array],
    n: int,
    shape: Sequence[int],
    views: Sequence[View | None],
    look: Callable[[Array, View], Array],
) -> Array:
    """Evaluate an expression (:mod:`proofcompute.arithmetic.kernels`); ``look`` reads through a view."""
    shapes.evaluate(expression, inputs, n, shape, views)
    result = np.empty((n, *shape), ELEMENTS[expression.terms[-1].dtype])
    if not result.size:
        return result
    if _compiles():
        require_ieee()
        seen = list(zip(inputs, views or [None] * len(inputs), strict=True))
        # what a margin fills is read from a copy; any other view is a stride of the loop
        seen = [(look(x, v), None) if v is not None and has_margin(v) else (x, v) for x, v in seen]
        axes = axes_of(n, shape, [(len(x), x.shape[1:], v) for x, v in seen])
        good = _run(expression, [x.reshape(-1) for x, _ in seen], axes, result)
        if good:
            return result
        if good is False:
            primitives.evaluate(expression, inputs, n, shape, views)  # it raises the error
            raise DeviceError("a compiled expression has no result where its definition has one")
    return primitives.evaluate(expression, inputs, n, shape, views)
