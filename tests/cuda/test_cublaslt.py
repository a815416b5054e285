"""Tests the binding of cuBLASLt: how its functions are called, and what happens if it is missing or fails."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cuda_rig import why_not
from cuda_rig.fake_cublaslt import FakeCublasLt
from cuda_rig.fake_streams import Device, Stream
from kernel_cases.data import floats, int8s, matrix
from proofcompute.arithmetic import devices
from proofcompute.arithmetic.backends.cuda import CudaKernels, cublaslt, cupy_device, probe
from proofcompute.arithmetic.backends.cuda.cublaslt import CublasLt, Product, find_cublaslt
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.errors import DeviceError

SCRATCH = np.zeros(1 << 12, np.uint8)


@pytest.fixture(autouse=True)
def first_device() -> Iterator[None]:
    Device.current = 0
    yield
    Device.current = 0


def bound(fake: FakeCublasLt) -> CublasLt:
    return CublasLt(find_cublaslt(load=lambda path: fake))


def run(lt: CublasLt, n: int, m: int, d: int, *, gap: int = 0, offset: int = 0, size: int = 4096) -> None:
    """Runs a product whose rows have gaps of ``gap`` bytes; asserts that it is right."""
    stream, pitch = Stream(non_blocking=True), d + gap
    q, w = (np.zeros((rows * pitch + 16) // 16 * 16 + 16, np.int8) for rows in (n, m))
    left, right = int8s(n, d), int8s(m, d)
    starts = []
    for flat, rows in ((q, left), (w, right)):
        start = -flat.ctypes.data % 16 + offset
        np.lib.stride_tricks.as_strided(flat[start:], rows.shape, (pitch, 1))[...] = rows
        starts.append(flat.ctypes.data + start)
    acc = np.zeros((n, m), np.int32)
    product = Product(starts[0], pitch, starts[1], pitch, (n, m, d), acc.ctypes.data)
    lt.run(product, SCRATCH.ctypes.data, size, stream.ptr)
    assert not acc.any()  # it is queued
    stream.run()
    assert acc.tolist() == (left.astype(np.int32) @ right.astype(np.int32).T).tolist()


def test_products() -> None:
    fake = FakeCublasLt()
    lt = bound(fake)
    assert lt.name == "cuBLASLt 13.1"
    for n, m, d in ((1, 4, 4), (33, 8, 12), (64, 20, 132), (5, 4, 4)):
        run(lt, n, m, d)
        run(lt, n, m, d, gap=8, offset=4)
    assert fake.products[:2] == [(4, 1, 4)] * 2
    assert bound(FakeCublasLt(120_803)).name == "cuBLASLt 12.8"


def test_plans_are_kept_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublaslt, "_PLANS", 2)
    fake = FakeCublasLt()
    lt = bound(fake)
    for n in (1, 2, 1, 2, 3, 1):
        run(lt, n, 4, 4)
    assert fake.alive == 2 * 3  # the layouts of two plans


@pytest.mark.parametrize(("m", "d", "offset"), [(6, 8, 0), (4, 10, 0), (4, 8, 2)])
def test_what_it_does_not_take(m: int, d: int, offset: int) -> None:
    with pytest.raises(DeviceError, match="does not take"):
        run(bound(FakeCublasLt()), 32, m, d, offset=offset)


def test_failures_are_errors() -> None:
    with pytest.raises(DeviceError, match=r"cublasLtCreate of cuBLASLt 13\.1 fails \(cublasStatus_t 1\)"):
        bound(FakeCublasLt(starts=False))
    fake = FakeCublasLt(algorithms=0)
    lt = bound(fake)
    with pytest.raises(DeviceError, match=r"no algorithm for \(32, 4, 8\)"):
        run(lt, 32, 4, 8)
    assert fake.alive == 0
    lt = bound(FakeCublasLt())
    product = Product(16, 8, 16, 8, (32, 4, 8), 16)
    for stream in (0, 77):
        with pytest.raises(DeviceError, match="cublasLtMatmul of cuBLASLt"):
            lt.run(product, SCRATCH.ctypes.data, 4096, stream)


def test_the_library_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ["/a/libcublasLt.so.12", "/b/libcublasLt.so.13", "/b/libcublasLt.so", "libcublasLt.so.12"]
    monkeypatch.setattr(cublaslt, "candidates", lambda name: iter(paths))
    made: dict[str, Any] = {}

    def load(path: str) -> Any:
        return made.setdefault(path, FakeCublasLt())

    assert find_cublaslt(13, load) is find_cublaslt(None, load) is made[paths[1]]
    assert find_cublaslt(12, load) is made[paths[0]]
    with pytest.raises(DeviceError, match=r"no libcublasLt for CUDA 11 or older; install the driver's extra"):
        find_cublaslt(11, load)

    def broken(path: str) -> Any:
        if path == paths[1]:
            raise OSError(path)
        return object() if path == paths[0] else made[paths[0]]

    assert (
        find_cublaslt(13, broken) is made[paths[0]]
    )  # found by the system's loader: the first one lacks functions


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
@pytest.mark.parametrize(
    ("fake", "why"),
    [
        (None, "no libcublasLt"),
        (FakeCublasLt(starts=False), "cublasLtCreate of cuBLASLt 13.1 fails (cublasStatus_t 1)"),
        (FakeCublasLt(off=1), "cuBLASLt 13.1 computes another product of int8 matrices"),
        (FakeCublasLt(algorithms=0), "cuBLASLt has no algorithm for (33, 8, 64)"),
        (FakeCublasLt(algorithms=1), ""),
    ],
)
def test_without_it_products_are_our_kernels(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, fake: Any, why: str
) -> None:
    """The last one computes the trial product at the start, and nothing else."""

    def find(driver: int | None) -> Any:
        if fake is None:
            raise DeviceError("no libcublasLt")
        return find_cublaslt(driver, load=lambda path: fake)

    monkeypatch.setattr(cupy_device, "find_cublaslt", find)
    device = CupyDevice()
    assert (device.no_library, device.library) == (why, not why)
    kernels = CudaKernels(device)
    x, w = floats("mixed", 32, 16), matrix(1, 8, 16, bias=False)
    assert kernels.linear(x, w, 2).tobytes() == NumpyKernels().linear(x, w, 2).tobytes()
    assert bool(kernels.routes.refused) == (not why)


def test_devices_say_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    device = probe.CudaDevice("a card", 90, 1 << 30, "")
    monkeypatch.setattr(probe, "probe", lambda: probe.Probe((device,), 13000, ""))
    monkeypatch.setattr(
        cublaslt, "find_cublaslt", lambda driver: find_cublaslt(driver, lambda p: FakeCublasLt())
    )
    assert devices.survey()[-1].fields["products"] == "cuBLASLt 13.1"
    monkeypatch.setattr(cublaslt, "candidates", lambda name: iter(()))
    assert str(devices.survey()[-1].fields["products"]).startswith(
        "own kernels only: no libcublasLt for CUDA 13"
    )


def test_the_real_library_takes_what_is_set() -> None:
    """Descriptors are host memory: the library itself checks numbers of attributes and widths of values."""
    try:
        library = find_cublaslt()
    except DeviceError as error:
        pytest.skip(str(error))
    made, value, size = ctypes.c_void_p(), ctypes.c_uint64(0), ctypes.c_size_t(0)
    to, at, wrote = ctypes.addressof(made), ctypes.addressof(value), ctypes.byref(size)
    assert library.cublasLtMatmulDescCreate(to, cublaslt._COMPUTE_INT32, cublaslt._INT32) == 0
    one = ctypes.c_int32(1)
    assert library.cublasLtMatmulDescSetAttribute(made, cublaslt._TRANSPOSE_A, ctypes.addressof(one), 4) == 0
    for attribute, expected in ((0, cublaslt._COMPUTE_INT32), (1, cublaslt._INT32), (3, 1), (4, 0)):
        value.value = 0
        got = library.cublasLtMatmulDescGetAttribute(
            made, attribute, ctypes.c_void_p(at), ctypes.c_size_t(4), wrote
        )
        assert (got, value.value) == (0, expected)
    assert library.cublasLtMatmulDescDestroy(made) == 0
    assert library.cublasLtMatrixLayoutCreate(to, cublaslt._INT8, 64, 32, 80) == 0
    for attribute, width, expected in ((0, 4, cublaslt._INT8), (2, 8, 64), (3, 8, 32), (4, 8, 80)):
        value.value = 0
        got = library.cublasLtMatrixLayoutGetAttribute(
            made, attribute, ctypes.c_void_p(at), ctypes.c_size_t(width), wrote
        )
        assert (got, value.value) == (0, expected)
    assert library.cublasLtMatrixLayoutDestroy(made) == 0
    assert library.cublasLtMatmulPreferenceCreate(to) == 0
    for attribute, width in ((cublaslt._MOST_WORKSPACE, 8), *((a, 4) for a in cublaslt._ALIGNMENTS)):
        number = ctypes.c_uint64(64)
        setter = library.cublasLtMatmulPreferenceSetAttribute
        assert setter(made, attribute, ctypes.addressof(number), width) == 0
        assert setter(made, attribute, ctypes.addressof(number), 12 - width) != 0
    assert library.cublasLtMatmulPreferenceDestroy(made) == 0
