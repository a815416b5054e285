"""Provides what all benchmarks share: the demo model, and kernels compiled before any clock starts."""

from __future__ import annotations

import pytest

from benchmarks.model import Bench


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench("cpu")
