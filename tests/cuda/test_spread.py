"""Tests segments that are spread over several devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.requests import overflowing, run, several, together
from kernel_cases.data import floats
from proofcompute.arithmetic.backends.cuda import CudaKernels, SpreadKernels
from proofcompute.arithmetic.backends.cuda.spread import plan
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import DeviceError, InputError, NonFiniteError
from proofcompute.testing.subject import Run

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_segments_spread_over_devices(count: int) -> None:
    """Receipts are the CPU's, and each device runs and holds only its own segments."""
    m = synthetic.model()
    devices = [EmulatedDevice(90, i, name=f"emulated {i}") for i in range(count)]
    kernels: Any = SpreadKernels(devices)
    kernels.ahead = 5
    node = synthetic.node(m, kernels)
    sessions = together(node, several(m))
    receipts = [node.commit(s) for s in sessions]
    assert [r.encode() for r in receipts] == run(m, several(m), synthetic.KERNELS)[1]
    names = [{name for name, _ in d.launches} for d in devices]
    assert "take_rows" in names[0]
    assert "sample_best" in names[-1]
    assert all("attention_mix" in n for n in names) == (count < 3)
    if count > 1:
        assert "take_rows" not in names[-1]
        assert "sample_best" not in names[0]
    matrices = [w.q.nbytes for w in m.weights.values() if isinstance(w, Matrix)]
    tied = m.matrix("embedding").q.nbytes * (count > 1)  # the first and the last segment both use it
    uploaded = [sum(n for n in d.uploads if n in matrices) for d in devices]
    assert sum(uploaded) == sum(matrices) + tied
    found = Run.of(node, sessions[0].request, receipts[0])
    assert synthetic.audit(synthetic.key(), found).complete


def test_errors_on_another_device_name_the_operation() -> None:
    m = overflowing("block.1.ffn.gate_up")
    kernels: Any = SpreadKernels([EmulatedDevice(), EmulatedDevice()])
    with pytest.raises(NonFiniteError, match=r"^block\.1/ffn\."):
        run(m, [synthetic.request(m)], kernels)


def test_launches_do_not_mix_devices() -> None:
    one, two = CudaKernels(EmulatedDevice()), CudaKernels(EmulatedDevice(name="another"))
    x = one.array(floats("normal", 2, 3))
    assert two.host(two.add(x, x)).tolist() == one.host(one.add(x, x)).tolist()  # moved
    with pytest.raises(InputError, match="not on this device"):
        two._on.over("relu", 6, x, np.int64(6), two.zeros((2, 3), np.float32))
    with pytest.raises(DeviceError, match="at least one"):
        SpreadKernels([])


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_the_plan_is_even(devices: int) -> None:
    rng = np.random.default_rng(devices)
    for count in range(1, 40):
        sizes = [int(s) for s in rng.integers(0, 100, count)]
        found = plan(sizes, devices)
        assert found == sorted(found)
        assert 0 <= found[0]
        assert found[-1] < devices
        for d in range(devices):
            share = sum(s for s, on in zip(sizes, found, strict=True) if on == d)
            assert share <= sum(sizes) / devices + max(sizes)
