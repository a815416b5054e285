"""Runs cases of ``kernel_cases`` and proofs on a device, and compares them with the definition.

``python -m gpu.workload`` (tests on the path) runs a little of everything on the CUDA device, for tools that
watch a program from outside, such as compute-sanitizer: every array is an allocation of its own, so that they
see where it ends. An argument says how many cases of each method run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import synthetic
from kernel_cases import CASES, METHODS, outcome
from kernel_cases.data import Case
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels

PER_METHOD = 4


@cache
def _defined() -> NumpyKernels:
    return NumpyKernels()


def cases_of(method: str, most: int | None = None) -> list[Case]:
    """Returns all cases of a method, or ``most`` of them, spread evenly."""
    found = [case for case in CASES if case.method == method]
    return found if most is None else found[:: max(1, len(found) // most)][:most]


def differences(kernels: Any, cases: Sequence[Case]) -> list[str]:
    """Returns the cases whose results are not the definition's, byte for byte."""
    return [str(case) for case in cases if outcome(kernels, case) != outcome(_defined(), case)]


def receipts(kernels: Kernels, max_tokens: int = 24) -> list[tuple[bytes, bytes]]:
    """Returns receipts of a small model, greedy and sampled, by these kernels and by the definition."""
    model = synthetic.model()
    requests = [
        synthetic.request(model, max_tokens=max_tokens),
        synthetic.request(model, max_tokens=max_tokens, sampling=synthetic.SAMPLED, suite="blake3"),
    ]
    return [
        (
            synthetic.prove(model, request, kernels).data,
            synthetic.prove(model, request).data,
        )
        for request in requests
    ]


def everything(kernels: Kernels, say: Callable[[str], object] = print, most: int | None = PER_METHOD) -> int:
    """Runs a little of everything, and returns the number of differences."""
    wrong = []
    for method in METHODS:
        found = differences(kernels, cases_of(method, most))
        say(f"{method}: {len(found)} differences")
        wrong += found
    unequal = sum(found != expected for found, expected in receipts(kernels, 6))
    say(f"receipts: {unequal} differences")
    return len(wrong) + unequal


if __name__ == "__main__":
    from proofcompute.arithmetic.backends.cuda import CudaKernels
    from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice

    count = int(sys.argv[1]) if len(sys.argv) > 1 else PER_METHOD
    raise SystemExit(1 if everything(CudaKernels(CupyDevice(pooled=False)), most=count) else 0)
