"""Runs calls of a backend as a step that is recorded and then repeated for several rows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import Array, Batch, Member, Span

__all__ = ["Compute", "Key", "plain", "repeated"]

Compute = Callable[[Any, Mapping[str, Array], Span], Sequence[Array]]
"""Makes results of one row from a backend, rows of inputs by name, each [1, ...], and a span."""


class Key:
    """A key."""


def _span(i: int) -> Span:
    """Member i is at position i + 1 of its trace."""
    return Span(i, i + 1, i + 2)


def plain(make: Callable[[Any], Compute], inputs: Mapping[str, Array]) -> list[list[Array]]:
    """The results for each row, as they are defined."""
    kernels = NumpyKernels()
    compute, rows = make(kernels), len(next(iter(inputs.values())))
    return [[*compute(kernels, {k: x[i : i + 1] for k, x in inputs.items()}, _span(i))] for i in range(rows)]


def repeated(
    make: Callable[[Any], Compute], inputs: Mapping[str, Array], like: Sequence[Array], kernels: NumbaKernels
) -> list[list[Array]]:
    """The results for each row, of a step recorded from row 0 and repeated for all rows.

    ``like`` are results of one row, and ``make`` places weights on the backend.
    """
    compute, rows = make(kernels), len(next(iter(inputs.values())))
    members = []
    for i in range(rows):
        size, at = i + 3, i + 1
        buffers: dict[str, Array] = {
            "tokens": np.zeros(size, np.int32),
            "logits": np.ones((size, 3), np.float32),
        }
        for name, x in inputs.items():
            buffers[name] = np.zeros((size, *x.shape[1:]), x.dtype)
            buffers[name][at] = x[i]
        for j, y in enumerate(like):
            buffers[f"result.{j}"] = np.zeros((size, *y.shape[1:]), y.dtype)
        members.append(Member(buffers, np.zeros((size, 2), np.uint64), Sampling()))

    def step(spans: Sequence[Span]) -> Any:
        tokens = []
        for s in spans:
            own = members[s.trace]
            given = {name: own.buffers[name][s.a : s.b] for name in inputs}
            for j, y in enumerate(compute(kernels, given, s)):
                kernels.write_rows(own.buffers[f"result.{j}"], s.a, s.b, y)
            logits = kernels.settle(own.buffers["logits"][s.a : s.b])
            assert own.draws is not None
            history, draws = own.buffers["tokens"][: s.b], own.draws[s.a : s.b]
            tokens.append(kernels.sample(logits, history, s.a, own.sampling, draws))
        return kernels.concatenate(tokens)

    work = Key()
    for some in (members[:1], members):  # the first is recorded
        batch = Batch(work, some)
        assert kernels.step(Key(), [_span(i) for i in range(len(some))], step, batch) is not None
        if some is not members:
            for j, _ in enumerate(like):
                members[0].buffers[f"result.{j}"][:] = 0
    return [
        [m.buffers[f"result.{j}"][i + 1 : i + 2] for j, _ in enumerate(like)] for i, m in enumerate(members)
    ]
