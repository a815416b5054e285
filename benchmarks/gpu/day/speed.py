"""Measures the card's best speeds, and those of products, attention, sampling, hashing and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from benchmarks.gpu.kernels import FULL, QUICK, freivalds, hashing_rates
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.sampling import Sampling

__all__ = ["ceilings", "parts", "products"]

SHAPES = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
"""Matrices of an 8B model: channels, contraction."""
ROWS = (1, 4, 8, 32, 256, 512, 4096)
CONTEXTS = ((1, 511), (1, 4095), (1, 32767), (256, 256), (256, 3840))
"""Rows of attention, and positions before them."""
ROTATED = 1 << 28
"""Bytes of copies of a matrix that are used in turn, so that weights come from memory, not from a cache."""
_BF16, _FLOAT32 = 14, 68
"""CUDA_R_16BF, and CUBLAS_COMPUTE_32F."""


def timed(k: Any, call: Callable[[int], object], least: float = 0.02) -> float:
    """Return the seconds of one call on the device: the median of three rounds."""
    call(0)
    count, made = 1, 0

    def several() -> None:
        nonlocal made
        for _ in range(count):
            call(made)
            made += 1

    while k.device.timed(several) < least and count < 256:
        count *= 2
    found: list[float] = sorted(k.device.timed(several) / count for _ in range(3))
    k.look()
    return found[1] or 1e-9  # the rig's copies take no time


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def ceilings(out: Findings, settings: Settings) -> None:
    """Time copies, bfloat16 products by cuBLAS, and int8 products by cuBLASLt."""
    k = settings.kernels()
    size = 1 << 12 if settings.few else 1 << 32
    a, b = k.device.allocate(size), k.device.allocate(size)
    spent = timed(k, lambda i: k.device.copy(a, b))
    out.say("copy", GBs=round(2 * size / spent / 1e9))
    if settings.device == "cuda":
        _bfloat16(out, k, 8192)
    _int8(out, k, settings.few)


def _bfloat16(out: Findings, k: Any, n: int) -> None:
    device, cupy = k.device, k.device._cupy
    x, y, z = (cupy.full((n, n), 0x3F80, cupy.uint16) for _ in "xyz")  # ones
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    blas, handle = cupy.cuda.cublas, cupy.cuda.device.get_cublas_handle()

    def call(i: int) -> None:
        with device._streams[0]:
            operands = (x.data.ptr, _BF16, n, y.data.ptr, _BF16, n)
            result = (z.data.ptr, _BF16, n, _FLOAT32, blas.CUBLAS_GEMM_DEFAULT)
            blas.gemmEx(handle, 1, 0, n, n, n, one.ctypes.data, *operands, zero.ctypes.data, *result)

    out.say("bfloat16 product, cuBLAS", n=n, TFLOPS=round(2 * n**3 / timed(k, call) / 1e12))


def _int8(out: Findings, k: Any, few: bool) -> None:
    device, rng = k.device, np.random.default_rng(1)
    if not device.library:
        out.say("no int8 product of the library", bad=True, why=device.no_library)
        return
    shapes = [(8192, 8192, 8192), *((n, 28672, 4096) for n in (32, 64, 256, 512, 1024))]
    for n, m, d in [(33, 8, 16)] if few else shapes:
        q, host = device.upload(np.frombuffer(rng.bytes(n * d), np.int8)), rng.bytes(m * d)
        copies = [device.upload(np.frombuffer(host, np.int8)) for _ in range(_copies(m, d, few))]
        acc = device.allocate(4 * n * m)

        def call(i: int, q: Any = q, copies: Any = copies, acc: Any = acc, of: Any = (n, m, d)) -> None:
            device.gemm(q, of[2], copies[i % len(copies)], of[2], of, acc)

        spent = timed(k, call)
        rates = {"TOPS": round(2 * n * m * d / spent / 1e12), "weights_GBs": round(m * d / spent / 1e9)}
        out.say("int8 product, cuBLASLt", shape=[n, m, d], us=_us(spent), rates=rates)


def _copies(m: int, d: int, few: bool) -> int:
    return 1 if few else max(1, ROTATED // (m * d))


def products(out: Findings, settings: Settings) -> None:
    """Time layers of an 8B model with everything around their products."""
    rng = np.random.default_rng(1)
    ways = {way: settings.kernels(products=way) for way in ("kernel", "library")}
    for m, d in ((8, 16),) if settings.few else SHAPES:
        host = Matrix(np.frombuffer(rng.bytes(m * d), np.int8).reshape(1, m, d), rng.random(m, np.float32))
        for way, k in ways.items():
            if way == "library" and not k.device.library:
                continue
            of = range(_copies(m, d, settings.few))
            copies = [Matrix(k.array(host.q), k.array(host.scale)) for _ in of]
            for n in (1, 33) if settings.few else ROWS:
                if way == "library" and n < 32:
                    continue
                x = k.array(rng.standard_normal((n, d)).astype(np.float32))

                def call(i: int, k: Any = k, x: Any = x, copies: Any = copies) -> None:
                    k.linear(x, copies[i % len(copies)], 2)

                spent = timed(k, call)
                rates = {"weights_GBs": round(m * d / spent / 1e9), "TOPS": 4 * n * m * d / spent / 1e12}
                out.say(f"layer, w8a16, {way}", shape=[n, m, d], us=_us(spent), rates=rates)


def parts(out: Findings, settings: Settings) -> None:
    """Time attention, sampling, hashing and Freivalds' projections."""
    k, rng, few = settings.kernels(), np.random.default_rng(1), settings.few
    h, hk, dh = (4, 2, 8) if few else (32, 8, 128)
    for n, first in ((1, 5),) if few else CONTEXTS:
        t = first + n
        q = k.array(rng.standard_normal((n, h * dh)).astype(np.float32))
        kv = [k.array(np.frombuffer(rng.bytes(t * hk * dh), np.int8).reshape(t, hk, dh)) for _ in "kv"]
        s = [k.array(rng.random((t, hk), np.float32)) for _ in "kv"]
        given = (q, kv[0], s[0], kv[1], s[1], first, np.float32(0.09), 0)
        spent = timed(k, lambda i, given=given: k.attention(*given))  # type: ignore[misc]
        rate = round(2 * t * hk * dh / spent / 1e9, 1)
        out.say("attention", n=n, context=t, us=_us(spent), keys_and_values_GBs=rate)
    logits = k.array(rng.standard_normal((1, 300 if few else 128256)).astype(np.float32))
    history, draws = k.array(np.zeros(600, np.int32)), k.array(np.ones((1, 2), np.uint64))
    for how in (Sampling(), Sampling(1.0), Sampling(0.75, 40, 0.875, 1.0)):
        spent = timed(k, lambda i, how=how: k.sample(logits, history, 500, how, draws))  # type: ignore[misc]
        out.say("sampling", temperature=how.temperature, top_k=how.top_k, us=_us(spent))
    size = QUICK if few else FULL
    for found in (*hashing_rates(k, size), *freivalds(k, size)):
        out.say(found.name, value=round(found.value, 2), unit=found.unit)
