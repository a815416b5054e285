"""Provide the defaults and the checks that most operations share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array, Span
from proofcompute.errors import FormatError
from proofcompute.freivalds.product import Site
from proofcompute.program.types import Body, Expansion, Reads, Runs, Spec, Step, WeightSpec

_TEXT = 300
"""Characters of an error."""

__all__ = [
    "Planned",
    "Pointwise",
    "constant",
    "f32_axis",
    "f32_rows",
    "from_bits",
    "matrix",
    "need",
    "vector",
]


def need(ok: bool, what: str) -> None:
    """Raise FormatError with ``what`` unless ``ok``."""
    if not ok:
        raise FormatError(what[:_TEXT])  # attributes of a program from outside may be long


@lru_cache(maxsize=4096)
def from_bits(bits: int, what: str) -> np.float32:
    """Return the binary32 value with these bits. Raises FormatError unless it is finite."""
    need(0 <= bits < 1 << 32, f"{what}: {bits} is not a binary32 bit pattern")
    value = np.array(bits, np.uint32).view(np.float32)[()]
    need(bool(np.isfinite(value)), f"{what}: not finite")
    return np.float32(value)


def constant(weights: Mapping[str, WeightSpec], name: str) -> WeightSpec:
    """Return the constant of this name. Raises FormatError if there is none."""
    w = weights.get(name)
    if w is None or w.kind != "constant":
        raise FormatError(f"{name}: no constant of this name")
    return w


def vector(weights: Mapping[str, WeightSpec], name: str, width: int) -> None:
    """Raise FormatError unless ``name`` is a float32 constant [width]."""
    w = constant(weights, name)
    need((w.dtype, w.shape) == ("f32", (width,)), f"{name}: no float32 constant of {width} elements")


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
    native: ClassVar[bool] = True
    """See Op."""
    broadcasts: ClassVar[bool] = False
    """See Runs."""
    products: ClassVar[bool] = False
    """See Runs."""
    captured: ClassVar[bool] = True
    """See Runs."""

    def reads(self) -> Sequence[Reads]:
        """Return that there is one input, read row by row."""
        return (Reads.SAME,)

    def weights(self) -> Sequence[str]:
        """Return no weights."""
        return ()

    def sites(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Sequence[Site]:
        """Return no products."""
        return ()

    def work(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return the elements of inputs and outputs."""
        return sum(s.size for s in (*ins, *outs))

    def each_position(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return that nothing is multiplied with a prefix."""
        return 0

    def scratch(self, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
        """Return that running takes no memory of its own."""
        return 0

    def expand(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Expansion | None:
        """Return that this is a primitive."""
        return None

    def body(self, ins: Sequence[Spec]) -> Body | None:
        """Return that this is no loop."""
        return None

    def lowered(self, ins: Sequence[Spec], outs: Sequence[Spec], steps: Sequence[Step]) -> Runs:
        """Return the operation itself."""
        made: Runs = self  # type: ignore[assignment]  # every operation adds ``run``
        return made

    def table(self) -> str | None:
        """Return no table."""
        return None

    def indices(self, ins: Sequence[Spec], weights: Mapping[str, WeightSpec]) -> Mapping[int, int]:
        """Return no indices."""
        return {}


@dataclass(frozen=True)
class Planned(Pointwise):
    """Defaults for an operation that a plan holds in another form: expanded, or as a loop over steps."""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Any, k: Kernels) -> Sequence[Array]:
        """Raise AssertionError: a plan holds no such step."""
        raise AssertionError(f"{type(self).__name__} is in a plan as it stands")


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


def f32_axis(ins: Sequence[Spec], what: str) -> int:
    """Return the length of the last axis of one float32 input. Raises FormatError if there is none."""
    need(
        len(ins) == 1 and ins[0].dtype == "f32" and len(ins[0].shape) >= 1,
        f"{what}: needs one float32 input with an axis",
    )
    return ins[0].shape[-1]
