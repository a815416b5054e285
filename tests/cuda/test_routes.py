"""Tests products by the vendor's library: the bytes are the same, and it is chosen where it is faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from kernel_cases.data import floats, matrix
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arrays import Span
from proofcompute.errors import DeviceError, InputError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def names(device: EmulatedDevice) -> set[str]:
    return {name for name, _ in device.launches}


@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("limbs", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize(("n", "m", "d"), [(33, 4, 8), (36, 20, 132), (65, 12, 32768 + 64)])
def test_the_library_gives_the_same_bytes(
    capability: int, limbs: tuple[int, int], n: int, m: int, d: int
) -> None:
    device = EmulatedDevice(capability, blas=True)
    x, w = floats("mixed", n, d), matrix(limbs[1], m, d, bias=True)
    found = CudaKernels(device, products="library").linear(x, w, limbs[0])
    assert found.tobytes() == NumpyKernels().linear(x, w, limbs[0]).tobytes()
    assert names(device) == {"quantise_rows", "gemm", "rescale"}


@pytest.mark.parametrize(("n", "m", "d"), [(31, 4, 8), (32, 6, 8), (32, 4, 10), (1, 4, 8), (0, 4, 8)])
def test_shapes_that_the_library_does_not_take(n: int, m: int, d: int) -> None:
    device = EmulatedDevice(blas=True)
    x, w = floats("mixed", n, d), matrix(1, m, d, bias=False)
    found = CudaKernels(device, products="library").linear(x, w, 2)
    assert found.tobytes() == NumpyKernels().linear(x, w, 2).tobytes()
    assert "gemm" not in names(device)


def test_an_unaligned_weight_takes_the_kernel() -> None:
    device = EmulatedDevice(blas=True)
    kernels = CudaKernels(device, products="library")
    w = matrix(1, 4, 8, bias=False)
    room: Any = kernels.zeros((33,), np.int8)
    room[1:] = w.q.reshape(-1)
    placed = type(w)(room[1:].reshape(1, 4, 8), kernels.array(w.scale))
    x = floats("mixed", 32, 8)
    found = kernels.host(kernels.linear(kernels.array(x), placed, 2))
    assert found.tobytes() == NumpyKernels().linear(x, w, 2).tobytes()
    assert "gemm" not in names(device)


@pytest.mark.parametrize(("faster", "seconds"), [("kernel", 5.0), ("library", 0.1)])
def test_the_faster_way_is_measured_once_for_each_class_of_shapes(faster: str, seconds: float) -> None:
    device = EmulatedDevice(blas=True)
    device.seconds = {"linear_mma": 2.0, "gemm": seconds, "rescale": 0.1}
    kernels = CudaKernels(device)
    w = matrix(1, 8, 16, bias=False)

    def launched(n: int) -> list[str]:
        del device.launches[:]
        x = floats("mixed", n, 16)
        assert kernels.linear(x, w, 1).tobytes() == NumpyKernels().linear(x, w, 1).tobytes()
        return [name for name, _ in device.launches if name in ("gemm", "linear_mma")]

    once = ["gemm"] if faster == "library" else ["linear_mma"]
    measured = ["linear_mma"] * 2 + ["gemm"] * 2
    assert launched(40) == measured + once
    assert launched(64) == once
    assert launched(68) == measured + once  # another class of row counts
    assert launched(8) == ["linear_mma"]
    assert set(kernels.routes.chosen.values()) == {faster}


def test_nothing_is_measured_while_a_step_is_captured() -> None:
    class Key:
        pass

    device = EmulatedDevice(blas=True)
    device.seconds = {"gemm": 0.1, "rescale": 0.1}
    kernels, key = CudaKernels(device), Key()
    x, w = kernels.array(floats("mixed", 32, 16)), kernels.weight(matrix(1, 8, 16, bias=False))
    out: Any = kernels.zeros((32, 8), np.float32)

    def step(spans: Any) -> None:
        out[...] = kernels.linear(x, w, 1)

    kernels.step(key, [Span(0, 1, 2)], lambda spans: None)
    kernels.step(key, [Span(0, 2, 3)], step)
    assert "gemm" not in names(device)
    assert kernels.routes.chosen == {}


def test_a_library_that_fails_is_not_taken() -> None:
    device = EmulatedDevice(blas=True)

    def gemm(*arguments: Any) -> None:
        raise DeviceError("no algorithm")

    device.gemm = gemm  # type: ignore[method-assign, assignment]
    kernels = CudaKernels(device)
    x, w = floats("mixed", 32, 16), matrix(1, 8, 16, bias=False)
    for _ in range(2):
        assert kernels.linear(x, w, 2).tobytes() == NumpyKernels().linear(x, w, 2).tobytes()
    assert set(kernels.routes.chosen.values()) == {"kernel"}
    assert set(kernels.routes.refused.values()) == {"no algorithm"}
    with pytest.raises(DeviceError, match="no algorithm"):
        CudaKernels(device, products="library").linear(x, w, 2)


def test_without_a_library_or_with_an_unknown_rule() -> None:
    device = EmulatedDevice()
    CudaKernels(device, products="library").linear(floats("mixed", 32, 8), matrix(1, 4, 8, bias=False), 1)
    assert "gemm" not in names(device)
    with pytest.raises(InputError, match="measure, kernel, library"):
        CudaKernels(device, products="fastest")
