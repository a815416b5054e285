"""Facts about the machine that figures were taken on; no host name, no path."""

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
    """The facts."""
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
    """The start of a digest over this package's sources, and over other ones (name, file) that measure."""
    whole = hashlib.sha256(_package().encode())
    for name, path in sorted(others):
        whole.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:12]


@cache
def _package() -> str:
    """A digest over this package's sources: those that this process has loaded."""
    package = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        whole.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _memory() -> float:
    """In GiB; 0 where the system does not say (Windows)."""
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
    """What NumPy was built with, and the kernel it runs (which an environment variable may have forced)."""
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
