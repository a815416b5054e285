"""What methods of the backend ask of their arguments before compiled code, which checks nothing, runs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.definition.products import LARGEST
from proofcompute.arithmetic.kernels import GatePrologue, NormPrologue, Prologue
from proofcompute.arrays import F32, Array
from proofcompute.errors import InputError, NonFiniteError

__all__ = ["NO_BIAS", "NO_RESIDUAL", "finite", "need", "preparation", "quantised", "rotation", "up"]

NO_BIAS: Final = np.zeros(0, dtype=np.float32)
NO_RESIDUAL: Final = np.zeros((0, 0), dtype=np.float32)
_ZERO: Final = np.float32(0)


def need(condition: bool, what: str, *arrays: Array) -> None:
    """InputError, naming the shapes, unless the arrays fit together."""
    if not condition:
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise InputError(f"{what} of shapes {shapes} do not fit together")


def finite(good: bool, what: str) -> None:
    """NonFiniteError unless a kernel found everything finite."""
    if not good:
        raise NonFiniteError(f"{what} must be finite")


def up(n: int, step: int) -> int:
    """The least multiple of ``step`` that is at least n."""
    return -(-n // step) * step


def rotation(cos: F32, sin: F32, n: int, dh: int) -> None:
    """InputError unless tables [n, r] turn n rows of heads with dh columns."""
    need(cos.shape == sin.shape and len(cos) == n, f"tables of {n} rows", cos, sin)
    if 2 * cos.shape[1] > dh:
        raise InputError(f"{2 * cos.shape[1]} rotated elements do not fit a head of {dh}")


def quantised(x: F32, limbs: int, prologue: Prologue) -> int:
    """Elements that are quantised of each row [n, width] after ``prologue``; InputError unless they fit."""
    if limbs not in LARGEST:
        raise InputError(f"a row has one or two limbs, not {limbs}")
    width = int(x.shape[1])
    if isinstance(prologue, NormPrologue):
        need(prologue.weight.shape == (width,), "rows and weights", x, prologue.weight)
    if not isinstance(prologue, GatePrologue):
        return width
    need(width % 2 == 0, "halves", x)
    return width // 2


def preparation(linear: Any, prologue: Prologue) -> tuple[int, F32, np.float32]:
    """What happens to the rows of a product first, as kernels take it."""
    if prologue is None:
        return linear.PLAIN, NO_BIAS, _ZERO
    if isinstance(prologue, GatePrologue):
        return linear.GATED, NO_BIAS, _ZERO
    return linear.NORM, prologue.weight, np.float32(prologue.eps)
