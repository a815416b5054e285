"""Times the CPU backend's kernels in which proving and checking spend their time: `make bench`.

Shapes are those of a 135M-parameter model's widest layer (576 to 1,536) and of a cell of 64 rows. Results
depend on the machine; nothing is asserted about time. The tests check that results are right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.primitives import Expression, Term
from proofcompute.commitments.hashing import SUITES, Xof
from proofcompute.freivalds.field import sample31

ROWS, WIDTH, CHANNELS, COLUMNS = 64, 576, 1536, 2

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module", params=["cpu", "numpy"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return kernels_for(request.param)


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    rng = np.random.default_rng(1)
    q = rng.integers(-127, 128, (1, CHANNELS, WIDTH), np.int8)
    return Matrix(q, rng.random(CHANNELS, np.float32))


def _timed(benchmark: Benchmark, action: Callable[..., Any], *arguments: Any) -> Any:
    """Time an action after one call, which compiles it."""
    action(*arguments)
    return benchmark(action, *arguments)


@pytest.mark.parametrize("limbs", [1, 2])
@pytest.mark.parametrize("rows", [1, ROWS])
def test_linear(benchmark: Benchmark, kernels: Kernels, matrix: Matrix, rows: int, limbs: int) -> None:
    x = np.random.default_rng(2).standard_normal((rows, WIDTH), np.float32)
    y = _timed(benchmark, kernels.linear, x, matrix, limbs)
    assert y.shape == (rows, CHANNELS)


def test_project_a_hint(benchmark: Benchmark, kernels: Kernels) -> None:
    y = np.random.default_rng(3).integers(-(1 << 29), 1 << 29, (ROWS, CHANNELS), np.int32)
    s = sample31(Xof("benchmark"), (COLUMNS, CHANNELS))
    assert _timed(benchmark, kernels.project, y, s).shape == (ROWS, COLUMNS)


def test_fold_a_matrix(benchmark: Benchmark, kernels: Kernels, matrix: Matrix) -> None:
    s = sample31(Xof("benchmark"), (COLUMNS, CHANNELS))
    assert _timed(benchmark, kernels.fold, matrix.q[0], s).shape == (COLUMNS, WIDTH)


@pytest.mark.parametrize("suite", SUITES)
def test_hash_rows(benchmark: Benchmark, kernels: Kernels, suite: str) -> None:
    rows = np.random.default_rng(4).integers(0, 256, (256, 4 * WIDTH), np.uint8)
    assert _timed(benchmark, kernels.hash_rows, suite, bytes(33), rows).shape == (256, 32)


HARD_SWISH = Expression(
    ("f32",),
    (
        Term("constant", (), "f32", 0x40400000),
        Term("add", (0, 1), "f32"),
        Term("constant", (), "f32", 0),
        Term("max", (2, 3), "f32"),
        Term("constant", (), "f32", 0x40C00000),
        Term("min", (4, 5), "f32"),
        Term("mul", (0, 6), "f32"),
        Term("div", (7, 5), "f32"),
    ),
)
"""x min(max(x + 3, 0), 6) / 6."""


@pytest.mark.benchmark(group="hard swish")  # a group of its own, so that the table shows the ratio
def test_hard_swish_of_eight_million_numbers(benchmark: Benchmark, kernels: Kernels) -> None:
    x = np.random.default_rng(4).standard_normal((8, 1 << 20), np.float32)
    y = _timed(benchmark, kernels.evaluate, HARD_SWISH, [x], 8, (1 << 20,))
    assert np.array_equal(y, x * np.clip(x + np.float32(3), 0, 6) / np.float32(6))
