"""A service of two models on one device: receipts and openings over HTTP are those of the CPU."""

from __future__ import annotations

import pytest

from cuda_rig import EmulatedDevice, why_not
from gpu.over_http import two_models
from proofcompute.arithmetic.backends.cuda import CudaKernels


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_two_models_on_one_device() -> None:
    two_models(CudaKernels(EmulatedDevice(90)))
