"""Every backend against the definition, byte for byte, on every case of ``kernel_cases``."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from kernel_cases import CASES, METHODS, Case, outcome
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Span

FAST = ["numba"]
PLACES = set(
    "array host local weight zeros write_rows positions rope_rows step partition map_depth map "
    "side_stream".split()
)
"""Functions of where arrays are: a backend's own tests run them."""


@cache
def backend(name: str) -> Any:
    if name == "numba":
        from proofcompute.arithmetic.backends.numba import NumbaKernels, mapping

        vars(mapping)["_WORTH"] = 0  # else what is used a little is left to the definition
        return NumbaKernels()
    return NumpyKernels()


def of_method(method: str) -> list[Case]:
    return [case for case in CASES if case.method == method]


def test_every_method_has_cases() -> None:
    declared = {
        name for name, _ in inspect.getmembers(Kernels, inspect.isfunction) if not name.startswith("_")
    }
    assert declared - PLACES == set(METHODS)


def test_labels_are_unique() -> None:
    labels = [str(case) for case in CASES]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("method", METHODS)
def test_definition_raises_exactly_where_expected(method: str) -> None:
    for case in of_method(method):
        found = outcome(backend("numpy"), case)
        raised = found[1] if isinstance(found, tuple) and found and found[0] == "raises" else None
        assert raised == (case.raises.__name__ if case.raises else None), case


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(name: str, method: str) -> None:
    different = [
        str(case)
        for case in of_method(method)
        if outcome(backend(name), case) != outcome(backend("numpy"), case)
    ]
    assert different == []


@pytest.mark.parametrize("name", FAST)
def test_states_its_name(name: str) -> None:
    assert backend(name).name == name


def test_hints_in_parts_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as rows: no part may depend on the rows of others."""
    from proofcompute.arithmetic.backends.numba.kernels import hints
    from proofcompute.arithmetic.backends.numba.runtime import threads

    monkeypatch.setattr(hints, "_PART", 1)
    monkeypatch.setattr(threads, "size", lambda: 12)
    for case in of_method("check_hint"):
        assert outcome(backend("numba"), case) == outcome(backend("numpy"), case), case


@pytest.mark.parametrize(
    "spans", [[(0, 0, 1)], [(0, 3, 3)], [(0, 0, 5), (3, 7, 300), (1, (1 << 20) - 2, 1 << 20)]]
)
def test_positions_of_spans(spans: list[tuple[int, int, int]]) -> None:
    wanted = [p for _, a, b in spans for p in range(a, b)]
    device = [] if why_not() else [CudaKernels(EmulatedDevice(90, 0))]
    for kernels in (backend("numpy"), backend("numba"), *device):
        found = kernels.host(kernels.positions([Span(*span) for span in spans]))
        assert (found.dtype, found.tolist()) == (np.int32, wanted)
