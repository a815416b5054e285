"""Compares the cost of a GEMM job whose B stays with that of the product alone: `make bench`.

Everything is taken in turn and compared with NumPy's product by BLAS, of floats: int8 as binary32, int16 as
binary64. The ratios are in `extra_info`: ``product`` is the product that the job computes itself;
``over_numpy`` is the whole call, which hashes A and C, builds two trees and signs; ``proving`` is that
without the product, and ``given`` the same with a check of C before it is signed. Nothing is asserted about
time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.test_product_bench import factors
from proofcompute.bench.timing import compared, in_turn
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.jobs import job

ROUNDS = 5
D = 2048
ROWS = (1, 16, 128, 1024)
ELEMENTS = ("int8", "int16", "float32")


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize("suite", ["sha256", "blake3"])
def test_resident_job(benchmark: Any, dtype: str, rows: int, suite: str) -> None:
    a, b = factors(dtype, D)
    a = np.ascontiguousarray(a[:rows])
    wide = {"int8": np.float32, "int16": np.float64, "float32": np.float32}[dtype]
    x, y = a.astype(wide), b.astype(wide)
    with job(b, identity=NodeIdentity.new(), suite=suite, device="cpu") as resident:
        request = resident.request(a)
        c, _ = resident.matmul(a, request=request)
        left, stacks, _ = resident._left(a, request)
        actions = (
            lambda: x @ y,
            lambda: resident._factor.times(left, stacks),
            lambda: resident.matmul(a, request=request),
            lambda: resident.prove(a, request=request, c=c),
            lambda: resident.prove(a, request=request, c=c, check=False),
        )
        for action in actions:
            action()
        blas, own, whole, given, unchecked = in_turn(actions, ROUNDS)
        info = benchmark.extra_info
        info["over_numpy"] = compared(blas, whole)[2]
        info["product"] = compared(blas, own)[2]
        info["given"] = compared(blas, given)[2]
        info["proving"] = compared(blas, unchecked)[2]
        benchmark(resident.matmul, a, request=request)


@pytest.mark.parametrize("members", [1, 16, 256])
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_stack(benchmark: Any, dtype: str, members: int) -> None:
    """Stacks of 64 by 256 times 256 by 256, each member with a B of its own, under one receipt."""
    a, b = (np.stack([x] * members) for x in factors(dtype, 256))
    a = np.ascontiguousarray(a[:, :64])
    wide = np.dtype("float64" if dtype == "int16" else "float32")
    x, y = a.astype(wide), b.astype(wide)
    with job(b, identity=NodeIdentity.new(), device="cpu") as resident:
        request = resident.request(a)
        c, _ = resident.matmul(a, request=request)
        blas, whole, unchecked = in_turn(
            (
                lambda: np.matmul(x, y),
                lambda: resident.matmul(a, request=request),
                lambda: resident.prove(a, request=request, c=c, check=False),
            ),
            ROUNDS,
        )
        benchmark.extra_info["over_numpy"] = compared(blas, whole)[2]
        benchmark.extra_info["proving"] = compared(blas, unchecked)[2]
        benchmark(resident.matmul, a, request=request)
