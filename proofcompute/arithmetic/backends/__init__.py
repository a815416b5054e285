"""Compute backends: fast implementations of :class:`proofcompute.arithmetic.kernels.Kernels`.

Only :mod:`proofcompute.arithmetic.devices` imports them.
"""
