"""Compares every CUDA kernel on the rig with the definition, byte for byte, on all of ``kernel_cases``.

The launches are the backend's own. Five orders of the threads of a block must give the same bytes: every case
runs in two of them, every method in all.
"""

from __future__ import annotations

from collections import Counter
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

SHUFFLED = 3
"""The order in which every case runs, and the only one for cases with tens of thousands of columns."""
OTHERS = tuple(order for order in ORDERS if order != SHUFFLED)
"""Each other order has every fourth case of a method, so that a case runs in two; with --slow it has all."""


@cache
def numpy() -> NumpyKernels:
    return NumpyKernels()


@cache
def expected(position: int) -> object:
    return outcome(numpy(), CASES[position])


def _is_long(case: Case) -> bool:
    return case.label.startswith("long-")


def chosen(method: str, order: int, every: bool) -> list[int]:
    """The positions of the cases of a method that run in an order."""
    of_method = [i for i, case in enumerate(CASES) if case.method == method]
    if order == SHUFFLED:
        return of_method
    short = [i for i in of_method if not _is_long(CASES[i])]
    return short if every or len(short) < len(OTHERS) else short[OTHERS.index(order) :: len(OTHERS)]


def differences(kernels: CudaKernels, method: str, order: int, every: bool = False) -> list[str]:
    return [str(CASES[i]) for i in chosen(method, order, every) if outcome(kernels, CASES[i]) != expected(i)]


def test_every_case_runs_in_two_orders() -> None:
    """Unless it is long."""
    for method in METHODS:
        runs = Counter(i for order in ORDERS for i in chosen(method, order, every=False))
        assert set(runs) == {i for i, case in enumerate(CASES) if case.method == method}
        assert all(n >= 2 or _is_long(CASES[i]) for i, n in runs.items())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(method: str, order: int, pytestconfig: pytest.Config) -> None:
    every = bool(pytestconfig.getoption("--slow"))
    assert differences(CudaKernels(EmulatedDevice(90, order)), method, order, every) == []


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
    assert differences(CudaKernels(device), "evaluate", SHUFFLED) == []
    written = {name for name, _ in device.launches if name.startswith("map_")}
    assert written == set(sources._generated)
    assert len(written) == (1 if limit == "_MOST_GENERATED" else 0)


def test_attention_in_batches_of_rows() -> None:
    device = EmulatedDevice(90, SHUFFLED)
    assert differences(CudaKernels(device, scratch=4096), "attention", SHUFFLED) == []
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
