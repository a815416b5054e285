"""The CUDA backend: kernels from ``cuda/*.cu``, launched through a thin device.

:class:`CudaKernels` implements :class:`proofcompute.arithmetic.kernels.Kernels` with launches only; what it
launches on is a :class:`Device`: CuPy on hardware, and in the tests an emulation that runs the same sources.
"""

from proofcompute.arithmetic.backends.cuda.device import Argument, Buffer, Device, Window
from proofcompute.arithmetic.backends.cuda.kernels import CudaKernels
from proofcompute.arithmetic.backends.cuda.sources import FILES, kernel_files, source
from proofcompute.arithmetic.backends.cuda.spread import SpreadKernels

__all__ = [
    "FILES",
    "Argument",
    "Buffer",
    "CudaKernels",
    "Device",
    "SpreadKernels",
    "Window",
    "kernel_files",
    "source",
]
