"""Provide the defaults and the checks that most operations share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from proofcompute.errors import FormatError
from proofcompute.freivalds.product import Site
from proofcompute.program.types import Reads, Spec, WeightSpec

__all__ = ["Pointwise", "f32_rows", "from_bits", "matrix", "need", "vector"]


def need(ok: bool, what: str) -> None:
    """Raise FormatError with ``what`` unless ``ok``."""
    if not ok:
        raise FormatError(what)


@lru_cache(maxsize=4096)
def from_bits(bits: int, what: str) -> np.float32:
    """Return the binary32 value with these bits. Raises FormatError unless it is finite."""
    need(0 <= bits < 1 << 32, f"{what}: {bits} is not a binary32 bit pattern")
    value = np.array(bits, np.uint32).view(np.float32)[()]
    need(bool(np.isfinite(value)), f"{what}: not finite")
    return np.float32(value)


def vector(weights: Mapping[str, WeightSpec], name: str, width: int) -> None:
    """Raise FormatError unless ``name`` is a weight vector of this length."""
    w = weights.get(name)
    need(w is not None and w.kind == "vector" and w.width == width, f"{name}: no vector of {width} elements")


def matrix(weights: Mapping[str, WeightSpec], name: str) -> WeightSpec:
    """Return the weight matrix of this name. Raises FormatError if there is none."""
    w = weights.get(name)
    if w is None or w.kind != "matrix":
        raise FormatError(f"{name}: no weight matrix of this name")
    return w


@dataclass(frozen=True)
class Pointwise:
    """Defaults for an operation that makes no product and whose row t depends only on row t of one input."""

    settled: ClassVar[bool] = False
    """See Op."""

    def reads(self) -> Sequence[Reads]:
        """Return that there is one input, read row by row."""
        return (Reads.SAME,)

    def sites(self, weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return no products."""
        return ()

    def table(self) -> str | None:
        """Return no table."""
        return None

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return no indices."""
        return {}


def f32_rows(ins: Sequence[Spec], what: str, count: int = 1) -> int:
    """Return the width of the inputs. Raises FormatError unless they are ``count`` equal float32 rows."""
    need(
        len(ins) == count
        and all(s == ins[0] for s in ins)
        and ins[0].dtype == "f32"
        and len(ins[0].shape) == 1,
        f"{what}: needs {count} float32 input(s) of equal width",
    )
    return ins[0].shape[0]
