"""Programs that read all rows, on the emulated device: the trace is that of the definition."""

from __future__ import annotations

from functools import partial

import pytest

import proofcompute as pc
import synthetic
from cuda_rig import EmulatedDevice, why_not
from encoders import TOKENS, model, request
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.protocol.messages import Receipt

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.mark.parametrize("kind", ["first", "last", "max", "mean"])
def test_a_device_gives_the_same_trace(kind: str) -> None:
    auditor = pc.Auditor(pc.keygen(model(kind), synthetic.KERNELS))
    roots, vectors, asked = set(), set(), request(model(kind), TOKENS)
    for kernels in (synthetic.KERNELS, CudaKernels(EmulatedDevice(90, 0))):
        node = pc.Node(model(kind), identity=synthetic.NODE, device=kernels)
        answer = node.answer(asked)
        roots.add(Receipt.decode(answer.receipt).trace_root)
        vectors.add(answer.outputs["embedding"].tobytes())
        opened = partial(node.open, asked, answer.receipt)
        assert auditor.audit(asked, answer.receipt, opened, "all").complete
    assert len(roots) == len(vectors) == 1
