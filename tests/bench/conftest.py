"""What the tests of measurements share: one small run, and a machine that counts as quiet.

Without that, each run would look on for seconds at what others do.
"""

from __future__ import annotations

import pytest

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench import Lengths, Results, Settings, measure
from proofcompute.bench.busy import Busy

TINY = Settings(
    sizes=("tiny",),
    precisions=("w8a8", "w16a16"),
    suites=("sha256", "blake3"),
    columns=(1, 3),
    budgets=(1, 5, 10_000),
    rounds=2,
    lengths=(Lengths(6, 3),),
    scale=32,
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("proofcompute.bench.runner", "benchmarks.peers.__main__", "benchmarks.scale.__main__"):
        monkeypatch.setattr(f"{module}.load", lambda: Busy(0.0, 0.0))


@pytest.fixture(scope="session")
def measured() -> tuple[Results, list[str]]:
    """The results of :data:`TINY` on the NumPy backend, and the steps that were announced."""
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proofcompute.bench.runner.load", lambda: Busy(0.0, 0.0))
        kernels = kernels_for("numpy")
        return measure(TINY, kernels, "proofcompute bench", "a note", progress=steps.append), steps
