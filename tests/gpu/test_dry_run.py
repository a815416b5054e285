"""Tests ``make gpu-test`` without a GPU: the same checks on the emulated device."""

from __future__ import annotations

import pytest

from cuda_rig import EmulatedDevice, why_not
from gpu.test_gpu import ON_ARRAYS
from gpu.workload import cases_of, differences, everything
from kernel_cases import METHODS
from kernel_cases.data import Case
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arrays import F32

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def test_the_workload() -> None:
    said: list[str] = []
    assert everything(CudaKernels(EmulatedDevice()), said.append, 1) == 0
    assert said == [f"{name}: 0 differences" for name in (*METHODS, "receipts")]


def test_differences_are_found() -> None:
    class Wrong(NumpyKernels):
        def relu(self, x: F32) -> F32:
            return super().add(x, x)

    cases = cases_of("relu", 8)
    assert len(cases) == 8
    found = differences(Wrong(), cases)
    assert found
    assert set(found) <= set(map(str, cases))


def test_a_selection_is_spread() -> None:
    assert len(cases_of("add")) > len(cases_of("add", 3)) == 3
    assert all(isinstance(case, Case) for case in cases_of("add", 3))


def test_every_method_of_device_arrays_is_checked() -> None:
    arrays = pytest.importorskip(
        "proofcompute.arithmetic.backends.numba_cuda", reason="numba-cuda is not installed"
    )
    methods = {m for m in METHODS if hasattr(arrays.DeviceArrays, m)}
    assert methods == set(ON_ARRAYS)
