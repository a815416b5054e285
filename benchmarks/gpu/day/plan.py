"""Lists the steps in the order in which they run."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.day.findings import Findings

__all__ = ["REPOSITORY", "STEPS", "Settings", "Step", "digest"]


REPOSITORY: Final = Path(__file__).parents[3]


@cache
def digest() -> str:
    """Return a digest of the sources; findings from other sources do not count."""
    found = hashlib.sha256()
    for folder in ("cuda", "proofcompute", "benchmarks/gpu", "tests/kernel_cases", "tests/gpu"):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in (".py", ".cu", ".cuh"):
                found.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


@dataclass(frozen=True)
class Settings:
    """The arguments of every step."""

    device: str
    """The backend: cuda or emulated."""
    few: bool
    """Whether to run only enough to show that everything works."""
    out: Path
    """The directory of the run's files."""

    @property
    def expected(self) -> Path:
        """The file of the receipts to compare with; those of other sources may differ."""
        return self.out / f"expected-{digest()}.json"

    def kernels(self, **options: Any) -> Any:
        """Return the backend on the first device, with options of ``CudaKernels``."""
        from proofcompute.arithmetic.backends.cuda import CudaKernels

        return CudaKernels(self.bare(), **options)

    def bare(self) -> Any:
        """Return the device."""
        if self.device == "emulated":
            from cuda_rig import EmulatedDevice

            return EmulatedDevice(blas=True)
        from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice

        return CupyDevice()


@dataclass(frozen=True)
class Step:
    """One step."""

    name: str
    limit: int
    """Time limit in seconds."""
    emulated: bool
    """Whether the step is useful on the rig too."""
    where: str
    """A module of this package and its function, as ``module:function``."""

    def call(self) -> Callable[[Findings, Settings], None]:
        """Import the module and return the function."""
        module, name = self.where.split(":")
        found: Callable[[Findings, Settings], None] = getattr(
            importlib.import_module(f"benchmarks.gpu.day.{module}"), name
        )
        return found


STEPS = (
    Step("environment", 40, True, "machine:environment"),
    Step("cubins", 75, False, "machine:cubins"),
    Step("kernels", 75, True, "equal:kernels"),
    Step("receipts", 40, True, "equal:receipts"),
    Step("batches", 60, True, "equal:batches"),
    Step("runner", 60, True, "serving:receipts"),
    Step("proofs", 60, True, "proofs:equal"),
    Step("faults", 60, True, "faults:everything"),
    Step("large", 60, False, "equal:large"),
    Step("model", 120, True, "models:receipts"),
    Step("memcheck", 60, False, "watched:memcheck"),
    Step("ceilings", 45, False, "speed:ceilings"),
    Step("products", 60, False, "speed:products"),
    Step("parts", 60, False, "speed:parts"),
    Step("decode", 90, False, "decoding:decoding"),
    Step("serving", 90, False, "serving:speed"),
    Step("racecheck", 60, False, "watched:racecheck"),
    Step("synccheck", 45, False, "watched:synccheck"),
    Step("initcheck", 45, False, "watched:initcheck"),
)
"""The steps, most important first."""
