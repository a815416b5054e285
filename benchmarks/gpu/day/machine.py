"""Records the machine of the run, and checks that the driver loads the kernels."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from benchmarks.gpu.environment import environment as described

__all__ = ["cubins", "environment"]

_PINNED = Path(__file__).parents[3] / "tests" / "cuda_rig" / "pinned.json"
_ATTRIBUTES = {
    "multiprocessors": 16,
    "cache": 38,
    "shared": 97,
    "pageable": 88,
    "host page tables": 100,
    "clock, kHz": 13,
}
"""Numbers of cudaDeviceAttr."""
_SHARED, _LOCAL, _REGISTERS = 1, 3, 4
"""Numbers of CUfunction_attribute."""


def environment(out: Findings, settings: Settings) -> None:
    """Record devices, clocks, versions and tools."""
    from gpu.test_gpu import sanitizer

    out.say("environment", **described(settings.device))
    tools = ("nvidia-smi", "nvcc", "ncu", "g++")
    out.say("tools", sanitizer=sanitizer(), found={tool: shutil.which(tool) for tool in tools})
    device = settings.bare()
    out.say("device", name=device.name, capability=device.capability, blocks=device.blocks)
    out.say("products of the library", there=device.library, why=device.no_library)
    if settings.device == "cuda":
        runtime = device._cupy.cuda.runtime
        numbers = {name: runtime.deviceGetAttribute(at, 0) for name, at in _ATTRIBUTES.items()}
        out.say("attributes", runtime=runtime.runtimeGetVersion(), numbers=numbers)


def _build(given: tuple[str, int, int]) -> None:
    from proofcompute.arithmetic.backends.cuda.cubins import Cubins

    file, capability, driver = given
    Cubins(capability, driver).get(file)


def cubins(out: Findings, settings: Settings) -> None:
    """Load the machine code of every file, and compare its registers and memory with the pinned ones."""
    from proofcompute.arithmetic.backends.cuda.cubins import files_for
    from proofcompute.arithmetic.backends.cuda.probe import probe
    from proofcompute.arithmetic.backends.cuda.sources import kernel_files

    found = probe()
    capability = found.devices[0].capability
    work = [(file, capability, found.driver // 1000) for file in files_for(capability)]
    with multiprocessing.get_context("spawn").Pool(min(12, os.cpu_count() or 1)) as pool:
        pool.map(_build, work, chunksize=1)
    out.say("compiled", files=len(work))
    device = settings.bare()
    pinned = json.loads(_PINNED.read_text()).get(f"use-{capability}", {})
    attribute = device._cupy.cuda.driver.funcGetAttribute
    kernels = [name for name, file in kernel_files().items() if file in files_for(capability)]
    for kernel in kernels:
        loaded = device._kernel(kernel).ptr
        use = [attribute(number, loaded) for number in (_REGISTERS, _SHARED, _LOCAL)]
        wanted = pinned.get(kernel, {})
        if use != [wanted.get("registers"), wanted.get("shared"), wanted.get("stack")]:
            out.say("not as pinned", bad=bool(use[2]), kernel=kernel, found=use, pinned=wanted)
    out.say("loaded", kernels=len(kernels))
