"""Compares the cost of checking a product with that of computing it with NumPy: `make bench`.

Each size gives a pair: `numpy` computes A B with BLAS in floats (for integers: binary64, which is how NumPy
gets a product of integers fast), `verify` checks it, secret columns and all. The ratio, taken in turn, is in
`extra_info`. Nothing is asserted about time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.bench.timing import alternating, compared
from proofcompute.jobs import ProductKey, verify_product
from proofcompute.jobs.exact import multiply

Benchmark = Callable[..., Any]
SIZES = (256, 1024, 2048)
ROUNDS = 5
ELEMENTS = ("int8", "int16", "float32", "float64")


def factors(dtype: str, n: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    if dtype.startswith("float"):
        return rng.standard_normal((n, n)).astype(dtype), rng.standard_normal((n, n)).astype(dtype)
    info = np.iinfo(dtype)
    a, b = rng.integers(info.min, info.max, (2, n, n), dtype, endpoint=True)
    return a, b


def floats(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the matrices in types that NumPy multiplies with BLAS."""
    return (a, b) if a.dtype.kind == "f" else (a.astype(np.float64), b.astype(np.float64))


def product(a: Array, b: Array) -> Array:
    c: Array = a @ b if a.dtype.kind == "f" else multiply(a, b, kernels_for("cpu"))
    return c


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_numpy(benchmark: Benchmark, dtype: str, n: int) -> None:
    assert benchmark(np.matmul, *floats(*factors(dtype, n))).shape == (n, n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_verify(benchmark: Any, dtype: str, n: int) -> None:
    a, b = factors(dtype, n)
    c, (x, y) = product(a, b), floats(a, b)
    verify_product(a, b, c)  # compile
    _, _, ratio = compared(*alternating(lambda: x @ y, lambda: verify_product(a, b, c), ROUNDS))
    benchmark.extra_info["over_numpy"] = ratio
    assert benchmark(verify_product, a, b, c).complete


@pytest.mark.parametrize("rows", [1, 64])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_verify_rows_with_a_key(benchmark: Benchmark, dtype: str, rows: int) -> None:
    a, b = factors(dtype, 2048)
    a = a[:rows]
    assert benchmark(ProductKey(b).check, a, product(a, b)).complete
