"""Asks the driver which CUDA devices there are, and says what is missing to use them.

It loads only the driver's library (functions of NVIDIA's CUDA Driver API), so a machine without CUDA is
told so at once, and in words.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proofcompute.arithmetic.backends.cuda.cubins import LEAST

__all__ = ["CudaDevice", "Probe", "extra", "probe"]

_LIBRARY: Final = "libcuda.so.1"
_LEAST_DRIVER: Final = 12000
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class CudaDevice:
    """A device that the driver knows."""

    name: str
    """The name, to be shown."""
    capability: int
    """Compute capability times 10."""
    memory: int
    """Memory in bytes."""
    problem: str
    """Why no kernel runs on it, and what to do; empty if kernels run."""


@dataclass(frozen=True)
class Probe:
    """The devices and the driver of a machine."""

    devices: tuple[CudaDevice, ...]
    """The devices, in the driver's order."""
    driver: int
    """CUDA version of the driver, major * 1000 + minor * 10; 0 without a driver."""
    problem: str
    """Why none of them can be used, and what to do; empty if those that are new enough can be used."""

    def why_not(self, ordinals: Sequence[int]) -> str:
        """Return why these devices cannot be used, and what to do; empty if they can."""
        if self.problem:
            return self.problem
        for ordinal in ordinals:
            if ordinal >= len(self.devices):
                return f"there is no device {ordinal}, only {len(self.devices)}; see: proofcompute devices"
            if self.devices[ordinal].problem:
                return self.devices[ordinal].problem
        return ""


def probe(
    load: Callable[[str], Any] = ctypes.CDLL, find: Callable[[str], object | None] = importlib.util.find_spec
) -> Probe:
    """Ask the driver; ``load`` opens its library, ``find`` finds a Python package."""
    try:
        driver = load(_LIBRARY)
    except OSError:
        return Probe((), 0, "no NVIDIA driver is installed; install one, or use --device cpu")
    wrong = driver.cuInit(0)
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    count = ctypes.c_int(0)
    wrong = wrong or driver.cuDeviceGetCount(ctypes.byref(count))
    if wrong or not count.value:
        why = f"CUDA error {wrong}" if wrong else "none is visible"
        return Probe(
            (),
            version.value,
            f"the NVIDIA driver finds no device ({why}); see nvidia-smi and CUDA_VISIBLE_DEVICES, "
            "or use --device cpu",
        )
    devices = tuple(_device(driver, ordinal) for ordinal in range(count.value))
    return Probe(devices, version.value, _problem(version.value, find))


def _problem(driver: int, find: Callable[[str], object | None]) -> str:
    if driver < _LEAST_DRIVER:
        return (
            f"the NVIDIA driver is for CUDA {_words(driver)}; install one for {_words(_LEAST_DRIVER)} or "
            "later, or use --device cpu"
        )
    if find("cupy") is None:
        return f"CuPy is missing; install proofcompute[{extra(driver)}], or use --device cpu"
    return ""


def extra(driver: int) -> str:
    """Return the extra of proofcompute that fits a driver."""
    return "cuda13" if driver >= 13000 else "cuda12"


def _words(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _device(driver: Any, ordinal: int) -> CudaDevice:
    handle, memory = ctypes.c_int(0), ctypes.c_size_t(0)
    name = ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    for attribute, value in ((_MAJOR, major), (_MINOR, minor)):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    capability = major.value * 10 + minor.value
    problem = f"sm_{capability} is too old, sm_{LEAST} is needed; use another device, or --device cpu"
    return CudaDevice(
        name.value.decode("utf-8", "replace"), capability, memory.value, problem if capability < LEAST else ""
    )
