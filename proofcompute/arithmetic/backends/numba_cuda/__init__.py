"""Runs the single-number functions of :mod:`proofcompute.arithmetic.backends.scalar` on a GPU, with Numba.

It is for arrays that other code already holds on the device. A Freivalds projection, the fold of a
weight matrix, or an elementwise operation takes any array with ``__cuda_array_interface__`` (CuPy, PyTorch,
JAX, Numba) where it lies, without a copy and without a compiler for C++. The text that runs is the CPU's own,
so the tests of the CPU backend and those of the ``.cu`` kernels check each other through it. The node's
backend (:mod:`proofcompute.arithmetic.backends.cuda`) has kernels of its own: it needs the memory hierarchy
and graphs.

It needs the package numba-cuda (extras ``cuda12`` and ``cuda13``).
"""

from proofcompute.arithmetic.backends.numba_cuda.arrays import DeviceArrays

__all__ = ["DeviceArrays"]
