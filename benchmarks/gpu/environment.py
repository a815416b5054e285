"""Describes the machine that the figures were measured on."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

from proofcompute.arithmetic.devices import survey

__all__ = ["environment"]

PACKAGES = (
    "proofcompute",
    "numpy",
    "numba",
    "numba-cuda",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-nvrtc-cu12",
)
QUERY = (
    "name",
    "driver_version",
    "clocks.current.sm",
    "clocks.current.memory",
    "clocks.max.sm",
    "clocks.max.memory",
    "power.limit",
    "temperature.gpu",
    "ecc.mode.current",
    "persistence_mode",
)


def environment(device: str) -> dict[str, Any]:
    """Return the devices, their present clocks according to nvidia-smi, and versions; null if unknown."""
    return {
        "device": device,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "devices": [
            {"device": r.device, "description": r.description, "problem": r.problem or None, **r.fields}
            for r in survey()
        ],
        "gpus": _clocks(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _clocks() -> list[dict[str, str]] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return [
        dict(zip(QUERY, (value.strip() for value in line.split(",")), strict=False))
        for line in done.stdout.splitlines()
        if line.strip()
    ]
