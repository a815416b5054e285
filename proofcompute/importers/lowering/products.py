"""Lowers products: with constant weights, of two activations, and of integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from proofcompute.arrays import F32, Array
from proofcompute.importers.lowering.graph import Graph, Study, rounded
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Row, Value
from proofcompute.models.building.products import FLOAT_CONTRACTION
from proofcompute.program.operations import Contract

__all__ = ["contract", "einsum", "integer_matmul", "linear", "matmul", "swapped"]

_FLOAT_WORK: Final = 1 << 18
"""Multiplications up to which a product of few terms is made in floats."""
_BLOCK: Final = 1 << 22
"""Products of a block of rows when constants are multiplied."""


def _folded(g: Graph, a: Array, b: Array) -> F32:
    """Return the product of constant matrices, by the canonical sum, so that it is the same everywhere."""
    if g.quick:
        quick: F32 = np.matmul(a, b).astype(np.float32)
        return quick
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n, d, m = a.shape[-2], a.shape[-1], b.shape[-1]
    first = np.broadcast_to(a, (*batch, n, d)).reshape(-1, n, d)
    second = np.broadcast_to(b, (*batch, d, m)).reshape(-1, d, m)
    out = np.zeros((len(first), n, m), np.float32)
    step = max(1, _BLOCK // max(1, d * m))
    for i, (x, y) in enumerate(zip(first, second, strict=True)):
        for at in range(0, n, step):
            terms = Constant(x[at : at + step, :, None] * y[None], "f32")
            out[i, at : at + step] = g.known(g.reduce("sum", terms, (1,)), "")
    return out.reshape(*batch, n, m)


def _short(d: int, count: int) -> bool:
    """Return whether a product of d terms, in which ``count`` numbers are multiplied, is made in floats."""
    return d <= FLOAT_CONTRACTION and count <= _FLOAT_WORK


def linear(g: Graph, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Return x W^T + bias over the last axis, W [m, d]. The product has the limbs of its name."""
    if not isinstance(weight, Constant) or not (bias is None or isinstance(bias, Constant)):
        made = matmul(g, x, g.transpose(weight, (1, 0)))
        return made if bias is None else g.map("add", made, bias)
    m, d = weight.shape
    if x.shape[-1:] != (d,):
        raise RefusedError(f"weights {[m, d]} do not fit {list(x.shape)}")
    w = cast(F32, np.ascontiguousarray(weight.array, np.float32))
    count = math.prod(x.shape) * m
    short = _short(d, count)
    if isinstance(x, Constant):
        if g.study is not None and d and not short:
            made = Constant(_studied(g, g.study, x.array, w), x.dtype)
            return made if bias is None else g.map("add", made, bias)
        rows = x.array.reshape(-1, d) if d else np.zeros((math.prod(x.shape[:-1]), 0), np.float32)
        made = Constant(_folded(g, rows, w.T).reshape(*x.shape[:-1], m), x.dtype)
        return made if bias is None else g.map("add", made, bias)
    _finite(w, "a weight")
    if short:
        wide = g.reshape(x, (*x.shape[:-1], 1, d))
        made = g.reduce("sum", g.map("mul", wide, Constant(w, x.dtype)), (len(x.shape),))
        return made if bias is None else g.map("add", made, bias)
    last = len(x.shape) - 1
    base, order = (x.base, x.order) if x.order[last] == last else (g.tensor(x), tuple(range(last + 1)))
    name = g.name()
    limbs, weight_limbs = g.limbs(name)
    g.products.append((name, count))
    b = None if bias is None else cast(F32, np.ascontiguousarray(bias.array.reshape(-1), np.float32))
    made_ = g.builder.linear(base, w, b, limbs=limbs, weight_limbs=weight_limbs, name=f"{name}.product")
    return Row(made_, order, x.dtype, x.inputs)


def _studied(g: Graph, study: Study, x: Array, w: Array) -> Array:
    """Return x W^T while a precision is being chosen."""

    def made(limbs: int, weight_limbs: int) -> Array:
        rows = rounded(x) if limbs == 1 else x
        found: Array = rows @ (rounded(w) if weight_limbs == 1 else w).T
        return found

    return study.product(g.name(), made)


def _finite(w: Array, what: str) -> None:
    if not np.isfinite(w).all():
        raise RefusedError(f"{what} is NaN or infinite")


def matmul(g: Graph, x: Value, y: Value) -> Value:
    """Return the matrix product as NumPy's matmul defines it. Of rows and a matrix it is a :func:`linear`."""
    if len(x.shape) == 0 or len(y.shape) == 0:
        raise RefusedError("a matrix product of a number")
    if len(y.shape) == 1:
        made = matmul(g, x, g.reshape(y, (*y.shape, 1)))
        return g.reshape(made, made.shape[:-1])
    if len(x.shape) == 1:
        made = matmul(g, g.reshape(x, (1, *x.shape)), y)
        return g.reshape(made, (*made.shape[:-2], made.shape[-1]))
    if x.shape[-1] != y.shape[-2]:
        raise RefusedError(f"matrices {list(x.shape)} and {list(y.shape)} do not fit")
    if isinstance(x, Constant) and isinstance(y, Constant) and g.study is None:
        return Constant(_folded(g, x.array, y.array), x.dtype)
    if isinstance(y, Constant) and math.prod(y.shape[:-2]) == 1:
        flat = g.reshape(y, y.shape[-2:])
        made = linear(g, x, g.transpose(flat, (1, 0)))
        extra = len(y.shape) - len(made.shape)
        return g.reshape(made, ((1,) * extra + made.shape) if extra > 0 else made.shape)
    if isinstance(x, Constant) and math.prod(x.shape[:-2]) == 1:
        turned = matmul(g, swapped(g, y), swapped(g, x))
        return swapped(g, turned)
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise RefusedError(f"stacks of matrices {list(x.shape)} and {list(y.shape)} do not fit") from None
    if _short(x.shape[-1], math.prod(batch) * math.prod(x.shape[-2:]) * y.shape[-1]):
        return _terms(g, x, y)
    return contract(g, x, y, g.limbs(g.name())[0])


def _terms(g: Graph, x: Value, y: Value) -> Value:
    """Return the product of two stacks of matrices in floats, as a sum of products."""
    rows = g.reshape(x, (*x.shape[:-1], 1, x.shape[-1]))
    turned = swapped(g, y)
    columns = g.reshape(turned, (*turned.shape[:-2], 1, *turned.shape[-2:]))
    terms = g.map("mul", rows, columns)
    return g.reduce("sum", terms, (len(terms.shape) - 1,))


def swapped(g: Graph, x: Value) -> Value:
    """Return matrices transposed."""
    rank = len(x.shape)
    return g.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def contract(g: Graph, x: Value, y: Value, limbs: int) -> Value:
    """Return the product of two stacks of matrices, quantised to so many limbs, or 0 for integers (i64)."""
    dtype = x.dtype if limbs else "i64"
    if isinstance(x, Constant) and isinstance(y, Constant):
        if limbs:
            # where a precision is being chosen, one limb is what it is in a program
            few = g.quick and limbs == 1
            first, second = (rounded(x.array), rounded(y.array, -2)) if few else (x.array, y.array)
            return Constant(_folded(g, first, second), dtype)
        return Constant(np.matmul(x.array.astype(np.int64), y.array.astype(np.int64)), dtype)
    made = g.builder.apply(Contract(limbs), g.tensor(x), g.tensor(y))
    inputs = frozenset[str]().union(*(v.inputs for v in (x, y) if isinstance(v, Row)))
    return g.row(made, dtype, inputs)


def integer_matmul(g: Graph, x: Value, y: Value) -> Value:
    """Return the exact product of integer matrices, as NumPy's matmul, in i64."""
    kinds = ("i8", "u8", "i32")
    if STORED[x.dtype] not in kinds or STORED[y.dtype] not in kinds:
        raise RefusedError(f"an integer product of {x.dtype} and {y.dtype}")
    first = x if len(x.shape) > 1 else g.reshape(x, (1, *x.shape))
    second = y if len(y.shape) > 1 else g.reshape(y, (*y.shape, 1))
    made = contract(g, first, second, 0)
    shape = list(made.shape)
    if len(x.shape) == 1:
        del shape[-2]
    if len(y.shape) == 1:
        del shape[-1]
    return g.reshape(made, shape)


def einsum(g: Graph, equation: str, xs: Sequence[Value]) -> Value:
    """Return what an equation of Einstein's notation says, without repeated letters across one result."""
    spaced = equation.replace(" ", "")
    left, arrow, right = spaced.partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise RefusedError(f"equation {equation!r} has another number of operands")
    values, names = [], []
    for term, x in zip(terms, xs, strict=True):
        value, letters = _diagonal(g, x, _spelled(term, len(x.shape)))
        values.append(value)
        names.append(letters)
    if arrow:
        rank = max((sum(c.isdigit() for c in n) for n in names), default=0)
        out = right.replace("...", "".join(str(i) for i in range(10 - rank, 10)))
    else:
        every = "".join(names)
        digits = sorted({c for c in every if c.isdigit()})
        out = "".join(digits) + "".join(
            sorted(c for c in set(every) if every.count(c) == 1 and not c.isdigit())
        )
    if len(set(out)) != len(out) or not set(out) <= set("".join(names)):
        raise RefusedError(f"equation {equation!r} names an axis twice, or one that is not there")
    made, letters = values[0], names[0]
    for i, (value, other) in enumerate(zip(values[1:], names[1:], strict=True)):
        later = set("".join(names[i + 2 :])) | set(out)
        made, letters = _pair(g, made, letters, value, other, later)
    extra = [i for i, c in enumerate(letters) if c not in out]
    made = g.reduce("sum", made, extra)
    letters = "".join(c for c in letters if c in out)
    return g.transpose(made, [letters.index(c) for c in out])


def _spelled(term: str, rank: int) -> str:
    """Return a term with an ellipsis spelt as digits, the last axis being 9."""
    if "..." not in term:
        if len(term) != rank:
            raise RefusedError(f"{term!r} does not name {rank} axes")
        return term
    count = rank - (len(term) - 3)
    if count < 0 or count > 9:
        raise RefusedError(f"{term!r} does not name {rank} axes")
    return term.replace("...", "".join(str(i) for i in range(10 - count, 10)))


def _diagonal(g: Graph, x: Value, letters: str) -> tuple[Value, str]:
    """Return a value whose axes have one letter each, taking diagonals of those that share one."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i, j = letters.index(c), letters.rindex(c)
            n = x.shape[i]
            rest = [a for a in range(len(letters)) if a not in (i, j)]
            front = g.transpose(x, (*rest, i, j))
            shape = front.shape[:-2]
            inner = math.prod(shape)
            x = g.reshape(g.strided(front, (inner, n), (n * n, n + 1)), (*shape, n))
            letters = "".join(letters[a] for a in rest) + c
    return x, letters


def _pair(g: Graph, x: Value, first: str, y: Value, second: str, later: set[str]) -> tuple[Value, str]:
    """Return the product of two values over the letters that no later term has."""
    summed_x = [i for i, c in enumerate(first) if c not in second and c not in later]
    x, first = g.reduce("sum", x, summed_x), "".join(c for c in first if c in second or c in later)
    summed_y = [i for i, c in enumerate(second) if c not in first and c not in later]
    y, second = g.reduce("sum", y, summed_y), "".join(c for c in second if c in first or c in later)
    both = [c for c in first if c in second and c in later]
    inner = [c for c in first if c in second and c not in later]
    only_x = [c for c in first if c not in second]
    only_y = [c for c in second if c not in first]
    a = g.transpose(x, [first.index(c) for c in (*both, *only_x, *inner)])
    b = g.transpose(y, [second.index(c) for c in (*both, *inner, *only_y)])
    batch = a.shape[: len(both)]
    other = b.shape[: len(both)]
    n = math.prod(a.shape[len(both) : len(both) + len(only_x)])
    d = math.prod(a.shape[len(both) + len(only_x) :])
    m = math.prod(b.shape[len(both) + len(inner) :])
    if inner:
        made = matmul(g, g.reshape(a, (*batch, n, d)), g.reshape(b, (*other, d, m)))
    else:
        made = g.map("mul", g.reshape(a, (*batch, n, 1)), g.reshape(b, (*other, 1, m)))
    sizes = (
        *np.broadcast_shapes(batch, other),
        *a.shape[len(both) : len(both) + len(only_x)],
        *b.shape[len(both) + len(inner) :],
    )
    return g.reshape(made, sizes), "".join((*both, *only_x, *only_y))
