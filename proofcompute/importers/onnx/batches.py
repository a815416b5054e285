"""Tests whether the samples of a batch depend on each other, and names the node that mixes them.

A row of a program is a batch of one, so rows never depend on each other. A graph that mixes the samples of a
batch would give other results for a batch of many than its program does, and is refused. Shapes are compared
first: what a node makes for two samples has twice as many elements as for one, or as many if it depends on no
sample. Then, unless the graph is large, random samples are computed together and one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError, InputError
from proofcompute.importers.lowering.finishing import uniform
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Row, is_float
from proofcompute.importers.onnx.calls import Given
from proofcompute.importers.onnx.opening import OnnxFile
from proofcompute.importers.onnx.rows import Inputs, Trace, evaluate, lowered

__all__ = ["check_rows", "samples"]

_MOST: Final = 1 << 27
"""Multiplications of one sample up to which samples are computed."""
_LONG: Final = 24
_BLOCK: Final = 8
_NOISE: Final = 0.1
_CLOSE: Final = 1e-3
"""The greatest difference of floats that are the same, relative to the largest."""
_ADVICE: Final = "give the whole batch as one row instead"


def samples(
    file: OnnxFile, inputs: Inputs, count: int, seed: int = 0, sizes: Sequence[float] = (1.0,)
) -> dict[str, Array]:
    """Return canonical random inputs of a batch: floats, and integers 0 and 1.

    ``sizes`` are the deviations of the samples' floats, or of all samples.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    found: dict[str, Array] = {}
    for declared in file.inputs:
        if declared.name in inputs.values:
            found[declared.name] = inputs.values[declared.name]
            continue
        shape = inputs.shapes[declared.name]
        if declared.name in inputs.batch:
            shape = (count, *shape[1:])
        if is_float(declared.dtype):
            found[declared.name] = _floats(rng, shape)
            if declared.name in inputs.batch:
                by = np.array(sizes, np.float32).reshape(-1, *[1] * (len(shape) - 1))
                found[declared.name] = found[declared.name] * by
        else:
            found[declared.name] = rng.integers(0, 2, shape).astype(ELEMENTS[STORED[declared.dtype]])
    return found


def _floats(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return normal numbers; along long axes they change slowly, as in pictures, with some noise."""
    coarse = rng.standard_normal([-(-n // _BLOCK) if n > _LONG else n for n in shape])
    for axis, n in enumerate(shape):
        if n > _LONG:
            coarse = np.repeat(coarse, _BLOCK, axis)[(slice(None),) * axis + (slice(n),)]
    return (coarse + _NOISE * rng.standard_normal(shape)).astype(np.float32)


def check_rows(file: OnnxFile, inputs: Inputs, multiplications: int) -> None:
    """Raise RefusedError naming the node that mixes the samples of a batch, if one does."""
    if not inputs.batch:
        return
    one: Trace = []
    two: Trace = []
    lowered(file, inputs, uniform("w8a8"), 1, "numpy", trace=one)
    try:
        lowered(file, inputs, uniform("w8a8"), 1, "numpy", batch=2, trace=two)
    except (InputError, ExecutionError):
        return  # the graph takes one sample only, or two are larger than a row may be
    _compare_shapes(inputs, one, two)
    if multiplications > _MOST:
        return
    both = samples(file, inputs, 2)
    traces: list[Trace] = [[], [], []]
    try:
        evaluate(file, both, traces[2])
        for i in range(2):
            single = {n: v[i : i + 1] if n in inputs.batch else v for n, v in both.items()}
            evaluate(file, single, traces[i])
    except (RefusedError, ExecutionError):
        return  # random numbers are no fit inputs, such as places outside a table
    _compare_values(traces[0], traces[1], traces[2])


def _count(x: Given) -> int:
    return int(np.prod(x.shape, dtype=np.int64)) if isinstance(x, Constant | Row) else 0


def _compare_shapes(inputs: Inputs, one: Trace, two: Trace) -> None:
    if len(one) != len(two):
        raise RefusedError(f"the graph has other nodes for a batch of two; {_ADVICE}")
    for (label, op, first), (_, _, second) in zip(one, two, strict=True):
        for a, b in zip(first, second, strict=True):
            if not isinstance(a, Row) or not isinstance(b, Row):
                continue
            if not b.inputs & inputs.batch:
                continue  # made of inputs without a batch, such as a state
            if _count(b) != 2 * _count(a):
                raise _mixing(label, op, f"makes {list(b.shape)} for two samples and {list(a.shape)} for one")


def _mixing(label: str, op: str, reason: str) -> RefusedError:
    found = RefusedError(
        f"node {label[:80]!r} ({op[:40]}) mixes the samples of a batch: it {reason}; {_ADVICE}"
    )
    found.node = label
    return found


def _compare_values(first: Trace, second: Trace, both: Trace) -> None:
    if not len(first) == len(second) == len(both):
        return
    for (label, op, a), (_, _, b), (_, _, c) in zip(first, second, both, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            if not isinstance(x, Constant) or not isinstance(y, Constant) or not isinstance(z, Constant):
                continue
            if z.array.size != x.array.size + y.array.size or z.array.dtype.kind != "f":
                continue
            apart = np.sort(np.concatenate([x.array.reshape(-1), y.array.reshape(-1)]))
            together = np.sort(z.array.reshape(-1))
            largest = float(np.abs(apart[np.isfinite(apart)]).max(initial=0))
            if not np.allclose(apart, together, rtol=_CLOSE, atol=_CLOSE * largest, equal_nan=True):
                raise _mixing(label, op, "gives other numbers for two samples together")
