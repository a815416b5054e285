"""The CPU backend: Numba kernels, equal byte for byte to :mod:`proofcompute.numerics`."""

from proofcompute.backends.numba.kernels import NumbaKernels

__all__ = ["NumbaKernels"]
