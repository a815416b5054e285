"""Rows that a builder's program gives, audited; and rows to give it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import F32, Array
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor
from proofcompute.models.model import Model
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor

DEVICE = "numpy"
KERNELS = kernels_for(DEVICE)
ROWS = 3


def normal(seed: int, *shape: int) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rows_of(model: Model, given: dict[str, Array]) -> dict[str, Array]:
    """The outputs of a model, all of whose cells an auditor with a key accepts."""
    inputs = tuple((n, np.ascontiguousarray(given[n]).tobytes()) for n, _ in model.program.inputs)
    request = Request(model.model_id, inputs, bytes(32))
    node = Node(model, device=DEVICE)
    auditor = Auditor(keygen(model, KERNELS, seed=bytes(32)), device=DEVICE)
    answer = node.answer(request)
    result = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert result.complete
    assert decode_program(encode_program(model.program)) == model.program
    return dict(answer.outputs)


def made(f: Callable[..., Tensor], *xs: Array) -> Array:
    """What ``f``, called with a builder and an input for each array of rows, gives."""
    b = ProgramBuilder(context=16, device=DEVICE)
    kinds = {d: name for name, d in ELEMENTS.items()}
    tensors = [b.input(f"x{i}", x.shape[1:], kinds[x.dtype]) for i, x in enumerate(xs)]
    y = f(b, *tensors)
    b.output(y)
    found = rows_of(b.model(), {f"x{i}": x for i, x in enumerate(xs)})[y.name]
    assert found.shape[1:] == y.shape
    assert found.dtype == ELEMENTS[y.dtype]
    return found


X = normal(1, ROWS, 4, 6)
POSITIVE = np.abs(X) + np.float32(0.5)
INTS = np.random.default_rng(2).integers(-9, 9, (ROWS, 4, 6)).astype(np.int32)
BYTES = np.random.default_rng(3).integers(1, 9, (ROWS, 4, 6)).astype(np.uint8)
NUMBERS = np.array([[2, 0, 1, 2]] * ROWS, np.int32)


def ends(pads: Any, count: int) -> list[tuple[int, int]]:
    """Elements before and after each axis."""
    return [(p, p) if isinstance(p, int) else p for p in ((pads,) * count if isinstance(pads, int) else pads)]


def convolved(x: Array, w: Array, strides: Sequence[int], pads: Any, dilation: int, groups: int) -> Array:
    """A convolution of [n, places ..., channels] with [out, window ..., channels / groups] in binary64."""
    x = np.pad(x.astype(np.float64), ((0, 0), *ends(pads, w.ndim - 2), (0, 0)))
    out, *size, inner = w.shape
    axes = zip(x.shape[1:], size, strides, strict=False)
    places = [(n - dilation * (k - 1) - 1) // s + 1 for n, k, s in axes]
    y = np.zeros((len(x), *places, out))
    for at in itertools.product(*map(range, size)):
        here: Any = (slice(None), *at)
        cut = tuple(
            slice(a * dilation, a * dilation + (p - 1) * s + 1, s)
            for a, p, s in zip(at, places, strides, strict=True)
        )
        seen = x[(slice(None), *cut)]
        for g in range(groups):
            o = slice(g * out // groups, (g + 1) * out // groups)
            y[..., o] += seen[..., g * inner : (g + 1) * inner] @ w[o][here].T
    return y
