"""Tests exchange between host, devices and other libraries on CuPy; work runs as late as it may."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.fake_cupy import Foreign, MemoryPool
from cuda_rig.fake_streams import CUDARuntimeError, Device, Stream
from cuda_rig.requests import run, several
from kernel_cases.data import floats
from proofcompute.arithmetic.backends.cuda import CudaKernels, SpreadKernels, staging
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.errors import DeviceError, InputError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


# -- from the host ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 63, 64, 255, 256, 257, 1024, 5000])
def test_an_array_may_change_once_it_was_taken(cupy: Any, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(staging, "SEGMENT", 256)
    device = CupyDevice()
    rng, sent = np.random.default_rng(size), []
    host = np.zeros(size, np.uint8)
    other = device.stream()
    for i in range(40):
        host[:] = rng.integers(0, 256, size)
        sent.append(
            (device.upload(host, other if i % 3 == 0 else 0), host.tobytes(), other if i % 3 == 0 else 0)
        )
        host[:] = 0xEE
    for buffer, expected, stream in sent:
        found = np.empty(size, np.uint8)
        device.download(buffer, found, stream)
        assert found.tobytes() == expected


def test_words_of_steps_go_through_the_ring(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "SEGMENT", 128)
    m = synthetic.model()
    request = synthetic.request(m, max_tokens=6)
    assert (
        synthetic.prove(m, request, CudaKernels(CupyDevice())).receipt == synthetic.prove(m, request).receipt
    )


# -- to other libraries -----------------------------------------------------------------------------------
@pytest.mark.parametrize("emulated", [True, False])
def test_arrays_of_the_second_stream_leave_behind_its_work(cupy: Any, emulated: bool) -> None:
    kernels = CudaKernels(EmulatedDevice() if emulated else CupyDevice())
    rows = kernels.array(np.arange(64, dtype=np.uint8).reshape(2, 32))
    expected = kernels.host(kernels.hash_rows("sha256", b"p", rows)).tobytes()
    with kernels.side_stream():
        beside = kernels.hash_rows("sha256", b"p", rows)
    exported: Any = kernels._on.exported(beside)
    assert (exported if emulated else exported.get()).tobytes() == expected


def test_what_is_exported_is_the_devices(cupy: Any) -> None:
    """Whichever device is current, the owner's stream is waited for, and events belong to its device."""
    one, two = CudaKernels(CupyDevice(0)), CudaKernels(CupyDevice(1))
    x = floats("normal", 3, 5)
    for kernels, other in ((one, two), (two, one)):
        mine = kernels.array(x)
        doubled = kernels.add(mine, mine)
        other.array(x)  # the other device stays current
        exported: Any = kernels._on.exported(doubled)
        assert exported.device.id == Device.current == kernels.device._device.id  # type: ignore[attr-defined]
        assert exported.get().tobytes() == (x + x).tobytes()
        other.array(x)
        assert kernels.device.timed(lambda o=other: o.array(x)) == 0.001  # type: ignore[misc]


# -- from other libraries ---------------------------------------------------------------------------------
@pytest.mark.parametrize("interface", ["both", "dlpack", "interface"])
@pytest.mark.parametrize("aside", [False, True])
def test_arrays_of_other_libraries_are_waited_for(cupy: Any, interface: str, aside: bool) -> None:
    """DLPack is preferred: an interface of version 2 does not say which stream computes the array."""
    kernels, x = CudaKernels(CupyDevice()), floats("normal", 3, 5)
    foreign = Foreign(x, interface=interface)
    if aside:
        with kernels.side_stream():
            out = kernels.add(kernels.array(foreign), kernels.array(foreign))
    else:
        out = kernels.add(kernels.array(foreign), kernels.array(foreign))
    if interface != "interface":
        assert foreign.stream.done_until == 0  # the stream waits, the host does not
    assert kernels.host(out).tobytes() == (x + x).tobytes()


@pytest.mark.parametrize("aside", [False, True])
def test_borrowed_memory_is_kept_until_it_was_read(cupy: Any, aside: bool) -> None:
    kernels, x = CudaKernels(CupyDevice()), floats("normal", 3, 5)
    memory = []
    outs = []
    for _ in range(3):
        foreign = Foreign(x)
        memory.append(foreign.memory.bytes)
        if aside:
            with kernels.side_stream():
                borrowed = kernels.array(foreign)
                outs.append(kernels.add(borrowed, borrowed))
        else:
            borrowed = kernels.array(foreign)
            outs.append(kernels.add(borrowed, borrowed))
        del foreign, borrowed
        gc.collect()
    assert all(kernels.host(out).tobytes() == (x + x).tobytes() for out in outs)
    kernels._on.join()
    for _ in range(2):
        kernels.host(kernels.zeros((1,), np.uint8))
        for stream in kernels.device._streams:  # type: ignore[attr-defined]
            stream.synchronize()
    kernels.zeros((1,), np.uint8)
    gc.collect()
    assert all(set(block[: x.nbytes].tolist()) == {0xDD} for block in memory)  # and given back


def test_borrowed_memory_is_kept_for_every_stream(cupy: Any) -> None:
    """The main stream has finished its work; the side stream has not."""
    kernels, x = CudaKernels(CupyDevice()), floats("normal", 3, 5)
    foreign = Foreign(x)
    foreign.stream.synchronize()
    with kernels.side_stream():
        borrowed = kernels.array(foreign)
        out = kernels.add(borrowed, borrowed)
    del foreign, borrowed
    gc.collect()
    for _ in range(2):
        kernels.zeros((1,), np.uint8)
        kernels.device._streams[0].synchronize()  # type: ignore[attr-defined]
        gc.collect()
    assert kernels.host(out).tobytes() == (x + x).tobytes()


def test_arrays_elsewhere_are_refused(cupy: Any) -> None:
    kernels, x = CudaKernels(CupyDevice()), floats("normal", 3, 5)
    with pytest.raises(InputError, match="Foreign is not an array on a CUDA device"):
        kernels.array(Foreign(x, kind=1))
    with pytest.raises(InputError, match="str does not exchange arrays on devices"):
        kernels.array("text")
    Device.current = 1
    there = Foreign(x)
    other = Foreign(x, interface="interface")
    for foreign in (there, other):
        with pytest.raises(InputError, match="the array is on device 1, not on 0"):
            kernels.array(foreign)
        Device.current = 1
    assert kernels.host(kernels.array(x)).tobytes() == x.tobytes()
    Device.current = 1
    second = CudaKernels(CupyDevice(1))
    kernels.array(x)
    assert second.host(second.array(there)).tobytes() == x.tobytes()


# -- between devices --------------------------------------------------------------------------------------
def test_two_devices(cupy: Any) -> None:
    """Work is queued while its own device is current, and copies go directly."""
    m = synthetic.model()
    kernels: Any = SpreadKernels([CupyDevice(0), CupyDevice(1)])
    kernels.ahead = 3
    assert run(m, several(m), kernels)[1] == run(m, several(m), synthetic.KERNELS)[1]
    assert cupy.peers == [(1, 0)]  # once


def test_peers(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = CudaKernels(CupyDevice(0)), CudaKernels(CupyDevice(1))
    x = floats("normal", 3, 5)
    cupy.peers.append((1, 0))  # another library has enabled it
    assert two.host(two.array(one.array(x))).tobytes() == x.tobytes()

    def refused(peer: int) -> None:
        raise CUDARuntimeError(711)

    monkeypatch.setattr(cupy.cuda.runtime, "deviceEnablePeerAccess", refused)
    with pytest.raises(DeviceError, match="device 0 cannot reach 1"):
        one.array(two.array(x))
    cupy.cuda.runtime.deviceCanAccessPeer = lambda device, peer: 0
    third = CudaKernels(CupyDevice(0))
    assert third.host(third.array(two.array(x))).tobytes() == x.tobytes()


# -- the stand-in -----------------------------------------------------------------------------------------
def test_the_stand_in_is_late_and_reuses_memory(cupy: Any) -> None:
    done: list[int] = []
    one, two = Stream(non_blocking=True), Stream(non_blocking=True)
    one.enqueue(lambda: done.append(1))
    two.wait_event(one.record())
    two.enqueue(lambda: done.append(2))
    one.enqueue(lambda: done.append(3))
    assert done == []
    two.synchronize()
    assert done == [1, 2]
    with one:
        first = MemoryPool().malloc(100)
        pool = MemoryPool()
        freed = pool.malloc(100).ptr
        assert pool.malloc(100).ptr == freed
    assert first.ptr != freed
    with two:
        assert pool.malloc(100).ptr != freed
    Device(1).use()
    with pytest.raises(AssertionError, match="another device"):
        one.enqueue(lambda: None)
