"""Canonical functions of single numbers: one Python source for the CPU and for CUDA.

:mod:`.rounded` holds the float operations, :mod:`.functions` what is made of them, :mod:`.field31` and
:mod:`.field61` the fields of Freivalds' check. The Numba backend compiles them into its kernels for the CPU,
:mod:`proofcompute.arithmetic.backends.numba_cuda` the same text for CUDA; in plain Python they run on NumPy
scalars.
"""
