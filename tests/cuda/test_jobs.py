"""GEMM jobs whose matrices lie on a device: the same receipts as on the host, and what crosses to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from jobs.cases import DEVICE, NODE, Job, audit, factors
from jobs.producer import CPU, CUDA, Foreign, values
from proofcompute.arithmetic import devices
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arrays import Array
from proofcompute.errors import InputError, MismatchError, NonFiniteError
from proofcompute.jobs import ProductKey, job, product_request, prove_product

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
DTYPES = ("int8", "int16", "int32", "float32", "float64")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> EmulatedDevice:
    emulated = EmulatedDevice()
    monkeypatch.setitem(devices._made, "cuda:0", CudaKernels(emulated))
    return emulated


def given(x: Array, where: str) -> Any:
    return x if where == "numpy" else Foreign(x, CUDA if where == "device" else CPU)


@pytest.mark.parametrize("where", ["numpy", "host", "device"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_job_on_a_device_gives_the_same_receipt(device: EmulatedDevice, dtype: str, where: str) -> None:
    a, b = factors(dtype)
    request = product_request(a, b, device=DEVICE)
    expected = prove_product(request, a, b, NODE, device=DEVICE)
    assert product_request(given(a, where), given(b, where), nonce=request.nonce, device="cuda") == request
    with job(given(b, where), identity=NODE, device="cuda") as resident:
        c, proof = resident.matmul(given(a, where), request=request, check=True)
        assert proof.receipt == expected.receipt
        assert type(c) is type(given(a, where))
        if where != "numpy":
            assert c.place == (CUDA if where == "device" else CPU)
        np.testing.assert_array_equal(values(c), expected.c)
        assert audit(Job(a, b, request, proof), c=expected.c).complete
        again = resident.prove(given(a, where), request=request, c=given(expected.c, where))
        assert again.receipt == expected.receipt
        wrong = expected.c.copy()
        wrong[2, 2] += 1
        with pytest.raises(MismatchError, match="nothing was signed"):
            resident.prove(given(a, where), request=request, c=given(wrong, where))


def test_what_lies_on_a_device_stays_there(device: EmulatedDevice) -> None:
    """Of int8, the transposed B crosses once, C once to be looked at, and digests and projections do."""
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((64, 512), (512, 128)))
    with job(Foreign(b, CUDA), identity=NODE) as resident:
        resident.matmul(Foreign(a, CUDA), check=True)
        del device.uploads[:], device.downloads[:]
        c, proof = resident.matmul(Foreign(a, CUDA), check=True)
        assert max(device.uploads) < a.nbytes // 4
        assert [size for size in device.downloads if size >= a.nbytes // 4] == [4 * 64 * 128]
        assert isinstance(c, Foreign)
    assert audit(Job(a, b, proof.request, proof), c=values(c)).complete


def test_a_long_contraction_and_a_stack(device: EmulatedDevice) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((2, 33000), (33000, 3)))
    c, _ = job(Foreign(b, CUDA), device="cuda").matmul(Foreign(a, CUDA))
    np.testing.assert_array_equal(values(c), a.astype(np.int32) @ b.astype(np.int32))
    a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((2, 1, 3, 8), (3, 8, 4)))
    c, proof = job(Foreign(b, CUDA), device="cuda").matmul(Foreign(a, CUDA), check=True)
    np.testing.assert_array_equal(values(c), a.astype(np.int32) @ b.astype(np.int32))
    assert audit(Job(a, b, proof.request, proof), c=values(c)).complete


def test_floats_on_a_device_are_finite(device: EmulatedDevice) -> None:
    a, b = factors("float32")
    bad = a.copy()
    bad[1, 1] = np.nan
    with job(Foreign(b, CUDA), device="cuda") as resident:
        with pytest.raises(InputError, match="A holds"):
            resident.matmul(Foreign(bad, CUDA))
        with pytest.raises(NonFiniteError, match="C holds"):
            resident.prove(Foreign(a, CUDA), c=Foreign(np.full((9, 5), np.inf, np.float32), CUDA))
    with pytest.raises(InputError, match="B holds"):
        job(Foreign(b * np.float32("inf"), CUDA), device="cuda").matmul(Foreign(a, CUDA))
    huge = np.full((5, 5), 3e38, np.float32)
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match="overflows"):
        job(Foreign(huge, CUDA), device="cuda").matmul(Foreign(huge, CUDA))


def test_a_key_checks_on_a_device(device: EmulatedDevice) -> None:
    a, b = factors()
    key = ProductKey(b, suite="sha256", device="cuda")
    c, proof = job(b, identity=NODE, device="cuda").matmul(a)
    assert key.check(a, c).complete
    assert audit(Job(a, b, proof.request, proof), b=key, c=c).complete


def test_rows_on_a_device_that_were_changed_are_not_opened(device: EmulatedDevice) -> None:
    a, b = factors()
    left = Foreign(a.copy(), CUDA)
    c, proof = job(Foreign(b, CUDA), identity=NODE, device="cuda").matmul(left)
    left.values[3, 3] ^= 1
    with pytest.raises(MismatchError, match="changed since"):
        audit(Job(a, b, proof.request, proof), c=values(c))


def test_a_job_on_a_device_that_copies(device: EmulatedDevice) -> None:
    for dtype in ("int8", "float32"):
        a, b = factors(dtype)
        left, right = Foreign(a.copy(), CUDA), Foreign(b.copy(), CUDA)
        with job(right, identity=NODE, copy=True, device="cuda") as resident:
            right.values[:] = 0
            c, proof = resident.matmul(left)
            sent = values(c).copy()
            left.values[:], values(c)[:] = 0, 0
        assert audit(Job(a, b, proof.request, proof), c=sent).complete


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_what_lies_on_the_host_is_not_fetched_back(device: EmulatedDevice, dtype: str) -> None:
    """The host multiplies with the B that it was given; the device has a copy for hashing."""
    a, b = factors(dtype, n=3, d=64, m=32)
    with job(b, identity=NODE, device="cuda") as resident:
        del device.uploads[:], device.downloads[:]
        resident.matmul(a)
        assert max(device.downloads) < a.nbytes
        assert max(device.uploads) < b.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("left", "right"), [("host", "device"), ("numpy", "device"), ("device", "numpy")])
def test_factors_in_different_places(device: EmulatedDevice, dtype: str, left: str, right: str) -> None:
    a, b = factors(dtype)
    with job(given(b, right), identity=NODE, device="cuda") as resident:
        c, proof = resident.matmul(given(a, left), check=True)
        assert type(c) is type(given(a, left))
        assert audit(Job(a, b, proof.request, proof), c=values(c)).complete
        assert resident.prove(given(a, left), request=proof.request, c=c).receipt == proof.receipt
