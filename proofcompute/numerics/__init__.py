"""The canonical arithmetic in NumPy (design, section 3): slow, obvious, and the definition of every result.

Every other backend equals :class:`NumpyKernels` byte for byte.
"""

from proofcompute.numerics.elementwise import check_platform, to_int32
from proofcompute.numerics.reference import NumpyKernels
from proofcompute.numerics.rotary import rope_frequencies, rope_table
from proofcompute.numerics.sampler import check_sampling
from proofcompute.numerics.transcendental import cos, erf, exp, log, power, sigmoid, sin, tanh
from proofcompute.numerics.trees import canonical_max, tree_sum

__all__ = [
    "NumpyKernels",
    "canonical_max",
    "check_platform",
    "check_sampling",
    "cos",
    "erf",
    "exp",
    "log",
    "power",
    "rope_frequencies",
    "rope_table",
    "sigmoid",
    "sin",
    "tanh",
    "to_int32",
    "tree_sum",
]
