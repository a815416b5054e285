"""Public proofs that a device makes and checks are those of the host."""

from __future__ import annotations

import io

import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.prover.node import Node
from proofcompute.public.products import prove_products, verify_products
from proofcompute.public.proving import OwnAnswer, prove
from proofcompute.public.publishing import check_leaves
from public import test_products as jobs
from public.world import POSITIONS, SECURITY, answered, model, proof, published, verified

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.mark.parametrize("kind", ["w8a16", "experts22"])
def test_a_device_proves_what_the_host_proves(kind: str) -> None:
    kernels, one, out = CudaKernels(EmulatedDevice()), answered(kind), io.BytesIO()
    node = Node(model(kind), synthetic.NODE, device=kernels)
    own = OwnAnswer(one.request, one.receipt, node)
    prove(published(kind), model(kind), [own], out, positions=POSITIONS, kernels=kernels)
    wanted = proof(kind)
    assert out.getvalue() == wanted == proof(kind, kernels=kernels)
    assert verified(kind, wanted, kernels=kernels) == verified(kind, wanted)
    check_leaves(published(kind), model(kind), kernels, 2)


def test_a_device_proves_products() -> None:
    kernels, done, out = CudaKernels(EmulatedDevice()), jobs.signed("one"), io.BytesIO()
    key, one = jobs.published("one"), jobs.answered(done)
    prove_products(key, [one], out, positions=POSITIONS, kernels=kernels, device="numpy")
    assert out.getvalue() == jobs.proved("one", one)
    out.seek(0)
    (found,) = verify_products(
        key.key, [done.request], out, received=[done.c], kernels=kernels, security=SECURITY, device="numpy"
    )
    assert found.complete
