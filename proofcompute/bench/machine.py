"""Collects facts about the machine of a measurement, without host name and paths."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from proofcompute.arithmetic.devices import cpu_threads
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.busy import cores
from proofcompute.bench.results import Machine
from proofcompute.version import __version__

__all__ = ["code", "machine"]

_PACKAGES = ("numpy", "numba", "llvmlite", "blake3", "pycryptodome")


def machine(kernels: Kernels) -> Machine:
    """Return the facts about this machine."""
    return Machine(
        cpu=_cpu(),
        cores=cores(),
        memory_gib=_memory(),
        system=f"{platform.system()} {platform.machine()}",
        versions=_versions(),
        backend=kernels.name,
        threads=_threads(kernels),
        blas=_blas(),
    )


def code(others: Iterable[tuple[str, Path]] = ()) -> str:
    """Return the start of a digest over this package's sources and ``others``, (name, file), that measure."""
    whole = hashlib.sha256(_package().encode())
    for name, path in sorted(others):
        whole.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:12]


@cache
def _package() -> str:
    """Return a digest over this package's sources."""
    package = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        whole.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _memory() -> float:
    """Return the memory in GiB; 0 if the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return 0.0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _versions() -> dict[str, str]:
    out = {"proofcompute": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out


def _threads(kernels: Kernels) -> int:
    return 1 if kernels.name == "numpy" else cpu_threads()


def _blas() -> str:
    """Return NumPy's BLAS and the kernel that it runs, which an environment variable may have forced."""
    config = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    text = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    if importlib.util.find_spec("threadpoolctl") is None:
        kernel = "kernel unknown: threadpoolctl is not installed"
    else:
        from threadpoolctl import threadpool_info

        kernels = {str(i.get("architecture")) for i in threadpool_info() if i.get("user_api") == "blas"}
        kernel = "kernel " + (", ".join(sorted(kernels)) or "unknown")
    forced = os.environ.get("OPENBLAS_CORETYPE")
    return f"{text}, {kernel}" + (f" (forced: {forced})" if forced else "")
