"""Define the canonical arithmetic in NumPy (docs/spec/arithmetic.md): slow, obvious, and right by definition.

Every other backend equals :class:`NumpyKernels` byte for byte.
"""

from proofcompute.arithmetic.definition.elementwise import check_platform, to_int32
from proofcompute.arithmetic.definition.powers import log, power
from proofcompute.arithmetic.definition.reference import NumpyKernels
from proofcompute.arithmetic.definition.rotary import rope_table
from proofcompute.arithmetic.definition.transcendental import atan, cos, erf, exp, sigmoid, sin, tanh
from proofcompute.arithmetic.definition.trees import canonical_max, tree_sum

__all__ = [
    "NumpyKernels",
    "atan",
    "canonical_max",
    "check_platform",
    "cos",
    "erf",
    "exp",
    "log",
    "power",
    "rope_table",
    "sigmoid",
    "sin",
    "tanh",
    "to_int32",
    "tree_sum",
]
