"""Tests steps as graphs on CuPy: what a capture may hold, what invalidates it, and what happens then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.fake_cublaslt import FakeCublasLt
from cuda_rig.fake_cupy import Memory, MemoryPool, PinnedMemory
from cuda_rig.fake_streams import INVALIDATED, ISOLATION, UNJOINED, Capture, CUDARuntimeError, Event, Stream
from cuda_rig.requests import run
from kernel_cases.data import floats, matrix
from proofcompute.arithmetic.backends.cuda import CudaKernels, faults
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arrays import Span
from proofcompute.errors import DeviceError, InputError, NonFiniteError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

DEVICES: dict[str, Callable[[], Any]] = {
    "cupy": CupyDevice,
    "unpooled": lambda: CupyDevice(pooled=False),
    "emulated": lambda: EmulatedDevice(blas=True),
}


class Key:
    """A capture key."""


# -- the stand-in refuses what CUDA and CuPy refuse -------------------------------------------------------
def nothing() -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    "call",
    [
        lambda stream, event: stream.synchronize(),
        lambda stream, event: event.done,
        lambda stream, event: event.synchronize(),
        lambda stream, event: stream.wait_event(Stream(non_blocking=True).record()),
    ],
)
def test_what_spoils_a_capture(cupy: Any, call: Any) -> None:
    stream = Stream(non_blocking=True)
    stream.begin_capture()
    event = stream.record()
    with pytest.raises(CUDARuntimeError):
        call(stream, event)
    with pytest.raises(CUDARuntimeError, match=str(INVALIDATED)):
        stream.enqueue(nothing)
    with pytest.raises(CUDARuntimeError, match=str(INVALIDATED)):
        stream.end_capture()
    stream.begin_capture()
    assert stream.end_capture().works == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: Memory(8),
        lambda: MemoryPool().malloc(8),
        lambda: PinnedMemory(8),
        lambda: Stream(non_blocking=True).record().synchronize(),
    ],
)
def test_only_a_relaxed_capture_allows_other_calls(cupy: Any, call: Any) -> None:
    for mode in (0, 1, 2):
        stream = Stream(non_blocking=True)
        stream.begin_capture(mode)
        if mode == 2:
            call()
            stream.end_capture()
            continue
        with pytest.raises(CUDARuntimeError):
            call()
        with pytest.raises(CUDARuntimeError):
            stream.end_capture()


def test_branches_are_joined(cupy: Any) -> None:
    main, other = Stream(non_blocking=True), Stream(non_blocking=True)
    for joins in (False, True):
        main.begin_capture()
        other.wait_event(main.record())
        other.enqueue(nothing)
        if joins:
            main.wait_event(other.record())
            assert len(main.end_capture().works) == 1
        else:
            with pytest.raises(CUDARuntimeError, match=str(UNJOINED)):
                main.end_capture()
    main.begin_capture()
    with pytest.raises(CUDARuntimeError, match=str(ISOLATION)):
        main.wait_event(other.record())
    with pytest.raises(CUDARuntimeError):
        main.end_capture()
    assert Capture.active is None
    assert Event().done


# -- the library's product in a graph ---------------------------------------------------------------------
@pytest.mark.parametrize("n", [32, 33])
def test_the_librarys_product_is_captured(cupy: Any, library: FakeCublasLt, n: int) -> None:
    kernels, key = CudaKernels(CupyDevice(), products="library"), Key()
    x, w = kernels.array(floats("mixed", n, 16)), kernels.weight(matrix(1, 8, 16, bias=False))
    out: Any = kernels.zeros((n, 8), np.float32)
    library.products.clear()  # the trial product at the start

    def step(spans: Any) -> None:
        out[...] = kernels.linear(x, w, 2)

    for i in range(4):
        out[...] = 0
        kernels.step(key, [Span(0, 3 + i, 4 + i)], step)
        expected = NumpyKernels().linear(floats("mixed", n, 16), matrix(1, 8, 16, bias=False), 2)
        assert kernels.host(out).tobytes() == expected.tobytes()
        assert len(library.products) == 2 * (i + 1)  # one for each limb
    assert kernels.refused == []


def test_many_requests_decode_with_the_library(cupy: Any, library: FakeCublasLt) -> None:
    """There are more requests than the least rows of a product by the library."""
    m, count = synthetic.model(), 33
    asked = synthetic.request(m, "ab", max_tokens=3)
    kernels = CudaKernels(CupyDevice(), products="library")
    _, found = run(m, [asked] * count, kernels)
    assert set(found) == {synthetic.prove(m, asked).data}
    assert sum(n == count for _, n, _ in library.products) > 10
    assert kernels.refused == []


# -- what cannot be captured ------------------------------------------------------------------------------
@pytest.mark.parametrize("device", DEVICES)
def test_an_error_inside_a_capture_is_raised_as_it_is(cupy: Any, device: str) -> None:
    kernels, key = CudaKernels(DEVICES[device]()), Key()
    x = kernels.array(floats("normal", 4, 4))
    broken = [False]

    def step(spans: Any) -> None:
        kernels.settle(x)
        if broken[0]:
            raise InputError("something else")

    kernels.step(key, [Span(0, 3, 4)], step)
    broken[0] = True
    for _ in range(2):
        with pytest.raises(InputError, match="something else"):
            kernels.step(key, [Span(0, 4, 5)], step)
        assert kernels.host(kernels.add(x, x)).shape == (4, 4)  # nothing is being captured
    broken[0] = False
    for i in range(3):
        kernels.step(key, [Span(0, 5 + i, 6 + i)], step)
    assert kernels.refused == []


ROWS = (Span(0, 1, 2), Span(0, 5, 6))
"""Rows that are not adjacent, so a launch puts them together."""
SPOILS: dict[str, Callable[[CudaKernels, Any], object]] = {
    "an upload": lambda kernels, x: kernels.array(floats("normal", 2, 2)),
    "a download": lambda kernels, x: kernels.host(x),
    "a download of checks": lambda kernels, x: kernels.settle(floats("normal", 2, 2)),
    "an exchange": lambda kernels, x: kernels._on.exported(x),
}


@pytest.mark.parametrize("what", SPOILS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_cannot_be_captured_runs_plainly(cupy: Any, device: str, what: str) -> None:
    kernels, key = CudaKernels(DEVICES[device]()), Key()
    x, out = kernels.array(floats("normal", 2, 2)), kernels.zeros((2, 2), np.float32)
    turns: list[Any] = []

    def step(spans: Any) -> None:
        turns.append(kernels.rope_rows((1 << 31,), ROWS))
        out[...] = kernels.add(x, x)
        SPOILS[what](kernels, x)

    kernels.step(key, [Span(0, 3, 4)], step)
    for i in range(4):
        out[...] = 0
        if i:
            kernels.step(key, [Span(0, 4 + i, 5 + i)], step)
        else:
            with pytest.warns(RuntimeWarning, match="cannot be captured and runs one launch after the other"):
                kernels.step(key, [Span(0, 4, 5)], step)
        assert kernels.host(out).tobytes() == (2 * floats("normal", 2, 2)).tobytes()
        cos = kernels.rope_rows((1 << 31,), ROWS)[0]
        assert kernels.host(turns[-1][0]).tobytes() == kernels.host(cos).tobytes()
    assert len(kernels.refused) == 1


@pytest.mark.parametrize("call", ["begin_capture", "end_capture", "launch"])
def test_what_the_driver_refuses_is_no_end(cupy: Any, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Receipts are the CPU's, whichever part of a capture fails."""
    m = synthetic.model()
    asked = [synthetic.request(m, max_tokens=6), synthetic.request(m, "ab", max_tokens=5)]
    expected = run(m, asked, synthetic.KERNELS)[1]
    if call == "launch":
        inner = Stream.enqueue

        def enqueue(self: Stream, work: Any) -> None:
            if self.capture is not None and len(self.capture.works) == 20:
                self.capture.fail(INVALIDATED)
            inner(self, work)

        monkeypatch.setattr(Stream, "enqueue", enqueue)
    else:
        original = getattr(Stream, call)

        def refused(self: Stream, *arguments: Any) -> None:
            original(self, *arguments)
            if call == "begin_capture":
                self.end_capture()
            raise CUDARuntimeError(INVALIDATED)

        monkeypatch.setattr(Stream, call, refused)
    kernels = CudaKernels(CupyDevice())
    with pytest.warns(RuntimeWarning, match="cannot be captured"):
        assert run(m, asked, kernels)[1] == expected
    assert kernels.refused


# -- checks -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [None, 0, 1, 2, 3, 6])
def test_more_checks_than_words(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, device: str, bad: int | None
) -> None:
    """The first failing check of seven on two words is raised, in a graph and without one."""
    monkeypatch.setattr(faults, "WORDS", 2)
    kernels, key = CudaKernels(DEVICES[device]()), Key()
    rows: Any = kernels.array(np.zeros((7, 4), np.float32))

    def step(spans: Any) -> None:
        for i in range(7):
            kernels.operation = f"operation {i}"
            kernels.settle(rows[i : i + 1])
        kernels.operation = ""

    for i in range(4):
        kernels.step(key, [Span(0, 3 + i, 4 + i)], step)
    assert kernels.refused == []
    if bad is None:
        return
    for i in (bad, 5):
        rows[i : i + 1] = np.full((1, 4), np.inf, np.float32)
    for owner in (key, None):
        with pytest.raises(NonFiniteError, match=f"operation {min(bad, 5)}: a committed value"):
            kernels.step(owner, [Span(0, 7, 8)], step)
    step(None)
    with pytest.raises(NonFiniteError, match=f"operation {min(bad, 5)}: a committed value"):
        kernels.look()
    rows[...] = 0
    step(None)
    kernels.look()
    kernels.step(key, [Span(0, 8, 9)], step)


def test_memory_without_a_pool_ends_where_it_ends(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    inner = Memory.__init__

    def made(self: Memory, size: int) -> None:
        sizes.append(size)
        inner(self, size)

    monkeypatch.setattr(Memory, "__init__", made)

    def refused(self: Any, size: int) -> None:
        raise AssertionError("a pool")

    monkeypatch.setattr(MemoryPool, "malloc", refused)
    m = synthetic.model()
    request = synthetic.request(m, max_tokens=5)
    kernels = CudaKernels(CupyDevice(pooled=False))
    assert synthetic.prove(m, request, kernels).receipt == synthetic.prove(m, request).receipt
    assert any(size % 512 for size in sizes)
    assert kernels.refused == []
    with pytest.raises(DeviceError, match="are free"):
        kernels.device.allocate(1 << 40)
