"""Choosing a compute backend by name; the only module that imports backends, and only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from proofcompute.errors import DeviceError
from proofcompute.kernels import Kernels

__all__ = ["DEVICES", "kernels_for"]

DEVICES: Final = ("auto", "cpu", "numpy", "cuda")
"""What ``--device`` accepts."""

_made: Final[dict[str, Kernels]] = {}


def _make(device: str, ordinals: Sequence[int]) -> Kernels:
    if device == "numpy":
        from proofcompute.numerics import NumpyKernels

        return NumpyKernels()
    if device == "cuda":
        from proofcompute.backends.cuda import CudaKernels, SpreadKernels
        from proofcompute.backends.cuda.cupy_device import CupyDevice

        if len(ordinals) == 1:
            return CudaKernels(CupyDevice(ordinals[0]))
        return cast(Kernels, SpreadKernels([CupyDevice(n) for n in ordinals]))
    try:
        from proofcompute.backends.numba import NumbaKernels
    except ImportError as error:
        raise DeviceError(f"Numba cannot be loaded ({error}); use --device numpy") from error
    return NumbaKernels()


def kernels_for(device: str) -> Kernels:
    """The backend for "auto", "cpu" (Numba), "numpy" (the slow definition) or "cuda"; made once per process.

    "auto" is the CPU. "cuda" is the first CUDA device, "cuda:1" the second, and "cuda:0,1" spreads a model's
    segments over both. Raises DeviceError for any other name, and where the backend cannot run on this
    machine, as "cuda" without CuPy, a driver or a device.
    """
    kind, _, numbers = device.partition(":")
    ordinals = [int(n) if n.isdecimal() else -1 for n in (numbers or "0").split(",")]
    wrong = kind not in DEVICES or (":" in device and (kind != "cuda" or not numbers))
    if wrong or min(ordinals) < 0 or len(set(ordinals)) < len(ordinals):
        raise DeviceError(f"unknown device {device!r}; use one of {', '.join(DEVICES)}, cuda:1, cuda:0,1")
    name = "cpu" if device == "auto" else device
    if name not in _made:
        _made[name] = _make("cpu" if kind == "auto" else kind, ordinals)
    return _made[name]
