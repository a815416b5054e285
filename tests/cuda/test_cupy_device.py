"""Tests the Python of the device on CuPy, with a stand-in for CuPy that runs the rig's kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import why_not
from cuda_rig.fake_cublaslt import FakeCublasLt
from cuda_rig.fake_cupy import Function, MemoryPointer, MemoryPool, Module, fake_cupy
from cuda_rig.fake_streams import CUDARuntimeError, Event, Graph, Stream
from gpu.workload import cases_of, differences
from kernel_cases.data import Case
from proofcompute.arithmetic.backends.cuda import CudaKernels, steps
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.errors import DeviceError, DeviceMemoryError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def short(method: str) -> list[Case]:
    """Returns some cases of a method, since these tests are about how the device is called."""
    return [case for case in cases_of(method, 30) if not case.label.startswith("long-")]


@pytest.mark.parametrize("method", ["add", "attention", "hash_rows", "linear", "sample", "settle"])
def test_equals_the_definition(cupy: Any, method: str) -> None:
    assert differences(CudaKernels(CupyDevice()), short(method)) == []


def test_the_vendors_product(cupy: Any, library: FakeCublasLt) -> None:
    kernels = CudaKernels(CupyDevice(), products="library")
    assert kernels.device.library
    assert differences(kernels, short("linear")) == []
    assert kernels.device.timed(lambda: None) == 0.001


def test_a_proof_with_repeated_steps(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_BUCKET", 8)
    m = synthetic.model()
    request = synthetic.request(m, max_tokens=12, sampling=synthetic.SAMPLED)
    expected = synthetic.prove(m, request).data
    assert synthetic.prove(m, request, CudaKernels(CupyDevice())).data == expected


def test_no_room(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = CupyDevice()
    monkeypatch.setattr(MemoryPool, "limit", 1000)
    with pytest.raises(DeviceError, match="1,048,576 of 1,073,741,824 bytes are free"):
        device.allocate(2000)


def test_what_the_driver_refuses(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Module, "refused", True)
    with pytest.raises(DeviceError, match=r"the driver refuses the machine code of add\.cu"):
        CupyDevice()


def test_devices_that_are_not_there_or_too_old(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="there is no CUDA device 2, only 2"):
        CupyDevice(2)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(6, 1))
    with pytest.raises(DeviceError, match="sm_61"):
        CupyDevice()


@pytest.mark.parametrize(("of", "call"), [(Stream, "synchronize"), (Graph, "launch")])
def test_failures_of_queued_work_are_errors(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, of: Any, call: str
) -> None:
    device = CupyDevice()
    x = device.zeros(4)
    device.begin()
    device.clear(x)
    graph = device.end()

    def failed(*arguments: object) -> None:
        raise CUDARuntimeError(700)

    def work() -> None:
        device.replay(graph)
        device.download(x, np.zeros(4, np.uint8))

    work()
    monkeypatch.setattr(of, call, failed)
    with pytest.raises(DeviceError, match=r"^fake .*CUDA error 700"):
        work()


@pytest.mark.parametrize(("status", "kind"), [(2, DeviceMemoryError), (700, DeviceError)])
def test_any_call_may_report_a_failure(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[DeviceError]
) -> None:
    """A lack of memory, which ends with the call, is told from what ends the device."""
    device = CupyDevice()
    x, y = device.zeros(4), device.zeros(4)

    def failed(*arguments: object, **named: object) -> None:
        raise CUDARuntimeError(status)

    calls: tuple[tuple[Any, str, Callable[[], object]], ...] = (
        (MemoryPointer, "memset_async", lambda: device.clear(x)),
        (MemoryPointer, "copy_from_host_async", lambda: device.write(x, np.zeros(4, np.uint8))),
        (MemoryPointer, "copy_from_device_async", lambda: device.copy(x, y)),
        (Stream, "record", lambda: device.record(0)),
        (Stream, "wait_event", lambda: device.wait(0, None)),
        (Stream, "synchronize", lambda: device.download(x, np.zeros(4, np.uint8))),
        (Graph, "launch", lambda: device.replay((Graph([]), None))),
        (Function, "__call__", lambda: device.launch("add", (1, 1, 1), 32, [x, x, np.int64(1), y])),
    )
    for of, name, call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(of, name, failed)
            with pytest.raises(DeviceError, match=f"CUDA error {status}") as caught:
                call()
            assert type(caught.value) is kind


def test_sizes_are_compared(cupy: Any) -> None:
    device = CupyDevice()
    with pytest.raises(DeviceError, match="does not fill"):
        device.download(device.allocate(8), np.zeros(3, np.uint8))


def test_the_stand_in_is_like_cupy() -> None:
    real = pytest.importorskip("cupy", reason="CuPy is not installed (extras cuda12, cuda13)")
    fake = fake_cupy()
    missing = [name for name in vars(fake) if name != "peers" and not hasattr(real, name)]
    missing += [name for name in vars(fake.cuda) if not hasattr(real.cuda, name)]
    for part in ("driver", "function", "memory", "runtime"):
        names = vars(getattr(fake.cuda, part))
        missing += [f"{part}.{name}" for name in names if not hasattr(getattr(real.cuda, part), name)]
    pairs = (
        (Stream, real.cuda.Stream),
        (MemoryPool, real.cuda.MemoryPool),
        (MemoryPointer, real.cuda.memory.MemoryPointer),
        (Module, real.cuda.function.Module),
        (Event, real.cuda.Event),
    )
    for ours, theirs in pairs:
        public = [n for n in vars(ours) if not n.startswith("_") and callable(getattr(ours, n))]
        public = [n for n in public if n not in ("enqueue", "run")]  # internals of the stand-in
        missing += [f"{ours.__name__}.{n}" for n in public if not hasattr(theirs, n)]
    assert missing == []
    assert hasattr(real.cuda.Graph, "launch")
    assert hasattr(real.cuda.Event, "done")
