"""Write the kernel that evaluates an expression, as CUDA for NVRTC.

One thread computes one element after the other of the result; the index arithmetic of broadcasting and of
views is written out, with sizes and strides from a plan in device memory. Functions are those of
``cuda/scalars.cuh``. The text is made of names and numbers of this module alone: what an expression says
only chooses among them. A kernel's name is a digest of its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.axes import Axes
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, Term
from proofcompute.arrays import Array

__all__ = ["plan_of", "written"]

_TYPES: Final = {"f32": "float", "i8": "i8", "u8": "u8", "i32": "int", "i64": "i64", "bool": "bool"}
_FLOAT: Final = {
    "add": "plus({0}, {1})",
    "sub": "minus({0}, {1})",
    "mul": "times({0}, {1})",
    "div": "over({0}, {1})",
    "rem": "remainder_of({0}, {1})",
    "neg": "negative({0})",
    "abs": "absolute({0})",
    "min": "least_of({0}, {1})",
    "max": "greater({0}, {1})",
    "sqrt": "root({0})",
    "floor": "round_down({0})",
    "rint": "round_even({0})",
    "exp": "canonical_exp({0})",
    "log": "canonical_log({0})",
    "sin": "canonical_sin({0})",
    "cos": "canonical_cos({0})",
    "tanh": "canonical_tanh({0})",
    "erf": "canonical_erf({0})",
    "atan": "canonical_atan({0})",
    "pow": "canonical_pow({0}, {1})",
}
_WHOLE: Final = {
    "add": "sum({0}, {1})",
    "sub": "difference({0}, {1})",
    "mul": "multiplied({0}, {1})",
    "div": "quotient({0}, {1})",
    "rem": "remainder_of({0}, {1})",
    "neg": "difference(0, {0})",
    "abs": "{0} < 0 ? difference(0, {0}) : {0}",
    "min": "{0} < {1} ? {0} : {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "not": "~{0}",
    "shl": "shifted_left({0}, {1}, {bits})",
    "shr": "shifted_right({0}, {1}, {bits})",
}
_TRUTH: Final = {
    "and": "{0} && {1}",
    "or": "{0} || {1}",
    "xor": "{0} != {1}",
    "not": "!{0}",
    "eq": "{0} == {1}",
}
_COMPARED: Final = {"lt": "{0} < {1}", "le": "{0} <= {1}", "eq": "{0} == {1}"}


def _whole(value: int) -> str:
    return f"(i64)0x{value % (1 << 64):x}ull"


def _float(value: float) -> str:
    return f"from_bits((int)0x{int(np.float32(value).view(np.uint32)):08x}u)"


def _constant(term: Term) -> str:
    if term.dtype == "f32":
        return f"from_bits((int)0x{term.bits:08x}u)"
    if term.dtype == "bool":
        return "true" if term.bits else "false"
    width = 8 * ELEMENTS[term.dtype].itemsize
    signed = term.bits - (1 << width) if term.bits >> (width - 1) and term.dtype != "u8" else term.bits
    return f"({_TYPES[term.dtype]}){_whole(signed)}"


def _cast(x: str, of: str, to: str) -> str:
    if of == to:
        return x
    if to == "bool":
        return f"{x} != 0"
    if of == "bool":
        return f"{x} ? ({_TYPES[to]})1 : ({_TYPES[to]})0"
    if to == "f32":
        return f"__ll2float_rn((i64){x})"
    limits = np.iinfo(ELEMENTS[to])
    ends = f"{_whole(int(limits.min))}, {_whole(int(limits.max))}"
    if of == "f32":
        return (
            f"({_TYPES[to]})whole({x}, {_float(float(limits.min))}, {_float(float(limits.max) + 1)}, {ends})"
        )
    return f"({_TYPES[to]})saturated((i64){x}, {ends})"


def _value(term: Term, args: Sequence[str], of: Sequence[str]) -> str:
    """Return the text of a term's value."""
    function, dtype = term.function, term.dtype
    if function == "constant":
        return _constant(term)
    if function == "select":
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if function == "cast":
        return _cast(args[0], of[0], dtype)
    if function == "bitcast":
        return {"i32": "bits_of({0})", "f32": "from_bits({0})"}.get(dtype, f"({_TYPES[dtype]}){{0}}").format(
            *args
        )
    if of[0] == "bool":
        return _TRUTH[function].format(*args)
    if dtype == "bool":
        return _COMPARED[function].format(*args)
    if dtype == "f32":
        return _FLOAT[function].format(*args)
    text = "logical_shift({0}, {1}, {bits})" if (function, dtype) == ("shr", "u8") else _WHOLE[function]
    wide = [f"(i64){x}" for x in args]
    return f"({_TYPES[dtype]})({text.format(*wide, bits=8 * ELEMENTS[dtype].itemsize)})"


def _failure(term: Term, args: Sequence[str], of: Sequence[str]) -> str:
    """Return the text of whether a term has no result; empty if it always has one."""
    if term.function in ("div", "rem") and term.dtype != "f32":
        return f"{args[1]} == 0"
    if term.function in ("sin", "cos"):
        return f"outside_circle({args[0]})"
    if term.function in ("cast", "bitcast") and of[0] == "f32" != term.dtype:
        return f"is_nan({args[0]})"
    return ""


def _read(expression: Expression) -> set[int]:
    """Return the numbers of the values that the text of a kernel names, besides where it defines them."""
    count = len(expression.inputs)
    dtypes = [*expression.inputs, *(term.dtype for term in expression.terms)]
    read = {len(dtypes) - 1}
    for j, term in reversed(list(enumerate(expression.terms, count))):
        names = [str(i) for i in term.args]
        tested = _failure(term, names, [dtypes[i] for i in term.args])
        if j in read:
            read |= set(term.args)
        elif tested:
            read.add(term.args[1 if term.function in ("div", "rem") else 0])
    return read


@lru_cache(maxsize=1024)
def written(expression: Expression) -> tuple[str, str]:
    """Return the name and the text of the kernel of an expression that has been checked."""
    count = len(expression.inputs)
    dtypes = [*expression.inputs, *(term.dtype for term in expression.terms)]
    read = _read(expression)
    parameters = ["const i64* __restrict__ plan", "i64 count"]
    parameters += [f"const {_TYPES[dtype]}* __restrict__ a{i}" for i, dtype in enumerate(expression.inputs)]
    parameters += [f"{_TYPES[dtypes[-1]]}* __restrict__ out", "int* __restrict__ status"]
    used = [i for i in range(count) if i in read]
    places = [f"    i64 p{i} = plan[1 + rank + {i} * (rank + 1)];" for i in used]
    steps = [f"      p{i} += at * plan[2 + rank + {i} * (rank + 1) + j];" for i in used]
    lines = [f"    const {_TYPES[dtypes[i]]} v{i} = a{i}[p{i}];" for i in used]
    for j, term in enumerate(expression.terms, count):
        args, of = [f"v{i}" for i in term.args], [dtypes[i] for i in term.args]
        if failure := _failure(term, args, of):
            lines.append(f"    wrong = wrong || {failure};")
        if j in read:
            lines.append(f"    const {_TYPES[term.dtype]} v{j} = {_value(term, args, of)};")
    body = "\n".join([
        "  const int rank = (int)plan[0];",
        "  bool wrong = false;",
        "  for (i64 e = first_index(); e < count; e += index_step()) {",
        *places,
        "    i64 rest = e;",
        "    for (int j = rank - 1; j >= 0; --j) {",
        "      const i64 at = rest % plan[1 + j];",
        "      rest /= plan[1 + j];",
        *(steps or ["      (void)at;"]),
        "    }",
        *lines,
        f"    out[e] = v{len(dtypes) - 1};",
        "  }",
        "  if (wrong) atomicOr(status, 1);",
    ])  # fmt: skip
    name = f"map_{hashlib.sha256('; '.join([*parameters, body]).encode()).hexdigest()[:32]}"
    head = f'extern "C" __global__ void __launch_bounds__(THREADS)\n    {name}({", ".join(parameters)})'
    return name, f'#include "scalars.cuh"\n\n{head} {{\n{body}\n}}\n'


def plan_of(axes: Axes) -> Array:
    """Return the plan that a kernel reads: rank, sizes, and for each input its offset and strides."""
    plan = [len(axes.sizes), *axes.sizes]
    for offset, strides in zip(axes.offsets, axes.strides, strict=True):
        plan += [offset, *strides]
    return np.array(plan, dtype=np.int64)
