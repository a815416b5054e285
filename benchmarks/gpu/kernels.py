"""Times hashing, products and Freivalds' projections by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.gpu.timing import Measurement, seconds, wait
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import SUITES, Xof
from proofcompute.freivalds.field import fold31, project31, sample31

__all__ = ["FULL", "QUICK", "Sizes", "freivalds", "hashing_rates", "products", "vendor"]

COLUMNS = 2
PREFIX = bytes(33)
CHECKED = 3
"""Rows of each result that are compared with the definition before anything is timed."""


@dataclass(frozen=True)
class Sizes:
    """The amount of work in each call."""

    rows: int
    """Rows of a batch."""
    width: int
    """Contraction, and channels, of a product."""
    least: float
    """Seconds of a round of calls."""


FULL = Sizes(4096, 4096, 0.25)
QUICK = Sizes(8, 64, 0.001)
"""Small sizes, to see that everything works."""


def hashing_rates(k: Kernels, size: Sizes) -> Iterator[Measurement]:
    """Time hashing leaves of a hidden state of ``width`` binary32 numbers."""
    host = np.random.default_rng(1).integers(0, 256, (size.rows, 4 * size.width), np.uint8)
    rows = k.array(host)
    for suite in SUITES:
        call = partial(k.hash_rows, suite, PREFIX, rows)
        assert (
            k.host(call())[:CHECKED].tobytes() == hashing.hash_rows(suite, PREFIX, host[:CHECKED]).tobytes()
        )
        spent = seconds(call, partial(wait, k), size.least)
        yield Measurement(f"hashing, {suite}", host.nbytes / spent / 1e9, "GB/s", {"rows": list(host.shape)})


def products(k: Kernels, size: Sizes) -> Iterator[Measurement]:
    """Time int8 products, bare and as in a layer: quantised, multiplied and rescaled."""
    n, d = size.rows, size.width
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, d), np.float32)
    host = Matrix(rng.integers(-127, 128, (1, d, d), np.int8), rng.random(d, np.float32))
    defined, matrix = NumpyKernels(), k.weight(host)
    many, one = k.array(x), k.array(x[:1])
    for limbs, precision in ((1, "w8a8"), (2, "w8a16")):
        call = partial(k.linear, many, matrix, limbs)
        assert k.host(call())[:CHECKED].tobytes() == defined.linear(x[:CHECKED], host, limbs).tobytes()
        spent = seconds(call, partial(wait, k), size.least)
        shape = {"rows": n, "contraction": d, "channels": d, "limbs": limbs}
        yield Measurement(f"layer, {precision}", 2 * limbs * n * d * d / spent / 1e12, "TOPS", shape)
        spent = seconds(partial(k.linear, one, matrix, limbs), partial(wait, k), size.least)
        rate = d * d / spent / 1e9
        yield Measurement(f"layer of one row, {precision}", rate, "GB/s of weights", {**shape, "rows": 1})
    q = rng.integers(-127, 128, (n, d), np.int8)
    bare = partial(k.product, k.array(q), k.array(host.q[0]))
    assert k.host(bare())[:CHECKED].tobytes() == defined.product(q[:CHECKED], host.q[0]).tobytes()
    spent = seconds(bare, partial(wait, k), size.least)
    yield Measurement("product, dp4a", 2 * n * d * d / spent / 1e12, "TOPS", {"rows": n, "contraction": d})


def vendor(k: CudaKernels, size: Sizes) -> Iterator[Measurement]:
    """Time the bare product by the vendor's library, cuBLASLt, if the device has it."""
    device, n, d = k.device, size.rows, size.width
    if not device.library:
        return
    rng = np.random.default_rng(3)
    q, w = rng.integers(-127, 128, (n, d), np.int8), rng.integers(-127, 128, (d, d), np.int8)
    left, right = device.upload(q), device.upload(w)
    acc = device.allocate(4 * n * d)
    call = partial(device.gemm, left, d, right, d, (n, d, d), acc)
    call()
    found = np.empty((CHECKED, d), np.int32)
    device.download(acc.part(0, found.nbytes), found)
    assert found.tobytes() == NumpyKernels().product(q[:CHECKED], w).tobytes()
    spent = seconds(call, partial(wait, k), size.least)
    yield Measurement(
        "product, cuBLASLt", 2 * n * d * d / spent / 1e12, "TOPS", {"rows": n, "contraction": d}
    )


def freivalds(k: Kernels, size: Sizes) -> Iterator[Measurement]:
    """Time the projection of a hint and the fold of a weight matrix, with two columns."""
    rng = np.random.default_rng(4)
    hint = rng.integers(-(1 << 29), 1 << 29, (size.rows, size.width), np.int32)
    weights = rng.integers(-127, 128, (size.width, size.width), np.int8)
    columns = sample31(Xof("benchmark"), (COLUMNS, size.width))
    s, y, w = k.array(columns), k.array(hint), k.array(weights)
    assert k.host(k.project(y, s))[:CHECKED].tobytes() == project31(hint[:CHECKED], columns).tobytes()
    assert k.host(k.fold(w, s)).tobytes() == fold31(weights, columns).tobytes()
    detail = {"columns": COLUMNS, "width": size.width}
    spent = seconds(partial(k.project, y, s), partial(wait, k), size.least)
    yield Measurement("Freivalds, hints", hint.nbytes / spent / 1e9, "GB/s", {**detail, "rows": size.rows})
    spent = seconds(partial(k.fold, w, s), partial(wait, k), size.least)
    yield Measurement("Freivalds, key generation", weights.nbytes / spent / 1e9, "GB/s", detail)
