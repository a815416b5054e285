"""The operators of ATen that make tensors of numbers."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.aten.elements import cast
from proofcompute.importers.lowering.graph import guard
from proofcompute.importers.lowering.values import RefusedError, Value, constant

__all__: list[str] = []

_FILLS: Final = {"zeros": 0, "ones": 1, "empty": 0}


@operator(
    "zeros", "ones", "zeros_like", "ones_like", "new_zeros", "new_ones", "empty", "empty_like", "new_empty",
    "empty_permuted", "empty_strided", "new_empty_strided",
)  # fmt: skip
def _filled(c: Call) -> Value:
    # memory that was not written is zero here, as it is in what can be exported: all of it is written later
    kind = c.op.removeprefix("new_").partition("_")[0]
    return constant(np.full(guard(c.shape), _FILLS[kind]), c.dtype)


@operator("full", "full_like", "new_full", "fill", "scalar_tensor")
def _full(c: Call) -> Value:
    name = next(n for n in ("fill_value", "value", "s") if n in c.arguments)
    return c.g.broadcast(cast(c.g, c.value(name), c.dtype), guard(c.shape))


@operator("arange")
def _arange(c: Call) -> Value:
    start, step = (c.arguments.get(n) for n in ("start", "step"))
    first, by = 0 if start is None else start, 1 if step is None else step
    return constant(first + by * np.arange(guard(c.shape)[0]), c.dtype)


@operator("linspace")
def _linspace(c: Call) -> Value:
    return constant(np.linspace(c.real("start"), c.real("end"), guard(c.shape)[0]), c.dtype)


@operator("eye")
def _eye(c: Call) -> Value:
    rows, columns = guard(c.shape)
    return constant(np.eye(rows, columns), c.dtype)


@operator("tril_indices", "triu_indices")
def _indices(c: Call) -> Value:
    whole = np.ones((c.whole("row"), c.whole("col")))
    offset = c.whole("offset", 0)
    made = np.tril(whole, offset) if c.op == "tril_indices" else np.triu(whole, offset)
    return constant(np.stack(np.nonzero(made)), c.dtype)


@operator("hann_window", "hamming_window")
def _window(c: Call) -> Value:
    n = math.prod(c.shape)
    at = 2 * np.pi * np.arange(n) / (n if c.arguments.get("periodic", True) else max(1, n - 1))
    a = 0.5 if c.op == "hann_window" else c.real("alpha", 0.54)
    b = 0.5 if c.op == "hann_window" else c.real("beta", 0.46)
    return constant(a - b * np.cos(at), c.dtype)


@operator(
    "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "bernoulli",
    "multinomial", "normal", "poisson", "uniform", "exponential",
)  # fmt: skip
def _random(c: Call) -> Value:
    raise RefusedError("random numbers")


@operator(
    "nonzero", "masked_select", "unique", "unique_consecutive", "_unique2", "unique_dim", "item",
    "_local_scalar_dense", "bincount",
)  # fmt: skip
def _dependent(c: Call) -> Value:
    raise RefusedError("a shape, or a number, that depends on the values of the inputs")
