"""Every kind of program has public proofs: pooled encoders, convolutions, programs without products."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

import encoders
import synthetic
from proofcompute.errors import VerificationError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.public.proof import ALL, Proof
from proofcompute.public.proving import Answered, coded_challenge, prove, verify_proof
from proofcompute.public.publishing import publish
from proofcompute.verifier import check_receipt
from public.world import KERNELS, POSITIONS, SECURITY, changed


def _convolutions() -> Model:
    rng = np.random.default_rng(0)
    b = ProgramBuilder(context=8)
    x = b.input("x", (6, 5, 3))
    h = b.relu(b.conv(x, rng.standard_normal((8, 3, 3, 3)).astype(np.float32), pads=1))
    b.cut(h)
    h = b.mean(b.relu(b.conv(h, rng.standard_normal((40, 3, 3, 8)).astype(np.float32))), (0, 1))
    b.output(b.linear(h, rng.standard_normal((3, 40)).astype(np.float32), weight_limbs=2))
    return b.model()


def _no_products() -> Model:
    b = ProgramBuilder(context=8)
    x = b.input("x", (6, 5, 3))
    h = b.relu(x + x)
    b.cut(h)
    b.output(b.mean(h, (0, 1)))
    return b.model()


def _arrays(model: Model) -> Request:
    rows = np.random.default_rng(1).standard_normal((3, 6, 5, 3)).astype("<f4")
    return Request(model.model_id, (("x", rows.tobytes()),), bytes(32))


KINDS: dict[str, tuple[Callable[[], Model], Callable[[Model], Request]]] = {
    "pooled": (encoders.model, encoders.request),
    "convolutions": (_convolutions, _arrays),
    "no products": (_no_products, _arrays),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cells", [ALL, 4])
def test_a_proof_of_this_kind(kind: str, cells: int) -> None:
    make, ask = KINDS[kind]
    model = make()
    published, asked = publish(model, KERNELS), ask(model)
    node = Node(model, synthetic.NODE, device=KERNELS)
    receipt = node.commit(node.run(asked)).encode()
    opening, out = io.BytesIO(), io.BytesIO()
    claim = check_receipt(published.key, asked, receipt, None)
    node.open(asked, receipt, coded_challenge(claim, cells), opening)
    one = Answered(asked, receipt, opening, cells)
    prove(published, model, [one], out, positions=POSITIONS, kernels=KERNELS)

    def verify(data: bytes) -> bool:
        (found,) = verify_proof(
            published.key, [asked], io.BytesIO(data), kernels=KERNELS, cells=cells, security=SECURITY
        )
        return found.complete

    data = out.getvalue()
    assert verify(data) is (cells == ALL)
    assert bool(Proof.read(io.BytesIO(data)).evaluation_size) is (kind != "no products")
    for at in (len(data) - 1, len(data) - 40, len(data) // 2):
        with pytest.raises(VerificationError):
            verify(changed(data, at))
