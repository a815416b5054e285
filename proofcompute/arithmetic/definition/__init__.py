"""The canonical arithmetic in NumPy (docs/spec/arithmetic.md): slow, obvious, and the definition of every
result.

Every other backend equals :class:`NumpyKernels` byte for byte.
"""

from proofcompute.arithmetic.definition.elementwise import check_platform, to_int32
from proofcompute.arithmetic.definition.reference import NumpyKernels
from proofcompute.arithmetic.definition.rotary import rope_frequencies, rope_table
from proofcompute.arithmetic.definition.sampler import check_sampling
from proofcompute.arithmetic.definition.transcendental import cos, erf, exp, log, power, sigmoid, sin, tanh
from proofcompute.arithmetic.definition.trees import canonical_max, tree_sum

NUMERICS = 1
"""Version of the canonical arithmetic, which every receipt and all terms name.

It grows when any value that the definition computes changes: an operation, a rounding, a transcendental's
sequence, the sampler, the draw of a row. It does not grow when a backend becomes faster. A release keeps the
versions that receipts within their retention may name, or says why not.
"""

__all__ = [
    "NUMERICS",
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
