"""What all benchmarks share: the demo model compiled once, kernels compiled before any clock starts."""

from __future__ import annotations

import pytest

from benchmarks.model import Bench


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench("cpu")
