"""Write the loop that evaluates an expression, as Python that Numba compiles.

The loop's parameters are a range of units, a plan (:mod:`..mapping` makes it), the inputs and the results,
each array flat. Every array's stride along the loop's last axis is of one of three classes, which the text
is written for. Elements are computed by :mod:`proofcompute.arithmetic.backends.scalar`, integers in 64 bits
and cut to their type. The text is made of names and numbers of this module alone: what an expression says
only chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar import curves, elements, functions, rounded
from proofcompute.arithmetic.primitives import ELEMENTS, Term

__all__ = ["BROADCAST", "CONTIGUOUS", "HEAD", "STRIDED", "Loop", "written"]

BROADCAST, CONTIGUOUS, STRIDED = "0", "1", "s"
"""Classes of strides along the last axis."""
HEAD: Final = 4
"""Elements of a plan before the sizes of its axes."""

_NUMPY: Final = {name: f"np.{dtype.name}" for name, dtype in ELEMENTS.items()}
_FLOAT: Final = {
    "add": "plus({0}, {1})",
    "sub": "minus({0}, {1})",
    "mul": "times({0}, {1})",
    "div": "divided({0}, {1})",
    "rem": "remainder({0}, {1})",
    "neg": "negative({0})",
    "abs": "absolute({0})",
    "min": "least_of({0}, {1})",
    "max": "greater({0}, {1})",
    "sqrt": "root_of({0})",
    "floor": "np.floor({0})",
    "rint": "np.rint({0})",
    "exp": "exp({0})",
    "log": "log({0})",
    "sin": "sine({0})",
    "cos": "cosine({0})",
    "tanh": "tanh({0})",
    "erf": "erf({0})",
    "atan": "atan({0})",
    "pow": "power({0}, {1})",
}
_WHOLE: Final = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "quotient({0}, {1})",
    "rem": "remainder_of({0}, {1})",
    "neg": "-{0}",
    "abs": "-{0} if {0} < 0 else {0}",
    "min": "{0} if {0} < {1} else {1}",
    "max": "{0} if {0} > {1} else {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~{0}",
    "shl": "shifted_left({0}, {1}, np.int64({bits}))",
    "shr": "shifted_right({0}, {1}, np.int64({bits}))",
}
_TRUTH: Final = {
    "and": "{0} and {1}",
    "or": "{0} or {1}",
    "xor": "{0} != {1}",
    "not": "not {0}",
    "eq": "{0} == {1}",
}
_COMPARED: Final = {"lt": "{0} < {1}", "le": "{0} <= {1}", "eq": "{0} == {1}"}
_NAMES: Final[dict[str, Any]] = {
    "np": np,
    **{name: getattr(elements, name) for name in elements.__all__},
    **{name: getattr(curves, name) for name in curves.__all__},
    **{name: getattr(functions, name) for name in ("bits_of", "erf", "exp", "from_bits")},
    **{name: getattr(rounded, name) for name in ("minus", "plus", "times")},
}


@dataclass(frozen=True)
class Loop:
    """The terms that one loop computes."""

    inputs: tuple[tuple[int, str, str], ...]
    """The values that it reads: number, type, class of stride."""
    first: int
    """The number of the value of the first term."""
    terms: tuple[Term, ...]
    """One after the other."""
    outputs: tuple[tuple[int, str], ...]
    """The values that it writes: number and type."""


def _constant(term: Term) -> str:
    """Return a constant's text: its bits, for exactness, as a number of its type."""
    width = 8 * ELEMENTS[term.dtype].itemsize
    signed = term.bits - (1 << width) if term.bits >> (width - 1) and term.dtype != "u8" else term.bits
    if term.dtype == "f32":
        return f"from_bits(np.int32({signed}))"
    if term.dtype == "bool":
        return str(bool(term.bits))
    if signed == -(1 << 63):  # no literal of 64 bits
        return "np.int64(-0x7FFFFFFFFFFFFFFF) - np.int64(1)"
    return f"{_NUMPY[term.dtype]}({signed})"


def _bounds(dtype: str) -> tuple[str, str]:
    limits = np.iinfo(ELEMENTS[dtype])
    return f"np.int64({limits.min})", f"np.int64({limits.max})"


def _cast(x: str, of: str, to: str) -> str:
    """Return the text of a conversion; of a NaN it may be any number."""
    if of == to:
        return x
    if to == "bool":
        return f"{x} != {_NUMPY[of]}(0)"
    if of == "bool":
        return f"{_NUMPY[to]}(1) if {x} else {_NUMPY[to]}(0)"
    if to == "f32":
        return f"np.float32({x})"
    low, high = _bounds(to)
    if of == "f32":
        limits = np.iinfo(ELEMENTS[to])
        ends = f"np.float32({limits.min}.0), np.float32({limits.max + 1}.0)"
        below, beyond = ends.split(", ")
        inside = f"whole({x}, {ends})"
        greatest = f"{_NUMPY[to]}({limits.max})"
        least = _constant(Term("constant", (), to, 1 << 8 * ELEMENTS[to].itemsize - 1 if limits.min else 0))
        return f"{greatest} if {x} >= {beyond} else (({least}) if {x} < {below} else {_NUMPY[to]}({inside}))"
    return f"{_NUMPY[to]}(saturated(np.int64({x}), {low}, {high}))"


def _value(term: Term, args: Sequence[str], of: Sequence[str]) -> str:
    """Return the text of a term's value."""
    function, dtype = term.function, term.dtype
    if function == "constant":
        return _constant(term)
    if function == "select":
        return f"{args[1]} if {args[0]} else {args[2]}"
    if function == "cast":
        return _cast(args[0], of[0], dtype)
    if function == "bitcast":
        how = {"i32": "bits_of({0})", "f32": "from_bits({0})"}.get(dtype, f"{_NUMPY[dtype]}({{0}})")
        return how.format(*args)
    if of[0] == "bool":
        return _TRUTH[function].format(*args)
    if dtype == "bool":
        return _COMPARED[function].format(*args)
    if dtype == "f32":
        return _FLOAT[function].format(*args)
    table = _WHOLE | {"shr": "logical_shift({0}, {1}, np.int64({bits}))"} if dtype == "u8" else _WHOLE
    wide = [f"np.int64({x})" for x in args]
    return f"{_NUMPY[dtype]}({table[function].format(*wide, bits=8 * ELEMENTS[dtype].itemsize)})"


def _failure(term: Term, args: Sequence[str], of: Sequence[str]) -> str:
    """Return the text of whether a term has no result; empty if it always has one."""
    if term.function in ("div", "rem") and term.dtype != "f32":
        return f"{args[1]} == {_NUMPY[term.dtype]}(0)"
    if term.function in ("sin", "cos"):
        return f"outside_circle({args[0]})"
    if term.function in ("cast", "bitcast") and of[0] == "f32" != term.dtype:
        return f"is_nan({args[0]})"
    return ""


def _body(loop: Loop) -> list[str]:
    """Return the lines of one element."""
    names = {number: f"v{number}" for number, _, _ in loop.inputs}
    types = {number: dtype for number, dtype, _ in loop.inputs}
    lines = [f"v{number} = x{number}[i]" for number, _, how in loop.inputs if how == CONTIGUOUS]
    lines += [
        f"v{number} = x{number}[p{number} + (start + i) * s{number}]"
        for number, _, how in loop.inputs
        if how == STRIDED
    ]
    for j, term in enumerate(loop.terms, loop.first):
        args, of = [names[i] for i in term.args], [types[i] for i in term.args]
        if failure := _failure(term, args, of):
            lines.append(f"wrong |= np.int32({failure})")
        lines.append(f"v{j} = {_value(term, args, of)}")
        names[j], types[j] = f"v{j}", term.dtype
    return lines + [f"y{number}[i] = v{number}" for number, _ in loop.outputs]


def _places(loop: Loop) -> list[str]:
    """Return the lines that find where a unit begins in each input."""
    lines, at = ["rest = o", "j = rank - 1", "while j >= 0:"], "HEAD + rank"
    lines += ["    size = plan[HEAD + j]", "    step = rest % size", "    rest = rest // size"]
    starts = []
    for k, (number, _, _) in enumerate(loop.inputs):
        row = f"{at} + {k} * (rank + 2)"
        starts.append(f"p{number} = plan[{row}]")
        lines.append(f"    p{number} += step * plan[{row} + 1 + j]")
    lines.append("    j -= 1")
    for k, (number, _, how) in enumerate(loop.inputs):
        if how == BROADCAST:
            lines.append(f"v{number} = a{number}[p{number}]")
        elif how == CONTIGUOUS:
            lines.append(f"x{number} = a{number}[p{number} + start : p{number} + start + length]")
        else:
            lines += [f"x{number} = a{number}", f"s{number} = plan[{at} + {k} * (rank + 2) + 1 + rank]"]
    for number, _ in loop.outputs:
        lines.append(f"y{number} = b{number}[o * inner + start : o * inner + start + length]")
    return starts + lines


def written(loop: Loop, name: str) -> Callable[..., Any]:
    """Return the function that a loop is compiled from, under a name of its own."""
    arrays = [f"a{number}" for number, _, _ in loop.inputs] + [f"b{number}" for number, _ in loop.outputs]
    text = "\n".join([
        f"def {name}(first, last, plan, {', '.join(arrays)}):",
        "    inner, chunk, chunks, rank = plan[0], plan[1], plan[2], plan[3]",
        "    wrong = np.int32(0)",
        "    for u in range(first, last):",
        "        o = u // chunks",
        "        start = (u - o * chunks) * chunk",
        "        length = min(chunk, inner - start)",
        *(f"        {line}" for line in _places(loop)),
        "        for i in range(length):",
        *(f"            {line}" for line in _body(loop)),
        "    return wrong == 0",
    ])  # fmt: skip
    space = {**_NAMES, "HEAD": HEAD, "__name__": __name__}
    exec(compile(text, f"<{name}>", "exec"), space)  # noqa: S102 - of names and numbers of this module alone
    made: Callable[..., Any] = space[name]
    return made
