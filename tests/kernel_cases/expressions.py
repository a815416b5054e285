"""Cases: Expressions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from kernel_cases.data import Args, Case, floats, rng_of
from proofcompute.arithmetic.primitives import (
    ARITY,
    ELEMENTS,
    Expression,
    Term,
    View,
    infer,
)
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError, FormatError, InputError, LimitError

SPECIAL = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.0, 3.0, -3.0, 2.5, 1e-45, -1e-45, 1.1754942e-38),
    *(1.1754944e-38, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, 126.5, -128.5, 127.99, 255.5, 256.0),
    *(2147483520.0, 2147483648.0, -2147483648.0, -2147483904.0, 9.223372e18, -9.223372e18, 9.2233715e18),
    *(0.875, 0.8750001, 4.0, 0.625, 0.6250001, 1.0000001, 0.9999999, 88.72284, -103.97, 1e10, 8388609.0),
    *(16777215.0, 16777216.0, 129.0, -151.0, 0.7071067, 0.70710677, 1048576.0, -1048576.0, 355.0),
)
"""Binary32 numbers at which functions change."""
TYPES = tuple(ELEMENTS)


def numbers(dtype: str, *shape: int, key: object = None) -> Array:
    """Random elements [shape] of a type, the extremes being frequent, and NaNs and infinities as well."""
    rng = rng_of("numbers", dtype, shape, key)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype == "f32":
        special = rng.choice(np.array([*SPECIAL, np.nan], np.float32), shape)
        return np.where(rng.integers(0, 3, shape) == 0, special, floats("unbounded", *shape)).astype(
            np.float32
        )
    limits = np.iinfo(ELEMENTS[dtype])
    whole = rng.integers(limits.min, limits.max, shape, dtype=ELEMENTS[dtype], endpoint=True)
    special = np.array(
        [limits.min, limits.min + 1, limits.max, 0, 1, 2, 3, 7, limits.max - 1], ELEMENTS[dtype]
    )
    return np.where(rng.integers(0, 2, shape) == 0, rng.choice(special, shape), whole).astype(ELEMENTS[dtype])


def plain(dtype: str, *shape: int, key: object = None) -> Array:
    """The same without NaN."""
    x = numbers(dtype, *shape, key=key)
    return np.where(np.isnan(x), np.float32(1.5), x) if dtype == "f32" else x


def one(function: str, dtypes: Sequence[str], to: str = "") -> Expression:
    """An expression of one function."""
    args = tuple(range(len(dtypes)))
    return Expression(tuple(dtypes), (Term(function, args, infer(function, dtypes, to)),))


def signatures() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Every function but sine and cosine, with every combination of types that it has."""
    for function, count in ARITY.items():
        if function == "constant":
            continue
        asked = TYPES if function in ("cast", "bitcast") else ("",)
        for dtypes, to in itertools.product(itertools.product(TYPES, repeat=count), asked):
            try:
                infer(function, dtypes, to)
            except FormatError:
                continue
            if function not in ("sin", "cos"):  # most of the special numbers are outside their domain
                yield function, dtypes, to


def partial(function: str, dtypes: Sequence[str], to: str) -> bool:
    """Return whether some arguments of a function have no result."""
    whole = function in ("div", "rem") and dtypes[0] != "f32"
    return whole or (dtypes[:1] == ("f32",) and to not in ("", "f32"))


PLACES = {dtype: 1 + 3 * i for i, dtype in enumerate(TYPES)}
"""Where the three inputs of a type are among those of :func:`every`, after the one that chooses."""


@cache
def every(result: str, risky: bool) -> tuple[Expression, list[tuple[str, tuple[str, ...], str]]]:
    """All functions with results of one type in one expression, of which the first input chooses one.

    So few loops are compiled for many functions.
    """
    inputs = ("i32", *(dtype for dtype in TYPES for _ in range(3)))
    chosen = [s for s in signatures() if infer(*s) == result and partial(*s) == risky]
    terms = [Term("constant", (), result)]
    last = len(inputs)
    for number, (function, dtypes, to) in enumerate(chosen):
        next_ = len(inputs) + len(terms)
        args = tuple(PLACES[dtype] + i for i, dtype in enumerate(dtypes))
        terms += [
            Term(function, args, infer(function, dtypes, to)),
            Term("constant", (), "i32", number),
            Term("eq", (0, next_ + 1), "bool"),
            Term("select", (next_ + 2, next_, last), result),
        ]
        last = next_ + 3
    return Expression(inputs, tuple(terms)), chosen


def _special(dtype: str) -> Array:
    """Every two special elements of a type, and for ``select`` any third one: [3, pairs]."""
    if dtype == "bool":
        special = np.array([False, True])
    elif dtype == "f32":
        special = np.array([*SPECIAL, np.nan], np.float32)
    else:
        limits = np.iinfo(ELEMENTS[dtype])
        few = [limits.min, limits.min + 1, limits.max, *range(10), 31, 32, 33, 63, 64, 65]
        special = np.array([*few, -1, -2, -3, -7] if limits.min else few, ELEMENTS[dtype])
    x, y = (part.reshape(-1) for part in np.meshgrid(special, special))
    return np.stack([x, y, x[::-1]])


def _arguments(number: int, risky: bool, columns: int, drawn: bool) -> list[Array]:
    """The inputs of :func:`every` for its function of a number: special elements, or random ones."""
    made: list[Array] = [np.array([[number]], np.int32)]
    for dtype in TYPES:
        three = _special(dtype)
        if drawn:
            three = numbers(dtype, 3, columns)
        three = np.stack([np.resize(row, columns) for row in three])
        if risky and dtype == "f32":
            three = np.where(np.isnan(three), np.float32(7.5), three)
        if risky and dtype not in ("f32", "bool"):
            three[1] = np.where(three[1] == 0, three.dtype.type(5), three[1])
        made += [row.reshape(1, -1) for row in three]
    return made


def _functions() -> Iterator[Case]:
    columns = _special("f32").shape[1]
    for result, risky in itertools.product(TYPES, (False, True)):
        e, chosen = every(result, risky)
        for number, (function, dtypes, to) in enumerate(chosen):
            name = f"{function}-{'-'.join(dtypes)}{'-' + to if to else ''}"
            for drawn, size in ((False, columns), (True, 259)):
                yield Case(
                    "evaluate",
                    f"{name}-{'drawn' if drawn else 'special'}",
                    lambda e=e, i=number, r=risky, d=drawn, n=size: (e, _arguments(i, r, n, d), 1, (n,)),
                )
    for function in ("sin", "cos"):
        for kind, shape in (("special", ()), ("normal", (3, 5, 7)), ("zeros", (2, 9)), ("huge", (1, 2))):
            x = floats(kind, *shape) if shape else np.array([SPECIAL], np.float32)
            x = np.where(np.abs(x) <= np.float32(1048576), x, np.float32(3e5))
            yield Case(
                "evaluate",
                f"{function}-{kind}",
                lambda f=function, x=x: (one(f, ("f32",)), [x], len(x), x.shape[1:]),
            )
    for dtype, bits in (("f32", 0xFF800000), ("i64", 1 << 63)):
        single = Expression((), (Term("constant", (), dtype, bits),))
        yield Case("evaluate", f"constant-{dtype}", lambda e=single: (e, [], 3, (2, 5)))
    # each goes through the other type and back, so it is written as the type needs it
    patterns = (
        ("i8", 0x80),
        ("u8", 255),
        ("i32", 1 << 31),
        ("i64", (1 << 64) - 1),
        ("bool", 1),
        ("f32", 1 << 31),
    )
    terms: list[Term] = []
    for dtype, bits in patterns:
        first = len(terms)
        terms += [Term("constant", (), dtype, bits), Term("cast", (first,), "f32")]
        terms += [Term("max" if first else "abs", (first + 1, first - 1) if first else (1,), "f32")]
    constants = Expression((), tuple(terms))
    yield Case("evaluate", "constants", lambda: (constants, [], 2, (3,)))


SWISH = Expression(
    ("f32",),
    (
        Term("constant", (), "f32", 0x40400000),
        Term("add", (0, 1), "f32"),
        Term("constant", (), "f32", 0),
        Term("max", (2, 3), "f32"),
        Term("constant", (), "f32", 0x40C00000),
        Term("min", (4, 5), "f32"),
        Term("mul", (0, 6), "f32"),
        Term("div", (7, 5), "f32"),
    ),
)
"""x min(max(x + 3, 0), 6) / 6."""
MASKED = Expression(
    ("f32", "i32", "f32"),
    (
        Term("constant", (), "i32", 3),
        Term("lt", (1, 3), "bool"),
        Term("constant", (), "f32", 0xFF800000),
        Term("select", (4, 0, 5), "f32"),
        Term("exp", (6,), "f32"),
        Term("mul", (7, 2), "f32"),
    ),
)
"""exp(x if i < 3 else -inf) * y."""


def long_expression(terms: int, inputs: int = 2) -> Expression:
    """An expression whose terms name each other far apart."""
    made = [Term("add", (0, inputs - 1), "f32")]
    for j in range(1, terms):
        near, far = inputs + j - 1, (j * 7) % (inputs + j)
        made.append(Term(("add", "max", "sub", "min")[j % 4], (near, far), "f32"))
    return Expression(("f32",) * inputs, tuple(made))


def _shapes() -> Iterator[Case]:
    wide = ((4, 6, 5), (4, 1, 5), (1, 6, 1), (5,), (1,), (6, 5), ())
    for i, (left, right) in enumerate(itertools.product(wide, wide)):
        shape = np.broadcast_shapes(left, right)
        for n, rows in ((3, (3, 3)), (2, (1, 2)), (1, (1, 1)), (2, (1, 1)), (0, (0, 1))):
            yield Case(
                "evaluate",
                f"broadcast-{i}-{n}-{rows[0]}-{rows[1]}",
                lambda n=n, r=rows, a=left, b=right, s=shape: (
                    one("sub", ("f32", "f32")),
                    [floats("normal", r[0], *a), floats("mixed", r[1], *b)],
                    n,
                    s,
                ),
            )
    for n, shape in ((1, (1,)), (3, (17, 33)), (2, (100003,)), (700, (3,)), (2, (3, 0, 5))):
        yield Case(
            "evaluate",
            f"swish-{n}-{shape}",
            lambda n=n, s=shape: (SWISH, [numbers("f32", n, *s)], n, s),
        )
        yield Case(
            "evaluate",
            f"masked-{n}-{shape}",
            lambda n=n, s=shape: (
                MASKED,
                [
                    floats("normal", n, *s),
                    np.arange(s[-1], dtype=np.int32)[np.newaxis],
                    floats("mixed", n, *s),
                ],
                n,
                s,
            ),
        )
    for terms, inputs in ((70, 3), (20, 32)):
        yield Case(
            "evaluate",
            f"long-{terms}-{inputs}",
            lambda t=terms, i=inputs: (
                long_expression(t, i),
                [numbers("f32", 2, 37, key=j) for j in range(i)],
                2,
                (37,),
            ),
        )
    turned, flipped = View((5, 4), (1, 5), 0, (0, 0), (5, 4)), View((4, 5), (-5, -1), 19, (0, 0), (4, 5))
    padded = View((6, 5), (5, 1), -5, (1, 0), (5, 5), 0x3F800000)
    for name, v, row in (
        ("turned", turned, (4, 5)),
        ("flipped", flipped, (20,)),
        ("padded", padded, (4, 5)),
        ("repeated", View((3, 7), (0, 2), 1, (0, 0), (3, 7)), (14,)),
    ):
        for other in ((), (1, v.shape[1]), v.shape):
            yield Case(
                "evaluate",
                f"view-{name}-{len(other)}-{other[:1]}",
                lambda v=v, r=row, o=other: (
                    one("sub", ("f32", "f32")),
                    [numbers("f32", 3, *r), floats("mixed", 3, *o)],
                    3,
                    v.shape,
                    (v, None),
                ),
            )


def _spoilt(result: str, dtype: str, place: int, value: float) -> Args:
    """Arguments of :func:`every` of which one element, in one input of a type, has no result."""
    e, _ = every(result, True)
    inputs = _arguments(0, True, 9, True)
    inputs[PLACES[dtype] + place][0, 4] = value
    return e, inputs, 1, (9,)


def _refused() -> Iterator[Case]:
    for dtype in ("i8", "u8", "i32", "i64"):  # each divides, and takes remainders
        yield Case("evaluate", f"zero-{dtype}", lambda d=dtype: _spoilt(d, d, 1, 0), ExecutionError)
        # nothing is divided where there is nothing
        yield Case(
            "evaluate",
            f"zero-{dtype}-none",
            lambda d=dtype: (_spoilt(d, d, 1, 0)[0], [x[:0] for x in _spoilt(d, d, 1, 0)[1]], 0, (9,)),
        )
    for to in ("i8", "u8", "i32", "i64", "bool"):  # cast, and of i32 bitcast
        yield Case("evaluate", f"nan-to-{to}", lambda t=to: _spoilt(t, "f32", 0, np.nan), ExecutionError)
    ones = np.ones((2, 3), np.int32)
    for function in ("div", "rem"):
        yield Case(
            "evaluate",
            f"{function}-zero",
            lambda f=function: (one(f, ("i32", "i32")), [ones, ones - ones], 2, (3,)),
            ExecutionError,
        )  # fmt: skip
    one_nan = np.array([[np.nan], [1]], np.float32)
    for function, to in (("bitcast", "i32"), ("cast", "bool")):
        yield Case(
            "evaluate",
            f"{function}-nan",
            lambda f=function, t=to: (one(f, ("f32",), t), [one_nan], 2, (1,)),
            ExecutionError,
        )
    for function in ("sin", "cos"):
        for value in (np.nan, np.inf, 1048576.125, -2e6):
            yield Case(
                "evaluate",
                f"{function}-{value}",
                lambda f=function, v=value: (
                    one(f, ("f32",)),
                    [np.array([[1, 2, v, 3]], np.float32)],
                    1,
                    (4,),
                ),
                ExecutionError,
            )
    # a term that nothing reads is computed like any other
    dead = Expression(("i32",), (Term("div", (0, 0), "i32"), Term("neg", (0,), "i32")))
    yield Case("evaluate", "unread", lambda: (dead, [np.array([[1, 0]], np.int32)], 1, (2,)), ExecutionError)
    f32 = one("neg", ("f32",))
    for label, args, error in (
        ("type", (f32, [np.array([[1]], np.int32)], 1, (1,)), InputError),
        ("double", (f32, [np.array([[1]], np.float64)], 1, (1,)), InputError),
        ("count", (f32, [], 1, (1,)), InputError),
        ("rows", (f32, [floats("normal", 2, 3)], 3, (3,)), InputError),
        ("shape", (f32, [floats("normal", 2, 3)], 2, (4,)), InputError),
        ("rank", (f32, [floats("normal", 2, 3, 4)], 2, (4,)), InputError),
        ("axes", (f32, [floats("normal", 2, 1)], 2, (1,) * 9), LimitError),
        ("wide", (f32, [floats("normal", 2, 1)], 2, (1 << 12, 1 << 13)), LimitError),
        ("views", (f32, [floats("normal", 2, 1)], 2, (1,), (None, None)), InputError),
        ("unknown", (Expression(("f32",), (Term("gamma", (0,), "f32"),)), [], 1, ()), FormatError),
        ("later", (Expression(("f32",), (Term("neg", (1,), "f32"),)), [], 1, ()), FormatError),
        ("nothing", (Expression(("f32",), ()), [], 1, ()), FormatError),
        ("untyped", (Expression(("f32",), (Term("cast", (0,), ""),)), [], 1, ()), FormatError),
        ("lies", (Expression(("f32",), (Term("neg", (0,), "i32"),)), [], 1, ()), FormatError),
        ("bits", (Expression((), (Term("constant", (), "i8", 256),)), [], 1, ()), FormatError),
        ("true", (Expression((), (Term("constant", (), "bool", 2),)), [], 1, ()), FormatError),
        ("odd", (Expression(("f32",), (Term("neg", (0,), "f32", 1),)), [], 1, ()), FormatError),
        ("long", (long_expression(257), [], 1, ()), LimitError),
        ("many", (long_expression(1, 33), [], 1, ()), LimitError),
    ):
        yield Case("evaluate", f"refuses-{label}", lambda a=args: a, error)


def cases() -> Iterator[Case]:
    yield from _functions()
    yield from _shapes()
    yield from _refused()
