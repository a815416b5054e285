"""Cases: A product together with its hint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from kernel_cases.data import Args, Case, floats, matrix, scales, spoilt
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import GatePrologue, Matrix, NormPrologue, Prologue
from proofcompute.errors import InputError, NonFiniteError
from proofcompute.freivalds.sets import largest_squares

METHOD = "linear_with_hint"


def cases() -> Iterator[Case]:
    for n, m, d in (
        (1, 1, 1),
        (3, 5, 7),
        (7, 33, 65),
        (8, 64, 129),
        (13, 31, 64),
        (30, 100, 577),
        (970, 3, 6),
    ):
        for limbs, w_limbs, wanted in itertools.product((1, 2), (1, 2), (True, False)):
            for apart in (False, True):
                label = f"{n}x{m}x{d}-{limbs}{w_limbs}-{wanted}-{apart}"
                yield Case(
                    METHOD,
                    label,
                    lambda a=(n, m, d, limbs, w_limbs), u=wanted, p=apart: _product(*a, wanted=u, apart=p),
                )
    for n, how, rest in itertools.product((2, 9), ("none", "norm", "gate"), (False, True)):
        yield Case(
            METHOD,
            f"{how}-{rest}-{n}",
            lambda n=n, h=how, r=rest: _product(n, 37, 130, 2, 1, how=h, rest=r),
        )
    for n, limbs, w_limbs in itertools.product((2, 9), (1, 2), (1, 2)):
        yield Case(METHOD, f"long-{n}-{limbs}{w_limbs}", lambda a=(n, 3, 33000, limbs, w_limbs): _product(*a))
        yield Case(METHOD, f"zeros-{n}-{limbs}{w_limbs}", lambda a=(n, 35, 6, limbs, w_limbs): _zeros(*a))
    for n in (2, 9):
        yield Case(
            METHOD,
            f"nan-{n}",
            lambda n=n: (spoilt((n, 9), (1, 8), np.nan), *_weights(1, 3, 9)),
            NonFiniteError,
        )
        yield Case(METHOD, f"largest-{n}", lambda n=n: _largest(n))
    for label, shape in (("no-rows", (0, 3, 4)), ("no-channels", (3, 0, 4)), ("no-columns", (3, 4, 0))):
        yield Case(METHOD, label, lambda s=shape: _product(*s), InputError)
    yield Case(
        METHOD, "squares", lambda: (floats("normal", 2, 5), matrix(2, 3, 5, bias=False), 2, (1,)), InputError
    )


def _weights(w_limbs: int, m: int, d: int, apart: bool = False) -> tuple[Matrix, int, tuple[int, ...]]:
    """A matrix, two limbs of rows, and its squares, or such that limbs of rows are apart."""
    w = matrix(w_limbs, m, d, bias=m % 2 == 1)
    squares = largest_squares(w.q, NumpyKernels()) if m and not apart else (1 << 60,) * w_limbs
    return w, 2, squares


def _product(
    n: int,
    m: int,
    d: int,
    limbs: int = 1,
    w_limbs: int = 1,
    *,
    wanted: bool = True,
    apart: bool = False,
    how: str = "none",
    rest: bool = False,
) -> Args:
    w, _, squares = _weights(w_limbs, m, d, apart)
    prologue: Prologue = None
    if how == "norm":
        prologue = NormPrologue(floats("normal", d), np.float32(1e-5))
    elif how == "gate":
        prologue = GatePrologue()
    x = floats("normal", n, 2 * d if how == "gate" else d)
    return x, w, limbs, squares, prologue, floats("mixed", n, m) if rest else None, wanted


def _zeros(n: int, m: int, d: int, limbs: int, w_limbs: int) -> Args:
    return np.zeros((n, d), np.float32), *_product(n, m, d, limbs, w_limbs)[1:]


def _largest(n: int) -> Args:
    """Values beyond 2^30 if both limbs were together, whose squares say so."""
    w = Matrix(np.full((1, 4, 600), -127, np.int8), scales(4))
    return np.ones((n, 600), np.float32), w, 2, largest_squares(w.q, NumpyKernels())
