"""Tests faults that only hardware shows: in copies, streams and captures, and beside other libraries."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from gpu.workload import receipts
from proofcompute.arithmetic.backends.cuda import CudaKernels, SpreadKernels, faults

__all__ = ["everything"]


class _CaptureKey:
    """A capture key, the object that steps belong to."""


def everything(out: Findings, settings: Settings) -> None:
    """Run all tests of this module."""
    for check in (_beside, _spoilt, _many_checks):
        check(out, settings)
    if settings.device == "cuda":
        for check in (_uploads, _foreign, _unpooled, _devices):
            check(out, settings)


def _busy(k: CudaKernels, size: int) -> Any:
    """Queue work that keeps the device's main stream behind the host."""
    x = k.zeros((size,), np.float32)

    def work() -> None:
        for _ in range(4):
            k._on.over("relu", x.size, x, np.int64(x.size), x)

    return work


def _beside(out: Findings, settings: Settings) -> None:
    """Export an array made on the second stream, which must wait for the work there."""
    k = settings.kernels()
    n, width = (4, 64) if settings.device == "emulated" else (4096, 16384)
    rows = k.array(np.random.default_rng(2).integers(0, 256, (n, width), np.uint8))
    expected = k.host(k.hash_rows("sha256", b"p", rows)).tobytes()
    with k.side_stream():
        made = k.hash_rows("sha256", b"p", rows)
    exported: Any = k._on.exported(made)
    found = exported if settings.device == "emulated" else exported.get()
    out.say("exported from beside", bad=found.tobytes() != expected)


def _spoilt(out: Findings, settings: Settings) -> None:
    """Run a step that cannot be captured plainly and repeatedly, with the same results."""
    k, key = settings.kernels(), _CaptureKey()
    x = k.array(np.arange(6, dtype=np.float32).reshape(2, 3))
    y = k.zeros((2, 3), np.float32)

    def step(places: Any) -> None:
        y[...] = k.add(x, x)
        k.array(np.zeros((2, 2), np.float32))  # an upload, which no capture takes

    wrong = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for i in range(5):
            y[...] = 0
            k.step(key, [(0, i, i + 1)], step)
            wrong += k.host(y).tobytes() != (2 * np.arange(6, dtype=np.float32)).tobytes()
    out.say("a step that cannot be captured", bad=bool(wrong) or len(k.refused) != 1, refused=k.refused)


def _many_checks(out: Findings, settings: Settings) -> None:
    """Make more checks in a captured step than there are words for them."""
    words, faults.WORDS = faults.WORDS, 2  # type: ignore[misc]
    try:
        k = settings.kernels()
        wrong = sum(found != expected for found, expected in receipts(k, 5))
    finally:
        faults.WORDS = words  # type: ignore[misc]
    out.say("more checks than words", bad=bool(wrong) or bool(k.refused), refused=k.refused)


def _uploads(out: Findings, settings: Settings) -> None:
    """Change arrays as soon as the backend has taken them."""
    k = settings.kernels()
    device, work = k.device, _busy(k, 64 if settings.few else 1 << 24)
    for size in (64, 4096) if settings.few else (64, 4096, 65_536, 1 << 20, 1 << 26):
        wrong, times = 0, 6 if size == 1 << 26 else 40
        for i in range(times):
            work()
            host = np.full(size, i % 251 + 1, np.uint8)
            target = device.upload(host)
            host[:] = 0xEE
            back = np.empty(size, np.uint8)
            device.download(target, back)
            wrong += int((back != i % 251 + 1).any())
        out.say("uploads", bad=bool(wrong), size=size, wrong=wrong, of=times)


def _foreign(out: Findings, settings: Settings) -> None:
    """Drop arrays that CuPy computes on its own stream as soon as they are used."""
    k = settings.kernels()
    cupy = k.device._cupy
    side, wrong = cupy.cuda.Stream(non_blocking=True), 0
    for i in range(20):
        with side:
            a = cupy.full((2048, 2048), 1.0, cupy.float32)
            for _ in range(20):
                a = a * np.float32(1)
            a = a + np.float32(i)
            y = k.add(k.array(a), k.array(a))
            del a
            cupy.full((2048, 2048), -7.0, cupy.float32)  # takes the freed memory
        wrong += bool((k.host(y) != 2 * (i + 1)).any())
    out.say("arrays of another stream", bad=bool(wrong), wrong=wrong)


def _unpooled(out: Findings, settings: Settings) -> None:
    from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice

    k = CudaKernels(CupyDevice(pooled=False))
    wrong = sum(found != expected for found, expected in receipts(k, 6))
    out.say("every array an allocation", bad=bool(wrong) or bool(k.refused), refused=k.refused)


def _devices(out: Findings, settings: Settings) -> None:
    """Spread a model over two devices, if there are two."""
    from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
    from proofcompute.arithmetic.backends.cuda.probe import probe

    if len(probe().devices) < 2:
        out.say("one device: nothing is spread")
        return
    k: Any = SpreadKernels([CupyDevice(0), CupyDevice(1)])
    wrong = sum(found != expected for found, expected in receipts(k, 6))
    out.say("two devices", bad=bool(wrong))
