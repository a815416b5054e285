"""Defines the canonical functions of single numbers, as one Python source for the CPU and for CUDA.

:mod:`.rounded` holds the float operations. :mod:`.functions`, :mod:`.elements` and :mod:`.curves` are written
in terms of them. :mod:`.field31` and :mod:`.field61` hold the fields of Freivalds' check. The Numba backend
compiles them into its kernels for the CPU, and :mod:`proofcompute.arithmetic.backends.numba_cuda` compiles
the same text for CUDA; in plain Python
they run on NumPy scalars.
"""
