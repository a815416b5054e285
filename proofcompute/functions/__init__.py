"""Functions of arrays, written with NumPy or CuPy, whose calls can be audited."""

from proofcompute.functions.proved import Proof, Proved, Report, proved

__all__ = ["Proof", "Proved", "Report", "proved"]
