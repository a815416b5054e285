"""Cases: products and reductions that read rows through views."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kernel_cases.data import Case, floats
from kernel_cases.expressions import numbers
from proofcompute.arithmetic.definition.products import quantise
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.primitives import Expression, Term, View
from proofcompute.arrays import F32
from proofcompute.errors import FormatError, InputError, LimitError, NonFiniteError

SAME = Expression(("f32",), (Term("cast", (0,), "f32"),))
PRODUCT = Expression(("f32", "f32"), (Term("mul", (0, 1), "f32"),))
TURNED = Expression(("f32", "f32"), (Term("mul", (1, 0), "f32"),))
SQUARES = Expression(("f32",), (Term("mul", (0, 0), "f32"),))
RESIDUAL = Expression(
    ("f32", "f32"),
    (
        Term("add", (0, 1), "f32"),
        Term("constant", (), "f32"),
        Term("lt", (3, 2), "bool"),
        Term("select", (4, 2, 3), "f32"),
    ),
)
RELU = Expression(
    ("f32",),
    (Term("constant", (), "f32"), Term("lt", (1, 0), "bool"), Term("select", (2, 0, 1), "f32")),
)
SUM = Expression(("f32", "f32"), (Term("add", (1, 0), "f32"),))
ZERO = Term("constant", (), "f32")
LARGEST = {f"largest-{a}": Expression(("f32",), (ZERO, Term("max", (a, 1 - a), "f32"))) for a in (0, 1)} | {
    f"largest-sum-{'later-' * later}{a}": Expression(
        ("f32", "f32"),
        (*(terms[::-1] if later else terms), Term("max", (2 + a, 3 - a), "f32")),
    )
    for a in (0, 1)
    for terms in ((Term("add", (a, 1 - a), "f32"), ZERO),)
    for later in (False, True)
}
"""Rectifiers that keep what is no number."""
POSITIVE = Expression(("f32",), (Term("constant", (), "f32"), Term("lt", (1, 0), "bool")))
"""Whether a product is positive: the result has another type."""
MOST = 1 << 17
"""The most columns of which any sum of products of one limb fits int32."""
ONES = np.ones(3, np.float32)
ORDINARY: Any = ("normal", "mixed", "huge", "subnormal", "zeros")


def steps(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def whole(shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> View:
    """A view without a margin."""
    return View(tuple(shape), tuple(strides), offset, (0,) * len(shape), tuple(shape))


def shaped(*shape: int) -> View:
    return whole(shape, steps(shape))


def padded(row: Sequence[int], ends: Sequence[tuple[int, int]], fill: float = 0.0) -> View:
    low = tuple(a for a, _ in ends)
    high = tuple(a + n for a, n in zip(low, row, strict=True))
    shape = tuple(a + n + b for (a, b), n in zip(ends, row, strict=True))
    offset = -sum(a * s for a, s in zip(low, steps(row), strict=True))
    return View(shape, steps(row), offset, low, high, int(np.float32(fill).view(np.uint32)))


def windows(row: Sequence[int], size: Sequence[int], by: Sequence[int], apart: Sequence[int]) -> View:
    """Windows over the first axes: [places ..., *size, rest ...]."""
    s, count = steps(row), len(size)
    places = [(n - (k - 1) * a - 1) // b + 1 for n, k, b, a in zip(row[:count], size, by, apart, strict=True)]
    return whole(
        (*places, *size, *row[count:]),
        (
            *(x * b for x, b in zip(s[:count], by, strict=True)),
            *(x * a for x, a in zip(s[:count], apart, strict=True)),
            *s[count:],
        ),
    )


def convolution(
    row: Sequence[int],
    size: Sequence[int],
    by: Sequence[int],
    ends: Sequence[tuple[int, int]],
    apart: Sequence[int] | None = None,
    part: tuple[int, int] | None = None,
    fill: float = 0.0,
) -> tuple[View, ...]:
    """The views of a convolution, or of one group of channels."""
    made = []
    if any(map(any, ends)):
        made.append(padded(row, (*ends, (0, 0)), fill))
        row = made[-1].shape
    made.append(windows(row, size, by, apart or (1,) * len(size)))
    seen = made[-1].shape
    if part is not None:
        first, last = part
        made.append(whole((*seen[:-1], last - first), steps(seen), first))
        seen = made[-1].shape
    places = seen[: len(size)]
    made.append(shaped(*places, math.prod(seen[len(size) :])))
    return tuple(made)


def matrix(m: int, d: int, limbs: int, *, bias: bool = True) -> Matrix:
    q, scale = quantise(floats("normal", m, d), limbs)
    return Matrix(q, scale, floats("normal", 1, m)[0] if bias else None)


GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[View, ...]]] = {
    "rows": ((5, 7), ()),
    "places": ((3, 4, 33), ()),
    "shape": ((4, 6), (shaped(3, 8),)),
    "three": ((6, 7, 8), convolution((6, 7, 8), (3, 3), (1, 1), ((1, 1), (1, 1)))),
    "strided": ((9, 8, 16), convolution((9, 8, 16), (3, 2), (2, 3), ((0, 0), (0, 0)))),
    "single": ((9, 8, 16), convolution((9, 8, 16), (1, 1), (2, 2), ((0, 0), (0, 0)))),
    "dilated": ((9, 8, 9), convolution((9, 8, 9), (3, 2), (1, 1), ((2, 1), (0, 1)), (2, 3))),
    "group": ((5, 5, 24), convolution((5, 5, 24), (3, 3), (1, 1), ((1, 0), (0, 1)), None, (8, 20))),
    "thin": ((11, 10, 3), convolution((11, 10, 3), (5, 5), (2, 2), ((2, 2), (2, 2)))),
    "one-axis": ((20, 12), convolution((20, 12), (5,), (3,), ((3, 1),))),
    "three-axes": ((3, 4, 3, 8), convolution((3, 4, 3, 8), (2, 2, 2), (1, 1, 1), ((1, 0), (0, 0), (0, 1)))),
    "all-margin": ((2, 2, 8), convolution((2, 2, 8), (2, 2), (1, 1), ((3, 3), (3, 3)))),
    "filled": ((4, 4, 8), convolution((4, 4, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), fill=-3.5)),
    "large-fill": ((4, 4, 8), convolution((4, 4, 8), (3, 3), (1, 1), ((2, 1), (1, 1)), fill=1e30)),
    "turned": ((6, 5, 8), (whole((5, 6, 8), (8, 40, 1)),)),
    "flipped": ((6, 16), (whole((6, 16), (16, -1), 15),)),
    "crossing": ((40,), (whole((20,), (1,), 7), shaped(2, 10))),
    "twice": ((8, 8), (padded((8, 8), ((1, 0), (0, 0))), padded((9, 8), ((0, 1), (0, 0))), shaped(5, 16))),
    "two-fills": ((8, 8), (padded((8, 8), ((1, 0), (0, 0))), padded((9, 8), ((0, 1), (0, 0)), 2.0))),
    "channels-first": ((8, 6, 6), (whole((6, 6, 8), (6, 1, 36)),)),
    "repeated": ((8,), (whole((3, 8), (0, 1)),)),
    "pieces-inside-out": ((32,), (whole((2, 2, 8), (8, 16, 1)), whole((16,), (1,), 4), shaped(2, 8))),
    "long": ((3, 3, 160), convolution((3, 3, 160), (3, 3), (1, 1), ((1, 1), (1, 1)))),
}
"""Rows and views; contractions are what the last view says."""


EXTREME = ("places", "three", "thin", "filled", "group")
"""Those that are multiplied with numbers of all kinds."""


def _products() -> Iterator[Case]:
    for name, (row, views) in GEOMETRIES.items():
        seen = views[-1].shape if views else row
        d = seen[-1]
        for limbs, w_limbs, n, m in ((1, 1, 1, 5), (2, 1, 3, 33), (2, 2, 2, 37)):
            for values in ORDINARY if n == 2 and name in EXTREME else ORDINARY[:1]:
                yield Case(
                    "linear_through",
                    f"{name}-{limbs}-{w_limbs}-{values}",
                    lambda v=values, n=n, r=row, s=views, m=m, d=d, a=limbs, b=w_limbs: (
                        floats(v, n, *r), s, matrix(m, d, b, bias=m != 33), a
                    ),
                )  # fmt: skip
        out = (*seen[:-1], 7)
        for label, after, others in (
            ("residual", RESIDUAL, ((2, *out),)),
            ("shared", RESIDUAL, ((1, 7),)),
            ("positive", RELU, ()),
            ("sum", SUM, ((2, *out),)),
            ("truth", POSITIVE, ()),
        )[: None if name in EXTREME else 1]:
            yield Case(
                "linear_through",
                f"{name}-{label}",
                lambda r=row, s=views, d=d, e=after, o=others: (
                    floats("mixed", 2, *r), s, matrix(7, d, 2), 2, e, [floats("normal", *i) for i in o]
                ),
            )  # fmt: skip
        for label, after in LARGEST.items() if name in EXTREME else ():
            yield Case(
                "linear_through",
                f"{name}-{label}",
                lambda r=row, s=views, d=d, e=after, o=(2, *out): (
                    floats("mixed", 2, *r), s, matrix(7, d, 2), 2, e,
                    [_holes(*o)] * (len(e.inputs) - 1),
                ),
            )  # fmt: skip
        yield Case(
            "linear_through",
            f"{name}-no-rows",
            lambda r=row, s=views, d=d: (np.zeros((0, *r), np.float32), s, matrix(3, d, 1), 2),
        )
        yield Case(
            "linear_through",
            f"{name}-infinite",
            lambda r=row, s=views, d=d: (_spoiled(2, *r), s, matrix(3, d, 1), 2),
            NonFiniteError,
        )
    for d in (MOST, MOST + 1):
        yield Case(
            "linear_through",
            f"extreme-{d}",
            lambda d=d: (
                np.ones((1, 1, d), np.float32), (), Matrix(np.full((1, 3, d), -128, np.int8), ONES, None), 1
            ),
        )  # fmt: skip
    row, views = GEOMETRIES["three"]
    bad = convolution(row, (3, 3), (1, 1), ((1, 1), (1, 1)), fill=math.inf)
    x, w = floats("normal", 2, *row), matrix(4, 72, 2)
    for label, args, error in (
        ("infinite-fill", (x, bad, w, 2), NonFiniteError),
        ("outside", (x, (whole((5, 337), (1, 1)),), matrix(4, 337, 1), 2), FormatError),
        ("wide", (x, (whole((1 << 13, 1 << 13), (0, 0)),), w, 2), LimitError),
        ("width", (x, views, matrix(4, 71, 2), 2), InputError),
        ("limbs", (x, views, w, 3), InputError),
        ("no-expression", (x, views, w, 2, None, [x]), InputError),
        ("other", (x, views, w, 2, RESIDUAL, [floats("normal", 3, 6, 7, 4)]), InputError),
        ("shape", (x, views, w, 2, RESIDUAL, [floats("normal", 2, 5, 7, 4)]), InputError),
        ("types", (x, views, w, 2, RESIDUAL, [numbers("i32", 2, 6, 7, 4)]), InputError),
        ("integers", (numbers("i32", 2, *row), views, w, 2), InputError),
        ("scales", (x, views, Matrix(w.q, w.scale[:3]), 2), InputError),
        ("grouped", (x, views, Matrix(w.q[np.newaxis], w.scale[np.newaxis]), 2), InputError),
    ):
        yield Case("linear_through", f"refuses-{label}", lambda a=args: a, error)


def _holes(*shape: int) -> F32:
    """Rows with numbers of all sizes, of which some are infinite and some are none."""
    x = floats("mixed", *shape).reshape(-1)
    for i, value in enumerate((np.nan, np.inf, -np.inf, -0.0)):
        x[i::9] = value
    return x.reshape(shape)


def _spoiled(*shape: int) -> F32:
    """Rows of which every other number is infinite."""
    x = floats("normal", *shape)
    x[...] = np.where(np.arange(x.size).reshape(shape) % 2 == 0, np.float32(np.inf), x)
    return x


def _one(kind: str, axes: tuple[int, ...], x: F32, view: View | None = None) -> tuple[Any, ...]:
    """Arguments of a reduction of rows, seen through a view."""
    shape = x.shape[1:] if view is None else view.shape
    return kind, axes, SAME, [x], len(x), shape, () if view is None else [view]


def _weighted(
    e: Expression, axes: tuple[int, ...], xs: Sequence[F32], shape: tuple[int, ...], *views: View | None
) -> tuple[Any, ...]:
    return "sum", axes, e, list(xs), max(map(len, xs)), shape, views


def _pools() -> Iterator[Case]:
    row = (7, 6, 19)
    sizes = ((1, 1), (1, 1)), ((2, 3), (1, 1)), ((3, 3), (2, 1)), ((3, 2), (2, 2)), ((7, 6), (1, 1))
    for size, by in sizes:
        v = windows(row, size, by, (1, 1))
        for kind in ("sum", "max", "min", "prod", "argmax") if size == (2, 3) else ("sum", "max", "min"):
            for values in ("mixed", "zeros") if kind in ("sum", "max", "min") else ("normal",):
                for axes in ((2, 3), (3, 2)) if size == (2, 3) else ((2, 3),):
                    yield Case(
                        "reduce_of",
                        f"{kind}-{size}-{by}-{axes}-{values}",
                        lambda k=kind, a=axes, v=v, x=values: _one(k, a, floats(x, 2, *row), v),
                    )
        for e in (PRODUCT, TURNED):
            yield Case(
                "reduce_of",
                f"depthwise-{size}-{by}-{e.terms[0].args}",
                lambda e=e, v=v, s=size: _weighted(
                    e, (2, 3), [floats("mixed", 3, *row), floats("normal", 1, *s, 19)], v.shape, v, None
                ),
            )
    pads = padded(row, ((1, 1), (1, 0), (0, 0)), -math.inf)
    v = windows(pads.shape, (2, 2), (2, 2), (1, 1))
    yield Case(
        "reduce_of",
        "squares",
        lambda: ("sum", (2, 3), SQUARES, [floats("normal", 2, *pads.shape)], 2, v.shape, [v]),
    )
    yield Case("reduce_of", "margin", lambda: _one("max", (0,), floats("mixed", 2, *row), pads))


def _sums() -> Iterator[Case]:
    row = (5, 6, 11)
    v = windows(row, (3, 3), (1, 1), (1, 1))
    for label, n, rows in (("weights-first", 2, 1), ("both-rows", 2, 2), ("one-row-each", 1, 1)):
        yield Case(
            "reduce_of",
            label,
            lambda n=n, r=rows: _weighted(
                PRODUCT, (2, 3), [floats("mixed", r, 3, 3, 11), floats("normal", n, *row)], v.shape, None, v
            ),
        )
    yield Case(
        "reduce_of",
        "same-for-all-rows",
        lambda: ("sum", (0,), SAME, [floats("normal", 1, 9, 16)], 3, (9, 16)),
    )
    for d in (*range(1, 18), 32, 33, 63, 129, 300):
        for m in (8, 37):
            yield Case(
                "reduce_of",
                f"pointwise-{d}-{m}",
                lambda d=d, m=m: _weighted(
                    PRODUCT, (1,), [floats("mixed", 2, 3, d, 1), floats("mixed", 1, d, m)], (3, d, m)
                ),
            )
    yield Case(
        "reduce_of",
        "grouped",
        lambda: _weighted(
            PRODUCT,
            (1, 3),
            [floats("normal", 2, 5, 3, 4, 2, 1), floats("normal", 1, 3, 4, 2, 9)],
            (5, 3, 4, 2, 9),
        ),
    )
    yield Case("reduce_of", "all", lambda: _one("sum", (0, 1, 2), floats("mixed", 2, 7, 6, 19)))
    yield Case("reduce_of", "few-channels", lambda: _one("sum", (0,), floats("mixed", 2, 9, 3)))
    yield Case("reduce_of", "joined", lambda: _one("sum", (0,), floats("mixed", 2, 9, 3, 4)))
    yield Case("reduce_of", "infinite", lambda: _one("max", (0,), _spoiled(2, 9, 16)))
    nan = floats("normal", 2, 9, 16)
    nan[0, 4, 3], nan[1, 2, 5] = np.nan, -np.nan
    for kind in ("sum", "max", "min"):
        yield Case("reduce_of", f"{kind}-nan", lambda k=kind: _one(k, (0,), nan.copy()))
        yield Case("reduce_of", f"{kind}-no-rows", lambda k=kind: _one(k, (0,), floats("normal", 0, 9, 16)))
    yield Case("reduce_of", "sum-of-nothing", lambda: _one("sum", (0,), floats("normal", 2, 0, 16)))
    x = floats("normal", 2, 9, 16)
    for label, args, error in (
        ("kind", _one("mean", (0,), x), FormatError),
        ("axis", _one("sum", (2,), x), InputError),
        ("twice", _one("sum", (0, 0), x), InputError),
        ("nothing", _one("max", (0,), x[:, :0].copy()), InputError),
        ("inputs", ("sum", (0,), PRODUCT, [x], 2, (9, 16)), InputError),
        ("view", _one("sum", (0,), x, whole((10, 16), (16, 1))), FormatError),
    ):
        yield Case("reduce_of", f"refuses-{label}", lambda a=args: a, error)


def cases() -> Iterator[Case]:
    yield from _products()
    yield from _pools()
    yield from _sums()
