"""What audits are said to cost is at least what they open, and says rightly what is cheaper to hold."""

from __future__ import annotations

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.errors import LimitError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.requests import array_request
from proofcompute.prover.node import Node
from proofcompute.testing import random_network
from proofcompute.verifier import Key, keygen
from proofcompute.verifier.auditor import Auditor
from proofcompute.verifier.keymaking import key_size
from proofcompute.verifier.pricing import prices

KERNELS = kernels_for("numpy")


def convolutions(channels: int, size: int) -> Model:
    """Two convolutions of windows of three by three."""
    rng = np.random.default_rng(0)
    b = ProgramBuilder(context=64, device="numpy")
    x = b.input("x", (size, size, channels))
    for cut in (True, False):
        w = rng.standard_normal((channels, 3, 3, channels)).astype(np.float32) / np.float32(30)
        x = b.relu(b.conv(x, w, pads=1))
        if cut:
            b.cut(x)
    b.output(b.mean(x, (0, 1), name="y"))
    return b.model()


def elements() -> Model:
    """No product at all."""
    b = ProgramBuilder(context=64, device="numpy")
    x = b.input("x", 30)
    h = b.silu(x)
    b.cut(h)
    b.output(b.reduce("sum", h, 0, name="y"))
    return b.model()


def rows_for(model: Model, n: int) -> Array:
    ((_, spec),) = model.program.inputs
    return np.random.default_rng(1).standard_normal((n, *spec.shape)).astype(np.float32)


def opened(model: Model, holds: Key | Model, n: int, cells: int | str) -> int:
    """Bytes of the opening of an audit that holds."""
    node, auditor = Node(model, device=KERNELS), Auditor(holds, device=KERNELS)
    request = array_request(model, rows_for(model, n))
    answer = node.answer(request)
    challenge = auditor.challenge(request, answer.receipt, cells)  # type: ignore[arg-type]
    data = node.open(request, answer.receipt, challenge)
    assert auditor.check(request, answer.receipt, challenge, data).complete
    return len(data)


MODELS = {
    "perceptron": lambda: random_network([64, 96, 8]),
    "convolutions": lambda: convolutions(6, 8),
    "elements": elements,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [1, 5])
def test_an_audit_opens_at_most_what_it_is_said_to(name: str, n: int) -> None:
    model = MODELS[name]()
    found = prices(model.program, n)
    key = keygen(model, KERNELS)
    assert 0 < opened(model, key, n, "all") <= found.key.nbytes
    assert 0 < opened(model, model, n, "all") <= found.weights.nbytes <= found.key.nbytes
    assert found.rows == n
    assert [s.name for s in found.segments] == [s.name for s in model.program.segments]
    for s, plan in zip(found.segments, model.program.plans, strict=True):
        assert s.products == len(plan.sites)
        assert s.weights.nbytes <= s.key.nbytes <= found.key.nbytes
        assert s.committed == sum(model.program.group_bytes(model.program.group_of[t]) for t in plan.writes)


def test_wide_layers_favour_keys_and_narrow_convolutions_the_weights() -> None:
    assert prices(random_network([512, 512, 512]).program, 64).cheaper == "key"
    assert prices(convolutions(6, 8).program, 1).cheaper == "weights"
    assert prices(elements().program, 1).cheaper is None


def test_times_are_about_those_of_running() -> None:
    """Whoever holds the weights runs the cells again; a key saves the more the wider the layers are."""
    ratios = []
    for width in (32, 128, 512):
        found = prices(random_network([width] * 4).program, 64)
        assert 1 <= found.weights.time < 3
        ratios.append(found.key.time / found.weights.time)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.8


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("name", MODELS)
def test_the_size_of_a_key(name: str, columns: int) -> None:
    """The file has the card besides, and a few bytes for each weight."""
    model = MODELS[name]()
    key = keygen(model, KERNELS, columns=columns)
    besides = len(key.encode()) - len(model.card.encode()) - key_size(model.program, columns)
    assert 0 < besides < 1024
    assert prices(model.program, 1).key_bytes == key_size(model.program)


def test_what_reads_other_rows_is_priced_by_how_many_there_are() -> None:
    program = synthetic.model().program
    few, many = prices(program, 8), prices(program, 64)
    assert few.segments[1].key.nbytes < many.segments[1].key.nbytes
    assert few.key.nbytes < many.key.nbytes


def test_what_would_take_long_to_count_is_not_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of one row each; 64 of them in a segment, with the products of each."""
    program = synthetic.model().program
    monkeypatch.setattr("proofcompute.protocol.cells._PIECE", 1)
    assert prices(program, 64).rows == 64
    monkeypatch.setattr("proofcompute.verifier.pricing._MOST", 1 << 8)
    with pytest.raises(LimitError, match="price fewer rows"):
        prices(program, 64)
    assert prices(program, 1).rows == 1
