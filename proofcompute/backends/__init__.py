"""Compute backends: fast implementations of :class:`proofcompute.kernels.Kernels`.

Only :mod:`proofcompute.devices` imports them.
"""
