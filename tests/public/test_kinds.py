"""Every kind of program has public proofs, and a node with another weight is caught with each."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import encoders
import proofcompute as pc
import synthetic
from adversary import routed
from cli.networks import network
from functions.test_proved import CASES, made
from importers import onnx_nets
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.errors import VerificationError
from proofcompute.importers.onnx import compile_onnx
from proofcompute.importers.onnx.opening import parsed
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.public.proof import ALL, Proof
from proofcompute.public.proving import Answered, coded_challenge, prove, verify_proof
from proofcompute.public.publishing import Published, publish
from proofcompute.verifier import check_receipt
from public.world import KERNELS, POSITIONS, SECURITY, changed

FAST = pc.kernels_for("cpu")


class Kind(NamedTuple):
    """A model, and a request for it."""

    model: Model
    request: Request


def _decoder() -> Kind:
    model = synthetic.model(0, "w8a16")
    return Kind(model, synthetic.request(model, "kinds", max_tokens=4))


def _experts() -> Kind:
    model = routed.model(2, 2)
    return Kind(model, Request(model.model_id, (("x", routed.rows().tobytes()),), bytes(32)))


def _pooled() -> Kind:
    model = encoders.model()
    return Kind(model, encoders.request(model))


def _rows() -> Kind:
    """Each row sees all others, and has an output of its own."""
    model = encoders.model(pooled=False)
    return Kind(model, encoders.request(model))


def _convolutions() -> Kind:
    rng = np.random.default_rng(0)
    b = ProgramBuilder(context=8)
    x = b.input("x", (6, 5, 3))
    h = b.relu(b.conv(x, rng.standard_normal((8, 3, 3, 3)).astype(np.float32), pads=1))
    b.cut(h)
    h = b.mean(b.relu(b.conv(h, rng.standard_normal((40, 3, 3, 8)).astype(np.float32))), (0, 1))
    b.output(b.linear(h, rng.standard_normal((3, 40)).astype(np.float32), weight_limbs=2))
    return _arrays(b.model(), rng.standard_normal((3, 6, 5, 3)))


def _arrays(model: Model, rows: Array) -> Kind:
    return Kind(model, pc.array_request(model, rows.astype(np.float32), nonce=bytes(32)))


def _example(name: str) -> Callable[[], Kind]:
    def build() -> Kind:
        found = network(name)
        return _arrays(found.model, found.rows)

    return build


def _function() -> Kind:
    function, weights, arguments = CASES["perceptron"]
    proved = made(function, weights)
    _, proof = proved(*arguments)
    return Kind(proved.model, replace(proof.request, node=b""))


def _onnx(name: str) -> Callable[[], Kind]:
    def build() -> Kind:
        model = compile_onnx(parsed(getattr(onnx_nets, name)()), FAST)
        ((_, spec),) = model.program.inputs
        return _arrays(model, np.random.default_rng(2).standard_normal((2, *spec.shape)))

    return build


KINDS: dict[str, Callable[[], Kind]] = {
    "decoder": _decoder,
    "experts": _experts,
    "pooled encoder": _pooled,
    "encoder of rows": _rows,
    "convolutions": _convolutions,
    "hand-built CNN": _example("cnn"),
    "hand-built LSTM": _example("lstm"),
    "hand-built trees": _example("trees"),
    "a function": _function,
    "ONNX, convolutional": _onnx("convolutional"),
    "ONNX, transformer": _onnx("transformer"),
}
NO_PRODUCTS = {"hand-built trees"}


@cache
def _kind(name: str) -> Kind:
    return KINDS[name]()


@cache
def _published(name: str) -> Published:
    return publish(_kind(name).model, FAST)


def _answered(name: str, has: Model, cells: int = ALL) -> Answered:
    """The answer of a node that computes with the model that it has."""
    asked = _kind(name).request
    node = Node(has, synthetic.NODE, device=FAST)
    receipt = node.commit(node.run(asked)).encode()
    opening, claim = io.BytesIO(), check_receipt(has, asked, receipt, None)
    node.open(asked, receipt, coded_challenge(claim, cells), opening)
    return Answered(asked, receipt, opening, cells)


def _proved(name: str, has: Model, one: Answered) -> bytes:
    out = io.BytesIO()
    prove(_published(name), has, [one], out, positions=POSITIONS, kernels=FAST)
    return out.getvalue()


def _verify(name: str, data: bytes, cells: int = ALL) -> bool:
    key, asked = _published(name).key, _kind(name).request
    (found,) = verify_proof(key, [asked], io.BytesIO(data), kernels=KERNELS, cells=cells, security=SECURITY)
    return found.complete


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cells", [ALL, 1])
def test_a_proof_of_this_kind(name: str, cells: int) -> None:
    model = _kind(name).model
    data = _proved(name, model, _answered(name, model, cells))
    assert _verify(name, data, cells) is (cells == ALL)
    has_evaluation = bool(Proof.read(io.BytesIO(data)).evaluation_size)
    assert has_evaluation is (name not in NO_PRODUCTS) or cells != ALL  # a cell may have no product
    for at in (len(data) - 1, len(data) - 40, len(data) // 2):
        with pytest.raises(VerificationError):
            _verify(name, changed(data, at), cells)


def _other(model: Model) -> Model:
    """The model with another weight of a product in the middle, or constant, under the same model id."""
    sites = [site.weight for plan in model.program.plans for site in plan.sites]
    name = (
        sites[len(sites) // 2]
        if sites
        else next(w.name for w in model.program.weights if "threshold" in w.name)
    )
    weight = model.weights[name]
    if isinstance(weight, Matrix):
        q = weight.q.copy()
        q[..., 0, 0] ^= 64
        return replace(model, weights={**model.weights, name: replace(weight, q=q)})
    return replace(model, weights={**model.weights, name: -weight})


@pytest.mark.parametrize("name", KINDS)
def test_another_weight_is_caught(name: str) -> None:
    """The node recommits to what it computed, and the prover combines true weights, or those of the node."""
    model = _kind(name).model
    other = _other(model)
    one = _answered(name, other)
    if name in NO_PRODUCTS:  # the prover computes again, too, and finds it
        with pytest.raises(VerificationError, match="step 9"):
            _proved(name, model, one)
        return
    for has, steps in ((model, "8: evaluation: a round of"), (other, "[78]: evaluation: (a pos|the comb)")):
        data = _proved(name, has, one)
        with pytest.raises(VerificationError, match=f"step {steps}"):
            _verify(name, data)
