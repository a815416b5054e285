"""Runs Numba's CUDA kernels in its simulator: ``python -m backends.numba_cuda_simulated``, tests on the path.

Prints one line for each method: its name, how many cases of ``kernel_cases`` were compared, and the labels of
those whose bytes differ from the definition.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

LARGEST = 200
"""Elements of a case's arguments: each is a step of plain Python in the simulator."""


class OnTheHost:
    """``DeviceArrays`` with its results copied to the host."""

    def __init__(self, arrays: Any) -> None:
        self._arrays = arrays

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._arrays, method)
        return lambda *args: call(*args).copy_to_host()


def main() -> None:
    from kernel_cases import CASES, outcome
    from proofcompute.arithmetic.backends.numba_cuda import DeviceArrays
    from proofcompute.arithmetic.definition import NumpyKernels

    simulated, defined = OnTheHost(DeviceArrays()), NumpyKernels()
    compared: dict[str, list[bool]] = {}
    wrong: dict[str, list[str]] = {}
    for case in CASES:
        if not hasattr(DeviceArrays, case.method):
            continue
        if sum(a.size for a in case.build() if isinstance(a, np.ndarray)) > LARGEST:
            continue
        equal = outcome(simulated, case) == outcome(defined, case)
        compared.setdefault(case.method, []).append(equal)
        if not equal:
            wrong.setdefault(case.method, []).append(case.label)
    for method, results in sorted(compared.items()):
        print(method, len(results), *wrong.get(method, ()))


if __name__ == "__main__":
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    # NumPy's scalars warn where integers wrap and floats overflow; compiled code does not
    warnings.simplefilter("ignore", RuntimeWarning)
    main()
