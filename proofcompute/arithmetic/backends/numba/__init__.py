"""Compute on the CPU with Numba kernels, equal byte for byte to :mod:`proofcompute.arithmetic.definition`."""

from proofcompute.arithmetic.backends.numba.backend import NumbaKernels

__all__ = ["NumbaKernels"]
