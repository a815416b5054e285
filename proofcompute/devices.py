"""Choosing a compute backend by name; the only module that imports backends, and only when asked."""

from __future__ import annotations

from typing import Final

from proofcompute.errors import DeviceError
from proofcompute.kernels import Kernels

__all__ = ["DEVICES", "kernels_for"]

DEVICES: Final = ("auto", "cpu", "numpy", "cuda")
"""What ``--device`` accepts."""

_made: Final[dict[str, Kernels]] = {}


def _make(device: str) -> Kernels:
    if device == "numpy":
        from proofcompute.numerics import NumpyKernels

        return NumpyKernels()
    if device == "cuda":
        from proofcompute.backends.cuda import CudaKernels
        from proofcompute.backends.cuda.cupy_device import CupyDevice

        return CudaKernels(CupyDevice())
    try:
        from proofcompute.backends.numba import NumbaKernels
    except ImportError as error:
        raise DeviceError(f"Numba cannot be loaded ({error}); use --device numpy") from error
    return NumbaKernels()


def kernels_for(device: str) -> Kernels:
    """The backend for "auto", "cpu" (Numba), "numpy" (the slow definition) or "cuda"; made once per process.

    "auto" is the CPU. Raises DeviceError for any other name, and where the backend cannot run on this
    machine, as "cuda" without CuPy, a driver or a device.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}; use one of {', '.join(DEVICES)}")
    name = "cpu" if device == "auto" else device
    if name not in _made:
        _made[name] = _make(name)
    return _made[name]
