"""What a case is, and the numbers that cases are made of: the same on every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, I8
from proofcompute.errors import ProofcomputeError
from proofcompute.freivalds.field import P31

Args = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """One call of one method."""

    method: str
    label: str
    build: Callable[..., Args]
    raises: type[ProofcomputeError] | None = None

    def __str__(self) -> str:
        return f"{self.method}-{self.label}"


SHAPES = [(0, 5), (1, 1), (1, 3), (3, 7), (2, 64), (5, 129), (2, 1000)]
"""Rows and columns: none, one, odd, a power of two, more than a cache line or a vector register."""


def rng_of(*key: object) -> np.random.Generator:
    return np.random.default_rng(list(repr(key).encode()))


KINDS = ("normal", "wide", "subnormal", "zeros", "huge", "mixed", "halves")


def floats(kind: str, *shape: int) -> F32:
    """Finite binary32 numbers [shape] of a kind; the same on every call."""
    rng = rng_of(kind, shape)
    normal = rng.standard_normal(shape).astype(np.float32)
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint64).astype(np.uint32)
    if kind == "normal":
        return normal
    if kind == "wide":  # every exponent, none of them that of infinity
        finite = np.where((bits >> 23) & 0xFF == 0xFF, bits & 0x807FFFFF, bits).astype(np.uint32)
        return finite.view(np.float32)
    if kind == "subnormal":
        return (bits & np.uint32(0x807FFFFF)).view(np.float32)
    if kind == "zeros":
        return (bits & np.uint32(0x80000000)).view(np.float32)
    if kind == "huge":
        return ((bits & np.uint32(0x80FFFFFF)) | np.uint32(0x7E000000)).view(np.float32)
    if kind == "mixed":
        spikes = np.where(bits % 7 == 0, normal * np.float32(1e4), normal)
        zeros = np.where(bits % 5 == 0, np.copysign(np.float32(0), normal), spikes)
        return np.where(bits % 11 == 0, (bits & 0x807FFFFF).astype(np.uint32).view(np.float32), zeros)
    if kind == "halves":  # ties of the quantiser: the largest is 127, so r = 1 for one limb
        halves = rng.integers(-253, 254, shape).astype(np.float32) / np.float32(2)
        halves.reshape(-1)[:1] = 127
        return halves
    if kind == "unbounded":  # infinities and NaNs as well
        raw = np.where(bits % 4 == 0, (bits | np.uint32(0x7F800000)) & np.uint32(0xFF800000), bits)
        values = raw.astype(np.uint32).view(np.float32)
        return np.where(bits % 3 == 0, normal, values)
    raise ValueError(kind)


def int8s(*shape: int, low: int = -128, key: object = None) -> I8:
    """Random int8 [shape] of the full range, the extremes being frequent."""
    rng = rng_of(shape, key)
    q = rng.integers(low, 128, shape)
    extreme = rng.integers(0, 8, shape)
    return np.where(extreme == 0, low, np.where(extreme == 1, 127, q)).astype(np.int8)


def scales(*shape: int, key: object = None) -> F32:
    """Positive binary32 scales [shape] near 1/100."""
    return rng_of("scales", shape, key).uniform(1e-3, 2e-2, shape).astype(np.float32)


def matrix(limbs: int, m: int, d: int, *, bias: bool) -> Matrix:
    """A random weight matrix."""
    return Matrix(int8s(limbs, m, d), scales(m), floats("mixed", m) if bias else None)


def draws(value: int) -> npt.NDArray[np.uint64]:
    """One 128-bit number as a row of two halves, [1, 2]."""
    return np.array([[value & (1 << 64) - 1, value >> 64]], dtype=np.uint64)


def full(value: int, *shape: int) -> I8:
    return np.full(shape, value, dtype=np.int8)


def spoilt(shape: tuple[int, ...], at: tuple[int, ...], value: float, kind: str = "normal") -> F32:
    x = floats(kind, *shape)
    x[at] = value
    return x


def octets(n: int, w: int) -> npt.NDArray[np.uint8]:
    return rng_of("bytes", n, w).integers(0, 256, (n, w)).astype(np.uint8)


def columns(k: int, m: int) -> npt.NDArray[np.uint32]:
    rng = rng_of("columns", k, m)
    s = rng.integers(0, P31, (k, m))
    pick = rng.integers(0, 6, (k, m))
    return np.where(pick == 0, P31 - 1, np.where(pick == 1, 0, s)).astype(np.uint32)


def integers(n: int, m: int, bits: int) -> npt.NDArray[np.int64]:
    rng = rng_of("integers", n, m, bits)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    pick = rng.integers(0, 6, (n, m))
    y = rng.integers(low, high, (n, m), endpoint=True)
    return np.where(pick == 0, low, np.where(pick == 1, high, y))


def int32s(n: int, m: int, bits: int = 32) -> npt.NDArray[np.int32]:
    return integers(n, m, bits).astype(np.int32)
