"""Compares every CUDA kernel on the rig with the definition, byte for byte, on all of ``kernel_cases``.

The launches are the backend's own. Five orders of the threads of a block must give the same bytes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from cuda_rig.device import ORDERS
from kernel_cases import CASES, METHODS, Case, outcome
from kernel_cases.data import draws, floats
from proofcompute.arithmetic.backends.cuda import CudaKernels, products, sources
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.sampling import Sampling

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

LONG_ORDERS = (3,)
"""Orders for the cases with tens of thousands of columns, which would take minutes with all of them."""


@cache
def numpy() -> NumpyKernels:
    return NumpyKernels()


@cache
def expected(position: int) -> object:
    return outcome(numpy(), CASES[position])


def _is_long(case: Case) -> bool:
    return case.label.startswith("long-")


def differences(kernels: CudaKernels, method: str, order: int) -> list[str]:
    return [
        str(case)
        for position, case in enumerate(CASES)
        if case.method == method
        and (order in LONG_ORDERS or not _is_long(case))
        and outcome(kernels, case) != expected(position)
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(method: str, order: int) -> None:
    assert differences(CudaKernels(EmulatedDevice(90, order)), method, order) == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("capability", "route"), [(75, {"product_dp4a", "rescale", "add"}), (90, {"linear_mma"})]
)
def test_few_rows_take_the_tiled_route_too(
    capability: int, route: set[str], order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "FEW_ROWS", 0)
    device = EmulatedDevice(capability, order)
    assert differences(CudaKernels(device), "linear", order) == []
    around = {"quantise_rows", "quantise_normed", "quantise_gated"}
    assert {name for name, _ in device.launches} == route | around


@pytest.mark.parametrize("limit", ["_MOST_GENERATED", "_MOST_TEXT"])
def test_no_more_kernels_are_written_than_one_process_may(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limits expressions are computed on the host, with the same bytes and the same errors."""
    monkeypatch.setattr(sources, "_generated", {})
    monkeypatch.setattr(sources, limit, 1 if limit == "_MOST_GENERATED" else 0)
    device = EmulatedDevice(90)
    assert differences(CudaKernels(device), "evaluate", LONG_ORDERS[0]) == []
    written = {name for name, _ in device.launches if name.startswith("map_")}
    assert written == set(sources._generated)
    assert len(written) == (1 if limit == "_MOST_GENERATED" else 0)


def test_attention_in_batches_of_rows() -> None:
    device = EmulatedDevice(90, 2)
    assert differences(CudaKernels(device, scratch=4096), "attention", 2) == []
    assert max(grid[2] for _, grid in device.launches) < 64  # cases have up to 17 rows, but not of 4 KiB


@pytest.mark.parametrize("exponent", [1, 23, 24, 62, 63, 64, 65, 73, 74, 75, 76, 148])
def test_small_shares(exponent: int) -> None:
    """The least sum that top-p keeps is a quotient by a power of two, with shifts of 0 to beyond 74."""
    logits, nothing = floats("normal", 1, 300) * np.float32(9), np.zeros(0, dtype=np.int32)
    kernels = CudaKernels(EmulatedDevice())
    for numerator in (1, 3, 2**24 - 1):
        top_p = float(np.float32(numerator * 2.0**-exponent))
        if not 0 < top_p <= 1 or np.float32(top_p) != numerator * 2.0**-exponent:
            continue
        for draw in (0, 1 << 127, (1 << 128) - 1):
            how = Sampling(2.0, 0, top_p)
            row = (logits, nothing, -1, how, draws(draw))
            assert kernels.sample(*row).tolist() == numpy().sample(*row).tolist()


def test_states_its_name() -> None:
    assert CudaKernels(EmulatedDevice()).name == "cuda"
