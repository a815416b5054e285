"""Cases for every method of ``proofcompute.arithmetic.kernels.Kernels``, through which each backend is run.

``CASES`` is the list; ``outcome(kernels, case)`` gives what a backend makes of one, as a value that can be
compared: dtype, shape and bytes of each result, or the type of the error raised, with its text where the
caller is at fault. Two backends are equal if their outcomes are equal for every case. NaNs are compared as
NaNs: their sign and payload are not defined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_cases import (
    attending,
    checks,
    coding,
    contracts,
    expressions,
    hints,
    lattice,
    making,
    moving,
    opened,
    options,
    primitives,
    products,
    routing,
    rows,
    sampling,
    through,
)
from kernel_cases.data import Case
from proofcompute.arithmetic.kernels import AttentionOptions, Matrix, NormPrologue, Routing
from proofcompute.arithmetic.primitives import Expression, View
from proofcompute.errors import FormatError, InputError, LimitError, ProofcomputeError

__all__ = ["CASES", "METHODS", "Case", "outcome"]


def outcome(kernels: Any, case: Case) -> object:
    """What ``kernels`` makes of ``case``; also checks that the arguments were left as they were.

    An argument that is returned was given to be written to.
    """
    args = case.build()
    before = [_plain(a) for a in args]
    made = None
    try:
        made = getattr(kernels, case.method)(*args)
        result = _plain(made)
    except ProofcomputeError as error:
        text = str(error) if isinstance(error, InputError | LimitError | FormatError) else ""
        result = ("raises", type(error).__name__, text)
    after = [b if a is made else _plain(a) for a, b in zip(args, before, strict=True)]
    assert after == before, "an argument was modified"
    return result


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.dtype == np.float32:
            value = np.where(np.isnan(value), np.float32(np.nan), value)
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    if isinstance(value, Expression | View | Routing):
        return value
    if isinstance(value, Matrix):
        return _plain((value.q, value.scale, value.bias))
    if isinstance(value, NormPrologue):
        return _plain((value.weight, value.eps))
    if isinstance(value, AttentionOptions):
        return _plain((value.limbs, np.float32(value.softcap).tobytes(), value.sinks, value.latent))
    return value


CASES: list[Case] = [
    *products.cases(),
    *rows.cases(),
    *attending.cases(),
    *options.cases(),
    *sampling.cases(),
    *checks.cases(),
    *coding.cases(),
    *hints.cases(),
    *lattice.cases(),
    *making.cases(),
    *opened.ranges(),
    *opened.settled(),
    *moving.cases(),
    *contracts.cases(),
    *expressions.cases(),
    *primitives.cases(),
    *routing.cases(),
    *through.cases(),
]
METHODS: tuple[str, ...] = tuple(sorted({case.method for case in CASES}))
