"""Cases: Quantising, products and what is fused of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from kernel_cases.data import KINDS, SHAPES, Args, Case, floats, full, int8s, matrix, rng_of, scales, spoilt
from proofcompute.arithmetic.kernels import GatePrologue, Matrix, NormPrologue
from proofcompute.arrays import F32
from proofcompute.errors import NonFiniteError


def cases() -> Iterator[Case]:
    for (n, d), limbs in itertools.product(SHAPES, (1, 2)):
        for kind in KINDS:
            yield Case("quantise", f"{kind}-{n}x{d}-{limbs}", lambda a=(kind, n, d), b=limbs: (floats(*a), b))
    for limbs in (1, 2):
        yield Case("quantise", f"no-columns-{limbs}", lambda b=limbs: (np.zeros((3, 0), np.float32), b))
        for bad in (np.nan, np.inf, -np.inf):
            yield Case(
                "quantise",
                f"{bad}-{limbs}",
                lambda b=limbs, v=bad: (spoilt((3, 9), (1, 8), v), b),
                NonFiniteError,
            )
        # r = Q / a just finite, just infinite; the largest and the least numbers there are
        for a in (3.7e-37, 3.74e-37, 9.5e-35, 9.6e-35, 3.4028235e38, 1e-45, 1.1754944e-38):
            yield Case("quantise", f"largest-{a}-{limbs}", lambda b=limbs, v=a: (_largest(v), b))
    for n, d, heads in ((0, 6, 2), (1, 4, 4), (3, 24, 3), (5, 64, 1), (2, 130, 2)):
        for kind in KINDS:
            yield Case(
                "quantise_heads", f"{kind}-{n}x{d}-{heads}", lambda a=(kind, n, d), h=heads: (floats(*a), h)
            )
    yield Case("quantise_heads", "nan", lambda: (spoilt((2, 8), (1, 0), np.nan), 2), NonFiniteError)
    for n, m, d in (
        (0, 3, 5),
        (3, 0, 5),
        (1, 1, 1),
        (3, 5, 7),
        (4, 17, 64),
        (7, 33, 129),
        (2, 3, 32768),
        (9, 70, 576),
    ):
        yield Case(
            "product", f"{n}x{m}x{d}", lambda n=n, m=m, d=d: (int8s(n, d, key="q"), int8s(m, d, key="w"))
        )
    for q, w in ((-128, -128), (-128, 127), (127, 127)):
        yield Case("product", f"extreme{q}x{w}", lambda q=q, w=w: (full(q, 2, 32768), full(w, 3, 32768)))
    for n in (5, 6, 7, 8, 10, 11, 13, 16, 31, 63, 64, 65):  # rows in patches of every size, and one more
        yield Case("product", f"{n}-rows", lambda n=n: (int8s(n, 98, key="q"), int8s(13, 98, key="w")))
    for n, m, d in ((2, 1, 64), (3, 2, 31), (4, 6, 33), (8, 7, 1056), (9, 61, 2080), (6, 49, 1)):
        for q, w in ((-128, -128), (127, -128)):
            yield Case("product", f"extreme{q}x{w}-{n}x{m}x{d}", lambda a=(q, w), b=(n, m, d): _extreme(a, b))
    for n, w_limbs in itertools.product((3, 6, 8, 15, 65), (1, 2)):
        yield Case(
            "linear",
            f"{n}-rows-{w_limbs}",
            lambda n=n, j=w_limbs: (floats("mixed", n, 70), matrix(j, 29, 70, bias=True), 2),
        )
    for n, d, sign in itertools.product((1, 2, 4, 8), (1024, 1100), (1, -1)):  # the largest sums there are
        yield Case("linear", f"largest-{n}x{d}-{sign}", lambda n=n, d=d, s=sign: _largest_sums(n, d, s))
    for shifts in ([0], [8, 0], [16, 8, 8, 0], [8, 0, 8, 0], [16, 8, 8, 0, 16, 8, 8, 0]):
        for bias in (False, True):
            yield Case(
                "rescale",
                f"{len(shifts)}-{max(shifts)}-{bias}",
                lambda s=shifts, b=bias: _rescale(s, 5, 37, bias=b),
            )
    yield Case("rescale", "no-rows", lambda: _rescale([8, 0], 0, 3, bias=True))
    yield Case("rescale", "one", lambda: _rescale([0], 1, 1, bias=True))
    yield Case("rescale", "rounding", _rounding)
    few = ((1, 3, 2080), (2, 9, 16), (3, 5, 544), (4, 10, 1040))  # rows of whole wide loads, and of some more
    for n, m, d in (
        *((0, 3, 4), (1, 1, 1), (3, 5, 7), (2, 33, 65), (17, 19, 130), (1, 100, 576), (4, 9, 132)),
        *few,
    ):
        for x_limbs, w_limbs, bias in itertools.product((1, 2), (1, 2), (False, True)):
            label = f"{n}x{m}x{d}-{x_limbs}{w_limbs}-{bias}"
            yield Case(
                "linear",
                label,
                lambda a=(n, m, d), i=x_limbs, j=w_limbs, b=bias: (
                    floats("mixed", a[0], a[2]),
                    matrix(j, a[1], a[2], bias=b),
                    i,
                ),
            )
    for n, m, d in ((0, 3, 4), (1, 1, 1), (1, 100, 577), (3, 5, 7), (8, 33, 66), (17, 19, 130)):
        for x_limbs, how, rest in itertools.product((1, 2), ("none", "norm", "gate"), (False, True)):
            if how != "none" and not rest:
                yield Case(
                    "quantise",
                    f"{n}x{d}-{x_limbs}-{how}",
                    lambda n=n, d=d, i=x_limbs, h=how: _prepared(n, d, i, h),
                )
            if how != "none" or rest:
                yield Case(
                    "linear",
                    f"{n}x{m}x{d}-{x_limbs}-{how}-{rest}",
                    lambda n=n, m=m, d=d, i=x_limbs, h=how, r=rest: _fused(n, m, d, i, h, r),
                )
    for how, n in itertools.product(("norm", "gate"), (2, 9)):
        yield Case(
            "quantise",
            f"{how}-overflows-{n}",
            lambda h=how, n=n: _prepared(n, 6, 1, h, kind="normal" if h == "norm" else "huge", largest=True),
            NonFiniteError,
        )
        yield Case(
            "linear",
            f"{how}-overflows-{n}",
            lambda h=how, n=n: _fused(
                n, 3, 6, 1, h, False, kind="normal" if h == "norm" else "huge", largest=True
            ),
            NonFiniteError,
        )
    for d, x_limbs, w_limbs in itertools.product((32768, 40000), (1, 2), (1, 2)):
        yield Case(
            "linear",
            f"long-{d}-{x_limbs}{w_limbs}",
            lambda d=d, i=x_limbs, j=w_limbs: (floats("normal", 2, d), matrix(j, 3, d, bias=True), i),
        )
    for kind in ("wide", "subnormal", "zeros", "huge", "halves"):
        yield Case("linear", f"{kind}", lambda k=kind: (floats(k, 3, 40), matrix(2, 6, 40, bias=False), 2))
    yield Case(
        "linear",
        "nan",
        lambda: (spoilt((2, 9), (0, 3), np.nan), matrix(1, 4, 9, bias=False), 1),
        NonFiniteError,
    )


def _extreme(values: tuple[int, int], shape: tuple[int, int, int]) -> Args:
    (q, w), (n, m, d) = values, shape
    return full(q, n, d), full(w, m, d)


def _largest_sums(n: int, d: int, sign: int) -> Args:
    """Arguments of a product in which every factor has the largest absolute value that it can have."""
    x = np.full((n, d), sign, np.float32)
    return x, Matrix(full(-128, 1, 7, d), np.ones(7, np.float32), None), 2


def _fused(
    n: int,
    m: int,
    d: int,
    limbs: int,
    how: str,
    rest: bool,
    kind: str = "mixed",
    largest: bool = False,
) -> Args:
    """Arguments of a product with something before it, and a residual or none."""
    x, limbs, prologue = _prepared(n, d, limbs, how, kind, largest)
    return x, matrix(1, m, d, bias=m > 4), limbs, prologue, floats("mixed", n, m) if rest else None


def _prepared(n: int, d: int, limbs: int, how: str, kind: str = "mixed", largest: bool = False) -> Args:
    """Arguments of the quantiser with something before it."""
    x = floats(kind, n, 2 * d if how == "gate" else d)
    weight = np.full(d, 3e38, np.float32) if largest else floats("normal", d)
    norm = NormPrologue(weight, np.float32(1e-5))
    return x, limbs, {"none": None, "norm": norm, "gate": GatePrologue()}[how]


def _largest(a: float) -> F32:
    top = np.float32(a)
    return np.array([[top, -top / 2, top / 3], [-top, 0, -0.0]], dtype=np.float32)


def _rescale(shifts: list[int], n: int, m: int, *, bias: bool) -> Args:
    rng = rng_of("acc", len(shifts), n, m)
    acc = rng.integers(-(2**30) + 1, 2**30, (len(shifts), n, m)).astype(np.int32)
    acc[rng.integers(0, 5, acc.shape) == 0] = 0
    sx = np.where(rng.integers(0, 3, n) == 0, 0, floats("wide", n)).astype(np.float32)
    return acc, shifts, np.abs(sx), scales(m), floats("mixed", m) if bias else None


def _rounding() -> Args:
    """Sums beyond 2^24 that are ties, or that a detour through binary64 would round twice."""
    high = np.array([[[2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**29 + 1, 2**30 - 1, 1 - 2**30]]], dtype=np.int32)
    low = np.array([[[0, 0, 0, 1, -1, 32]]], dtype=np.int32)
    one = np.ones(6, dtype=np.float32)
    return np.concatenate([high, low]), [16, 0], one[:1], one, None
