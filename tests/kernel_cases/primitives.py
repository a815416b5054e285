"""Cases: Primitive operations other than expressions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernel_cases.data import Case, floats, rng_of
from kernel_cases.expressions import TYPES, numbers, plain
from proofcompute.arithmetic.primitives import CUMULATIONS, ELEMENTS, HOWS, REDUCTIONS, View
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError, FormatError, InputError, LimitError, NonFiniteError

AXES = (((9,), 0), ((4, 6, 5), 0), ((4, 6, 5), 1), ((4, 6, 5), 2), ((3, 0), 1))


def _reductions() -> Iterator[Case]:
    rows = [
        ((7,), [(0,), ()]),
        ((4, 6, 5), [(0,), (1,), (2,), (1, 2), (2, 1), (0, 2), (2, 0, 1)]),
        ((1, 3), [(0,), (1, 0)]),
    ]
    rows += [((1025,), [(0,)]), ((2, 300), [(1,)]), ((3, 64, 1), [(1,), (2,)]), ((129, 3), [(0,)])]
    for kind, types in REDUCTIONS.items():
        for dtype, (shape, choices) in itertools.product(types, rows):
            for axes in choices:
                for n in (1, 3):
                    make = plain if kind == "argmax" else numbers
                    yield Case(
                        "reduce",
                        f"{kind}-{dtype}-{shape}-{axes}-{n}",
                        lambda m=make, k=kind, d=dtype, n=n, s=shape, a=axes: (k, m(d, n, *s), a),
                    )
        for dtype in ("f32", "i32"):
            yield Case(
                "reduce",
                f"{kind}-{dtype}-none",
                lambda k=kind, d=dtype: (k, numbers(d, 2, 3, 0), (1,)),
                InputError if kind in ("max", "min", "argmax") else None,
            )
            yield Case(
                "reduce", f"{kind}-{dtype}-no-rows", lambda k=kind, d=dtype: (k, numbers(d, 0, 3), (0,))
            )
    for kind in ("sum", "max", "min", "prod"):
        for values in ("mixed", "zeros", "subnormal", "huge", "normal"):
            yield Case(
                "reduce", f"{kind}-{values}", lambda k=kind, v=values: (k, floats(v, 5, 33, 40), (1, 0))
            )
            yield Case(
                "reduce", f"{kind}-{values}-last", lambda k=kind, v=values: (k, floats(v, 70, 4099), (0,))
            )
            yield Case(
                "reduce", f"{kind}-{values}-first", lambda k=kind, v=values: (k, floats(v, 3, 77, 130), (0,))
            )
    yield Case(
        "reduce", "argmax-ties", lambda: ("argmax", np.array([[-0.0, 0.0, -1], [1, 3, 3]], np.float32), (0,))
    )
    yield Case(
        "reduce",
        "argmax-nan",
        lambda: ("argmax", np.array([[1, np.nan], [1, 2]], np.float32), (0,)),
        NonFiniteError,
    )
    for label, args, error in (
        ("kind", ("mean", floats("normal", 2, 3), (0,)), FormatError),
        ("bool", ("sum", numbers("bool", 2, 3), (0,)), FormatError),
        ("axis", ("sum", floats("normal", 2, 3), (1,)), InputError),
        ("negative", ("sum", floats("normal", 2, 3), (-1,)), InputError),
        ("twice", ("sum", floats("normal", 2, 3), (0, 0)), InputError),
        ("rowless", ("sum", np.zeros((), np.float32), ()), InputError),
    ):
        yield Case("reduce", f"refuses-{label}", lambda a=args: a, error)


def _cumulations() -> Iterator[Case]:
    for kind, types in CUMULATIONS.items():
        for dtype in types:
            for shape, axis in (
                ((7,), 0),
                ((4, 6, 5), 0),
                ((4, 6, 5), 1),
                ((4, 6, 5), 2),
                ((3, 0), 1),
                ((1,), 0),
            ):
                for n in (0, 1, 3):
                    yield Case(
                        "cumulate",
                        f"{kind}-{dtype}-{shape}-{axis}-{n}",
                        lambda k=kind, d=dtype, n=n, s=shape, a=axis: (k, numbers(d, n, *s), a),
                    )
    yield Case("cumulate", "refuses-kind", lambda: ("max", floats("normal", 2, 3), 0), InputError)
    yield Case("cumulate", "refuses-axis", lambda: ("sum", floats("normal", 2, 3), 1), InputError)


def _views() -> Iterator[Case]:
    made = {
        "turned": ((4, 6), View((6, 4), (1, 6), 0, (0, 0), (6, 4))),
        "flipped": ((24,), View((24,), (-1,), 23, (0,), (24,))),
        "padded": ((4, 6), View((6, 9), (6, 1), -8, (1, 2), (5, 8), 1)),
        "windows": ((6, 7), View((2, 3, 3, 3), (14, 2, 7, 1), 0, (0,) * 4, (2, 3, 3, 3))),
        "holes": ((5,), View((5, 3), (1, 1), 0, (0, 0), (5, 1), 0)),
        "one": ((3,), View((), (), 2, (), ())),
        "nothing": ((3,), View((4, 0), (0, 0), 0, (0, 0), (4, 0))),
        "filled": ((3,), View((4, 2), (9, 9), -7, (2, 0), (2, 2), 1)),
        "repeated": ((8,), View((5, 8), (0, 1), 0, (0, 0), (5, 8))),
        "sliced": ((300,), View((99,), (3,), 2, (0,), (99,))),
        "large": ((70, 1100), View((1100, 70), (1, 1100), 0, (0, 0), (1100, 70))),
        "deep": ((2,) * 8, View((2,) * 8, tuple(1 << i for i in range(8)), 0, (0,) * 8, (2,) * 8)),
    }
    for (name, (row, v)), dtype in itertools.product(made.items(), TYPES):
        for n in (0, 1, 3):
            yield Case("view", f"{name}-{dtype}-{n}", lambda d=dtype, n=n, r=row, v=v: (numbers(d, n, *r), v))
    fill = View((3,), (1,), 0, (0,), (2,), 0xFF800000)
    yield Case("view", "minus-infinity", lambda: (floats("normal", 2, 2), fill))
    for label, v, error in (
        ("before", View((3,), (1,), -1, (0,), (3,)), FormatError),
        ("behind", View((3,), (1,), 4, (0,), (3,)), FormatError),
        ("behind-strides", View((3, 2), (2, -1), 0, (0, 0), (3, 2)), FormatError),
        ("margins", View((3,), (1,), 0, (2,), (1,)), FormatError),
        ("margin-outside", View((3,), (1,), 0, (0,), (4,)), FormatError),
        ("uneven", View((3,), (1, 1), 0, (0,), (3,)), FormatError),
        ("wide", View((1 << 12, 1 << 13), (0, 0), 0, (0, 0), (1, 1)), LimitError),
        ("negative", View((-1, -1), (0, 0), 0, (0, 0), (0, 0)), LimitError),
        ("axes", View((1,) * 9, (0,) * 9, 0, (0,) * 9, (1,) * 9), LimitError),
        ("fill", View((3,), (1,), 0, (0,), (2,), 1 << 32), FormatError),
    ):
        yield Case("view", f"refuses-{label}", lambda v=v: (floats("normal", 2, 6), v), error)


def _joins() -> Iterator[Case]:
    for dtype in TYPES:
        for rows, axis in ((((2, 3), (2, 4), (2, 0)), 1), (((2, 3), (1, 3)), 0), (((5,),), 0)):
            for n in (0, 1, 3):
                yield Case(
                    "join",
                    f"{dtype}-{rows}-{axis}-{n}",
                    lambda d=dtype, n=n, r=rows, a=axis: ([numbers(d, n, *s) for s in r], a),
                )
    yield Case("join", "constant", lambda: ([numbers("f32", 3, 2, 5), numbers("f32", 1, 2, 1)], 1))
    for label, args in (
        ("nothing", ([], 0)),
        ("axis", ([floats("normal", 2, 3)], 1)),
        ("types", ([floats("normal", 2, 3), numbers("i32", 2, 3)], 0)),
        ("shapes", ([floats("normal", 2, 3, 4), floats("normal", 2, 3, 5)], 0)),
        ("ranks", ([floats("normal", 2, 3, 4), floats("normal", 2, 3)], 0)),
        ("rows", ([floats("normal", 2, 3), floats("normal", 3, 3)], 0)),
    ):
        yield Case("join", f"refuses-{label}", lambda a=args: a, InputError)


def index_of(n: int, d: int, *shape: int, dtype: str = "i32") -> Array:
    return rng_of("index", n, d, shape).integers(0, d, (n, *shape)).astype(ELEMENTS[dtype])


def _gathers() -> Iterator[Case]:
    places = [((7,), ()), ((7,), (4,)), ((5, 3), (2, 6)), ((9, 2, 4), (33,)), ((300, 1), (50,))]
    for (row, chosen), dtype in itertools.product(places, TYPES):
        for (n, m), kind in itertools.product(
            ((3, 3), (1, 3), (3, 1), (1, 1), (0, 0), (0, 1)), ("i32", "i64")
        ):
            yield Case(
                "take",
                f"{dtype}-{row}-{chosen}-{n}-{m}-{kind}",
                lambda d=dtype, n=n, m=m, r=row, c=chosen, k=kind: (
                    numbers(d, n, *r),
                    index_of(m, r[0], *c, dtype=k),
                ),
            )
    for (row, chosen), (how, types) in itertools.product(places, HOWS.items()):
        for dtype, (n, m, w) in itertools.product(
            types, ((3, 3, 3), (1, 3, 1), (3, 1, 1), (2, 1, 2), (0, 1, 0))
        ):
            yield Case(
                "put",
                f"{how}-{dtype}-{row}-{chosen}-{n}-{m}-{w}",
                lambda h=how, d=dtype, n=n, m=m, w=w, r=row, c=chosen: (
                    numbers(d, n, *r),
                    index_of(m, r[0], *c, dtype="i64" if m == 1 else "i32"),
                    numbers(d, w, *c, *r[1:], key="values"),
                    h,
                ),
            )
    for dtype, bad in itertools.product(("i32", "i64"), (-1, 7, 2**31 - 1, -(2**31))):
        at = np.array([[0, 1], [6, bad]], ELEMENTS[dtype])
        yield Case("take", f"outside-{dtype}-{bad}", lambda a=at: (floats("normal", 2, 7), a), ExecutionError)
        yield Case(
            "put",
            f"outside-{dtype}-{bad}",
            lambda a=at: (floats("normal", 2, 7), a, floats("normal", 2, 2), "add"),
            ExecutionError,
        )
    far = np.array([[1 << 32]], np.int64)
    yield Case("take", "outside-far", lambda: (floats("normal", 2, 7), far), ExecutionError)
    yield Case("take", "empty-axis", lambda: (floats("normal", 2, 0), index_of(2, 1, 3)), ExecutionError)
    x, i, values = floats("normal", 2, 7, 3), index_of(2, 7, 4), floats("normal", 2, 4, 3)
    for label, args in (
        ("type", (x, i.astype(np.int8))),
        ("scalars", (floats("normal", 2)[:, np.newaxis][:, 0], i)),
        ("rows", (x, index_of(3, 7, 4))),
    ):
        yield Case("take", f"refuses-{label}", lambda a=args: a, InputError)
    for label, more, error in (
        ("type", (i, values.astype(np.float64), "add"), InputError),
        ("other", (i, numbers("i32", 2, 4, 3), "add"), InputError),
        ("shape", (i, values[:, :3].copy(), "add"), InputError),
        ("how", (i, values, "sub"), FormatError),
        ("rows", (i, floats("normal", 3, 4, 3), "add"), InputError),
    ):
        yield Case("put", f"refuses-{label}", lambda m=more: (x, *m), error)


def _orders() -> Iterator[Case]:
    for dtype in TYPES:
        for row, axis in (
            ((9,), 0),
            ((4, 6, 5), 0),
            ((4, 6, 5), 1),
            ((4, 6, 5), 2),
            ((700,), 0),
            ((3, 0), 1),
        ):
            for n in (0, 1, 3):
                yield Case(
                    "order",
                    f"{dtype}-{row}-{axis}-{n}",
                    lambda d=dtype, n=n, r=row, a=axis: (plain(d, n, *r), a),
                )
    yield Case("order", "ties", lambda: (np.array([[0.0, -0.0, 1, 0.0, -1, -0.0, 1]], np.float32), 0))
    yield Case("order", "nan", lambda: (np.array([[0, 1], [2, np.nan]], np.float32), 0), NonFiniteError)
    yield Case("order", "refuses-axis", lambda: (floats("normal", 2, 3), 1), InputError)


def _contractions() -> Iterator[Case]:
    shapes: list[tuple[Any, ...]] = [
        (3, (4, 7), (7, 5)), (1, (1, 1), (1, 1)), (2, (2, 3, 33), (2, 33, 6)), (2, (3, 1, 2, 9), (4, 9, 3)),
        (2, (5, 64), (2, 64, 1)), (0, (2, 3), (3, 2)), (2, (3, 0), (0, 4)), (2, (0, 3), (3, 2)),
        (1, (2, 300), (300, 2)), (2, (17, 130), (130, 19)), (2, (2, 200, 70), (2, 70, 67)),
    ]  # fmt: skip
    for n, left, right in shapes:
        for limbs, kind in itertools.product((1, 2), ("normal", "wide", "mixed", "subnormal", "zeros")):
            yield Case(
                "contract",
                f"{limbs}-{kind}-{n}-{left}-{right}",
                lambda n=n, a=left, b=right, k=kind, i=limbs: (floats(k, n, *a), floats("normal", n, *b), i),
            )
        for a, b in itertools.product(("i8", "u8", "i32"), repeat=2):
            yield Case(
                "contract",
                f"{a}-{b}-{n}-{left}-{right}",
                lambda n=n, s=left, t=right, a=a, b=b: (numbers(a, n, *s), numbers(b, n, *t, key=1), 0),
            )
    for rows in ((1, 3), (3, 1)):
        yield Case(
            "contract",
            f"constant-{rows[0]}",
            lambda r=rows: (floats("normal", r[0], 2, 4, 9), floats("mixed", r[1], 9, 5), 2),
        )
    x, y = floats("normal", 2, 3, 4), floats("normal", 2, 4, 5)
    for value in (np.nan, np.inf):
        spoilt = y.copy()
        spoilt[1, 3, 4] = value
        yield Case("contract", f"{value}", lambda b=spoilt: (x, b, 1), NonFiniteError)
    for label, args in (
        ("limbs", (x, y, 3)),
        ("floats", (x, y, 0)),
        ("integers", (numbers("i8", 2, 3, 4), numbers("i8", 2, 4, 5), 1)),
        ("mixed", (x, numbers("i8", 2, 4, 5), 0)),
        ("wide", (numbers("i64", 2, 3, 4), numbers("i8", 2, 4, 5), 0)),
        ("depth", (x, floats("normal", 2, 3, 5), 1)),
        ("rows", (x, floats("normal", 3, 4, 5), 1)),
        ("vector", (x, floats("normal", 2, 4), 1)),
        ("batch", (floats("normal", 2, 3, 3, 4), floats("normal", 2, 2, 4, 5), 1)),
    ):
        yield Case("contract", f"refuses-{label}", lambda a=args: a, InputError)


def cases() -> Iterator[Case]:
    yield from _reductions()
    yield from _cumulations()
    yield from _views()
    yield from _joins()
    yield from _gathers()
    yield from _orders()
    yield from _contractions()
