"""Programs written by hand: they run, are audited, and mistakes are named where they are made."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, Array
from proofcompute.errors import FormatError, InputError, NonFiniteError, VerificationError
from proofcompute.models.builder import ProgramBuilder, Tensor
from proofcompute.models.model import Model
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier import Verified, keygen
from proofcompute.verifier.auditor import Auditor

DEVICE = "numpy"
KERNELS = kernels_for(DEVICE)


def normal(seed: int, *shape: int) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def every_operation() -> Model:
    b = ProgramBuilder(context=64, device=DEVICE)
    x, y = b.input("x", 6), b.input("y", 8)
    h = b.add(b.gelu(b.linear(x, normal(1, 8, 6), normal(2, 8))), y)
    h = b.layer_norm(h, normal(3, 8), normal(4, 8))
    b.cut(h)
    g = b.gate(b.linear(h, normal(5, 10, 8), limbs=1, weight_limbs=2))
    n = b.rms_norm(h, normal(6, 8), eps=1e-3)
    b.cut(g, n)
    b.output(b.relu(b.linear(g, normal(7, 3, 5)), name="first"))
    b.output(b.add(n, y, name="second"))
    return b.model()


def prove(m: Model, has: Model, rows: int = 5) -> tuple[Verified, dict[str, Array]]:
    """The answer of a node that has other weights than it claims, perhaps, and what an audit of it says."""
    inputs = tuple((n, normal(9, rows, s.shape[0]).tobytes()) for n, s in m.program.inputs)
    request = Request(m.model_id, inputs, bytes(32))
    node, auditor = Node(has, device=DEVICE), Auditor(keygen(m, KERNELS, seed=bytes(32)), device=DEVICE)
    answer = node.answer(request)
    result = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    return result, dict(answer.outputs)


def test_every_operation_runs_and_is_audited() -> None:
    m = every_operation()
    result, outputs = prove(m, m)
    assert (result.cells, result.total) == (15, 15)
    assert decode_program(encode_program(m.program)) == m.program
    x, y = (normal(9, 5, w).astype(np.float64) for w in (6, 8))

    erf = np.vectorize(math.erf)
    h = x @ normal(1, 8, 6).T + normal(2, 8)
    h = 0.5 * h * (1 + erf(h / np.sqrt(2))) + y
    c = h - h.mean(axis=1, keepdims=True)
    h = c / np.sqrt((c * c).mean(axis=1, keepdims=True) + 1e-5) * normal(3, 8) + normal(4, 8)
    n = h / np.sqrt((h * h).mean(axis=1, keepdims=True) + 1e-3) * normal(6, 8)
    g = h @ normal(5, 10, 8).T
    g = g[:, :5] / (1 + np.exp(-g[:, :5])) * g[:, 5:]
    first = np.maximum(g @ normal(7, 3, 5).T, 0)
    np.testing.assert_allclose(outputs["second"], n + y, atol=0.05)
    np.testing.assert_allclose(outputs["first"], first, atol=0.3)


def test_the_model_does_not_depend_on_the_backend() -> None:
    ids = set()
    for device in ("numpy", "cpu"):
        b = ProgramBuilder(device=device)
        b.output(b.linear(b.input("x", 40), normal(1, 30, 40), weight_limbs=2))
        ids.add(b.model().model_id)
    assert len(ids) == 1


@pytest.mark.parametrize("which", range(3))
def test_a_changed_weight_is_caught(which: int) -> None:
    m = every_operation()
    names = [w.name for w in m.program.weights if w.kind == "matrix"]
    w = m.matrix(names[which])
    q = w.q.copy()
    q[0, 0, 0] += -1 if q[0, 0, 0] > 0 else 1
    with pytest.raises(VerificationError) as caught:
        prove(m, replace(m, weights={**m.weights, names[which]: Matrix(q, w.scale, w.bias)}))
    assert caught.value.step == 8
    assert caught.value.cell is not None
    assert caught.value.cell.segment == which


def small() -> tuple[ProgramBuilder, Tensor, Tensor]:
    b = ProgramBuilder(device=DEVICE)
    x = b.input("x", 4)
    return b, x, b.relu(x)


def test_tensors_are_used_where_they_are_alive() -> None:
    b, x, h = small()
    lost = b.gelu(x)
    b.cut(h)
    for f in (lambda: b.relu(lost), lambda: b.add(h, lost), lambda: b.output(h), lambda: b.cut(h)):
        with pytest.raises(InputError):
            f()
    b.output(b.add(x, h))  # inputs and committed tensors remain
    assert len(b.program().segments) == 2


def test_mistakes_are_named() -> None:
    b, x, h = small()
    other = ProgramBuilder(device=DEVICE).input("z", 4)
    w = normal(1, 3, 4)
    with_nan = w.copy()
    with_nan[1, 1] = np.nan
    for error, f in (
        (InputError, lambda: b.input("x", 3)),
        (InputError, lambda: b.relu(x, name="x")),
        (InputError, lambda: b.input("w", 0)),
        (InputError, lambda: b.relu(other)),
        (InputError, lambda: b.linear(x, w.T)),
        (InputError, lambda: b.linear(x, w.astype(np.float64))),
        (InputError, lambda: b.linear(x, [[1.0]])),  # type: ignore[arg-type]
        (InputError, lambda: b.linear(x, w[:0])),
        (InputError, lambda: b.linear(x, w, normal(1, 4))),
        (InputError, lambda: b.linear(x, w, weight_limbs=3)),
        (NonFiniteError, lambda: b.linear(x, with_nan)),
        (InputError, lambda: b.layer_norm(x, normal(1, 3), normal(1, 4))),
        (InputError, lambda: b.add(x, b.linear(x, w))),  # their shapes do not broadcast
        (InputError, lambda: b.cut()),
        (InputError, lambda: b.cut(h, h)),
        (InputError, lambda: b.cut(x)),
        (InputError, lambda: b.output(x)),
    ):
        with pytest.raises(error):
            f()
    b.output(h)
    with pytest.raises(InputError, match="output already"):
        b.output(h)
    assert len(b.program().weights) == 1  # that of the sum which did not fit; nothing is left of the others


def test_a_program_needs_an_output_and_good_limbs() -> None:
    b, x, _ = small()
    with pytest.raises(FormatError):
        b.program()
    with pytest.raises(FormatError, match="limbs"):
        b.linear(x, normal(1, 3, 4), limbs=3)
