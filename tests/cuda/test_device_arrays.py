"""Tests arrays on a device, their exchange with other libraries, and errors for a lack of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from kernel_cases.data import floats, scales
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.engine import Engine
from proofcompute.errors import DeviceError, InputError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def test_out_of_memory_says_how_much_for_what_and_what_to_do() -> None:
    m = synthetic.model()
    with pytest.raises(DeviceError, match="no room for 1,048,584 bytes for status words: 0 of 90000 bytes"):
        CudaKernels(EmulatedDevice(memory=90_000))
    device = EmulatedDevice(memory=1_060_000)
    said = r"no room for [\d,]+ bytes for weight [a-z0-9_.]+, one of 14: \d+ of 1060000 bytes are in use"
    with pytest.raises(DeviceError, match=said) as e:
        Engine(m, CudaKernels(device))
    assert str(e.value).endswith("or use --device cpu")
    roomy = EmulatedDevice()
    kernels = CudaKernels(roomy)
    engine = Engine(m, kernels)
    roomy.memory = roomy.used + 1000
    with pytest.raises(DeviceError, match=r"no room for 2,432 bytes for 19 rows of x\.0"):
        engine.add(synthetic.request(m))
    roomy.memory = 1 << 40
    session = engine.add(synthetic.request(m))
    roomy.memory = roomy.used + 1000
    with pytest.raises(DeviceError, match="no room for 1,536 bytes for embedding/embed"):
        engine.run(session)


def test_arrays_are_exchanged_without_copies() -> None:
    """They go through DLPack, both ways: each side sees what the other writes."""
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    mine = kernels.array(floats("normal", 3, 4))
    theirs = np.from_dlpack(mine)
    assert theirs.tobytes() == mine.tobytes()
    assert HOST.array(mine).ctypes.data == theirs.ctypes.data
    assert HOST.array(theirs) is theirs
    mine[1:2] = np.full((1, 4), 7, np.float32)
    assert theirs[1].tolist() == [7] * 4

    class Foreign:
        """An array of another library."""

        def __init__(self, values: Any) -> None:
            self.values = values

        def __dlpack__(self, **options: Any) -> Any:
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.values.__dlpack_device__()

    values = floats("normal", 3, 4)
    del device.uploads[:]
    shared = kernels.array(Foreign(values))
    assert (shared.shape, shared.dtype, device.uploads) == ((3, 4), np.float32, [])
    values[0] = 5
    assert kernels.host(shared)[0].tolist() == [5] * 4
    assert kernels.host(kernels.add(shared, shared))[0].tolist() == [10] * 4
    with pytest.raises(InputError, match="does not exchange arrays"):
        kernels.array("no array")


def test_arrays_on_the_device() -> None:
    kernels = CudaKernels(EmulatedDevice())
    host = np.arange(24, dtype=np.int32).reshape(4, 3, 2)
    x = kernels.array(host)
    assert (len(x), x.ndim, x.size, x.nbytes, x.itemsize) == (4, 3, 24, 96, 4)
    for found, expected in (
        (x[1], host[1]),
        (x[-1], host[-1]),
        (x[1:3], host[1:3]),
        (x[3:9], host[3:9]),
        (x[:0], host[:0]),
        (x[-1:], host[-1:]),
        (x.reshape(6, -1), host.reshape(6, -1)),
        (x.reshape((2, 12)), host.reshape(2, 12)),
        (x.view(np.uint8), host.view(np.uint8)),
        (x.copy(), host),
    ):
        assert found.tobytes() == expected.tobytes()
        assert found.shape == expected.shape
    assert [row.tobytes() for row in x] == [row.tobytes() for row in host]
    x[0] = 5
    x[1:3] = x[2:4].copy()
    x[3:] = kernels.array(host[:1])
    assert kernels.host(x)[:, 0, 0].tolist() == [5, 12, 18, 0]
    x[...] = 1
    assert set(kernels.host(x).reshape(-1).tolist()) == {1}
    wrong: list[Callable[[], object]] = [
        lambda: x[::2],
        lambda: x.reshape(5, 5),
        lambda: x.view(np.complex128),
        lambda: x.__setitem__(slice(0, 2), kernels.array(host[:1])),
        lambda: x.__setitem__(slice(0, 1), kernels.array(host[:1].astype(np.int64))),
        lambda: kernels.concatenate([x, kernels.array(host.astype(np.int64))]),
        lambda: kernels.row_bytes([x, x[:2]]),
        lambda: kernels.slice_columns(kernels.array(scales(2, 3)), 1, 4),
    ]
    for call in wrong:
        with pytest.raises(InputError):
            call()
