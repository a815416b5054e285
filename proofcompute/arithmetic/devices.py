"""Choose a compute backend by name. Only this module imports backends, and only when one is asked for."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from proofcompute.arithmetic.compiling import watching
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import DeviceError
from proofcompute.errors.arguments import StrPath, path_of

if TYPE_CHECKING:
    from proofcompute.arithmetic.backends.numba_cuda import DeviceArrays

__all__ = [
    "DEVICES",
    "DeviceReport",
    "build_cubins",
    "cpu_threads",
    "device_arrays",
    "host_kernels",
    "kernels_for",
    "survey",
    "warm_up",
]

_log = logging.getLogger(__name__)

DEVICES: Final = ("auto", "cpu", "numpy", "cuda")
"""The kinds of devices that ``--device`` accepts."""

_made: Final[dict[str, Kernels]] = {}


@dataclass(frozen=True)
class DeviceReport:
    """A device, and whether it can compute."""

    device: str
    """The value for ``--device``."""
    description: str
    """A description for people."""
    problem: str
    """Why the device cannot be used, and what to do; empty if it can."""
    fields: dict[str, object]
    """Facts for programs, such as the architecture and the memory."""


def _make(device: str, ordinals: Sequence[int]) -> Kernels:
    if device == "numpy":
        from proofcompute.arithmetic.definition import NumpyKernels

        return NumpyKernels()
    if device == "cuda":
        from proofcompute.arithmetic.backends.cuda.probe import probe

        if problem := probe().why_not(ordinals):
            raise DeviceError(f"CUDA cannot be used: {problem}")
        from proofcompute.arithmetic.backends.cuda import CudaKernels, SpreadKernels
        from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice

        if len(ordinals) == 1:
            return CudaKernels(CupyDevice(ordinals[0]))
        return cast(Kernels, SpreadKernels([CupyDevice(n) for n in ordinals]))
    from proofcompute.arithmetic.backends.numba import NumbaKernels
    from proofcompute.arithmetic.backends.numba.runtime.cache import without_code

    if problem := without_code():
        logging.getLogger("proofcompute").warning("computing with NumPy alone, which is slow: %s", problem)
        return kernels_for("numpy")
    return NumbaKernels()


def kernels_for(device: str) -> Kernels:
    """Return the backend for "auto", "cpu", "numpy" (the slow definition) or "cuda"; made once per process.

    "auto" is the first CUDA device where that can be used, else the CPU. "cpu" is compiled code; where there
    is neither code for this processor nor a compiler, it is the definition, which gives the same results, and
    the logger ``proofcompute`` warns of it. "cuda" is the first CUDA device, "cuda:1" the second, and
    "cuda:0,1" spreads a model's segments over both. Raises DeviceError for any other name, where the backend
    cannot run on this machine (for "cuda" it says what is missing), and where this thread's floats are not
    those of IEEE 754.
    """
    require_ieee()
    kind, _, numbers = device.partition(":")
    ordinals = [int(n) if n.isdecimal() else -1 for n in (numbers or "0").split(",")]
    wrong = kind not in DEVICES or (":" in device and (kind != "cuda" or not numbers))
    if wrong or min(ordinals) < 0 or len(set(ordinals)) < len(ordinals):
        raise DeviceError(f"unknown device {device!r}; use one of {', '.join(DEVICES)}, cuda:1, cuda:0,1")
    if kind == "cuda":
        device = "cuda:" + ",".join(map(str, ordinals))  # one backend for all names of a device
    if device in _made:
        return _made[device]
    if kind == "auto":
        try:
            _made["auto"] = kernels_for("cuda")
        except DeviceError as error:
            _log.info("device auto is the CPU: %s", error)
            _made["auto"] = kernels_for("cpu")
    else:
        _made[device] = _make(kind, ordinals)
        _log.info("device %s is used", device)
    return _made[device]


def host_kernels(kernels: Kernels) -> Kernels:
    """Return a backend whose arrays lie in the host's memory: the given one, or that of the CPU."""
    return kernels if isinstance(kernels.zeros((0,), np.float32), np.ndarray) else kernels_for("cpu")


def warm_up(progress: Callable[[int, int], None] | None = None, *, processes: int = 1) -> int:
    """Compile every kernel of the CPU backend that is not compiled yet, and return how many those were.

    Without it, each kernel is compiled when it is first needed: a minute or two in all, once for each version
    of this package and kind of processor. Where this package brought kernels for the processor, there is
    nothing to do. ``progress(done, total)`` is called before the first kernel and after each; without it, the
    logger ``proofcompute`` warns that this takes a while. With ``processes`` above 1, other processes of this
    Python are started to help. Raises DeviceError where there are no kernels and Numba cannot be used.
    """
    from proofcompute.arithmetic.backends.numba.modules import kernels_left, load_all
    from proofcompute.arithmetic.backends.numba.runtime.cache import require_code

    require_code()
    kernels_for("cpu")

    total, done = kernels_left(), 0

    @contextmanager
    def watch(name: str, left: int) -> Iterator[None]:
        nonlocal done
        yield
        done = max(done + 1, total - kernels_left())
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(0, total)
    elif total:
        logging.getLogger("proofcompute").warning("compiling %d kernels; this takes a minute or two", total)
    with watching(watch):
        load_all(processes)
    if progress is not None and done < total:  # the last ones came from other processes
        progress(total, total)
    return total


def cpu_threads() -> int:
    """Return how many threads compiled code on the CPU uses."""
    from proofcompute.arithmetic.backends.numba.runtime import threads

    return threads.size()


def survey() -> list[DeviceReport]:
    """Return every device of this machine; for CUDA, if there is none, what is missing."""
    return [_cpu(), DeviceReport("numpy", "the slow definition, in NumPy", "", {}), *_cuda()]


def _cpu() -> DeviceReport:
    from importlib.metadata import version

    from proofcompute.arithmetic.backends.numba.codegen.library import library
    from proofcompute.arithmetic.backends.numba.runtime.cache import require_code

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fields: dict[str, object] = {"machine": platform.machine(), "cores": cores}
    try:
        require_code()
    except DeviceError as error:
        return DeviceReport("cpu", "no kernels", str(error), fields)
    if (ahead := library()) is not None:
        fields["level"] = what = ahead.level.name
    else:
        fields["numba"] = version("numba")
        what = f"Numba {fields['numba']}"
    return DeviceReport("cpu", f"{platform.machine()}, {cores} cores, {what}", "", fields)


def _cuda() -> list[DeviceReport]:
    from proofcompute.arithmetic.backends.cuda import cublaslt
    from proofcompute.arithmetic.backends.cuda.probe import probe

    found = probe()
    if not found.devices:
        return [DeviceReport("cuda", "none", found.why_not([0]), {"driver": found.driver})]
    try:
        products = cublaslt.version(cublaslt.find_cublaslt(found.driver // 1000))
    except DeviceError as error:
        products = f"own kernels only: {error}"
    return [
        DeviceReport(
            f"cuda:{ordinal}" if ordinal else "cuda",
            f"{device.name}, sm_{device.capability}, {device.memory / 2**30:.0f} GiB",
            found.why_not([ordinal]),
            {
                "ordinal": ordinal,
                "name": device.name,
                "architecture": f"sm_{device.capability}",
                "memory": device.memory,
                "driver": found.driver,
                "products": products,
            },
        )
        for ordinal, device in enumerate(found.devices)
    ]


def build_cubins(
    directory: StrPath, architectures: Sequence[int] = (), done: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Compile the CUDA kernels into ``directory`` for the architectures (all the usual ones if empty).

    Architectures are compute capabilities times 10. No device is needed; the environment variable
    PROOFCOMPUTE_CUBINS then names the directory where the node runs. ``done(steps, total)`` is called after
    every file. Raises InputError for an architecture that is too old, DeviceError without NVRTC or for an
    architecture that it does not know, StorageError if the file system refuses.
    """
    from proofcompute.arithmetic.backends.cuda import cubins

    return cubins.build_cubins(path_of(directory), architectures or cubins.ARCHITECTURES, done)


def device_arrays() -> DeviceArrays:
    """Return operations on arrays of another library that lie on the CUDA device.

    Raises DeviceError where numba-cuda cannot be loaded.
    """
    try:
        from proofcompute.arithmetic.backends.numba_cuda import DeviceArrays
    except ImportError as error:
        raise DeviceError(
            f"numba-cuda cannot be loaded ({error}); install proofcompute[cuda12] or proofcompute[cuda13]"
        ) from error
    return DeviceArrays()
