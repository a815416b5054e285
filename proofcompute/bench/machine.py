"""Facts about the machine that figures were taken on; no host name, no path."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import proofcompute
from proofcompute.bench.results import Machine
from proofcompute.kernels import Kernels

__all__ = ["load", "machine"]

_SAMPLE = 1.0
_PACKAGES = ("numpy", "numba", "llvmlite", "blake3", "pycryptodome")


def machine(kernels: Kernels, others: float) -> Machine:
    """The facts; ``others`` is the larger :func:`load` of before and after the measurements."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        versions=_versions(),
        backend=kernels.name,
        threads=_threads(kernels),
        blas=_blas(),
        load=round(others, 2),
    )


def load() -> float:
    """Cores that others keep busy while this process sleeps for a second.

    The load average of the system would hold what this process itself did in the minutes before. Where there
    is no /proc/stat it has to do.
    """
    try:
        before = _ticks()
        time.sleep(_SAMPLE)
        after = _ticks()
    except OSError:
        return os.getloadavg()[0]
    busy, every = (y - x for x, y in zip(before, after, strict=True))
    return busy / every * (os.cpu_count() or 1) if every else 0.0


def _ticks() -> tuple[int, int]:
    """Clock ticks of all cores since the system started: not idle, and all."""
    with Path("/proc/stat").open("rb") as stream:
        user, nice, system, idle, waiting, *rest = map(int, stream.readline().split()[1:9])
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + waiting


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _versions() -> dict[str, str]:
    out = {"proofcompute": proofcompute.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "not installed"
    return out


def _threads(kernels: Kernels) -> int:
    if kernels.name == "numpy":
        return 1
    import numba

    return int(numba.get_num_threads())


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
