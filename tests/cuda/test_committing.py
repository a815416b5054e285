"""Commitments on the emulated device: few launches, whatever the number of trees, and one download."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from proofcompute.backends.cuda import CudaKernels, SpreadKernels, checks
from proofcompute.backends.cuda.moves import MOST
from proofcompute.generation import Engine
from proofcompute.importers.checkpoint import Decoder
from proofcompute.importers.decoder import PRECISIONS, decoder_program
from proofcompute.kernels import Kernels
from proofcompute.program import Program
from proofcompute.prover import make_receipt
from proofcompute.trace import Trace

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

HASHES = {
    "sha256": ("sha256_rows",),
    "keccak256": ("keccak256_rows",),
    "blake3": ("blake3_chunks", "blake3_parents"),
}
KINDS = 2
"""Of groups: hidden states; keys and values with their scales."""


def program(layers: int) -> Program:
    d = synthetic.DECODER
    fields = {name: getattr(d, name) for name in d.__dataclass_fields__} | {"layers": layers}
    return decoder_program(Decoder(**fields), PRECISIONS["w8a16"])


def filled(of: Program, rows: int, kernels: Kernels) -> Trace:
    trace = Trace(of, rows, kernels)
    rng = np.random.default_rng(rows)
    for array in trace.arrays.values():
        array[...] = rng.integers(-100, 100, array.shape).astype(array.dtype)
    return trace


def expected(of: Program, suite: str, rows: int) -> list[bytes]:
    return filled(of, rows, synthetic.KERNELS).seals(suite, rows, synthetic.KERNELS)


@pytest.mark.parametrize("suite", HASHES)
@pytest.mark.parametrize("rows", [1, 2, 7, 32, 33])
def test_launches_of_a_commitment(suite: str, rows: int) -> None:
    """Hashes: one launch for each kind of leaf and one for each level, however many layers there are."""
    for layers in (1, 3, 6):
        of = program(layers)
        device = EmulatedDevice()
        kernels = CudaKernels(device)
        trace = filled(of, rows, kernels)
        device.launches.clear()
        device.downloads.clear()
        assert trace.seals(suite, rows, kernels) == expected(of, suite, rows)
        levels = (rows - 1).bit_length()
        names = [name for name, _ in device.launches]
        for kernel in HASHES[suite]:
            assert names.count(kernel) == KINDS + levels
        parts = sum(1 + len(group.tensors) for group in of.committed)
        assert names.count("move_rows") <= parts / MOST + 2 * KINDS + 2 * levels
        assert set(names) == {*HASHES[suite], "move_rows"}
        assert device.downloads == [32 * len(of.committed)]


@pytest.mark.parametrize("ahead", [1, 4, 32])
def test_leaves_that_were_hashed_ahead(ahead: int) -> None:
    of, rows = program(2), 11
    kernels = CudaKernels(EmulatedDevice())
    kernels.ahead = ahead
    trace = filled(of, rows, kernels)
    for done in range(1, rows + 1):
        trace.hash_ahead("sha256", done, kernels)
    for kept in (rows, rows - 1):
        assert trace.seals("sha256", kept, kernels) == [
            *filled(of, rows, synthetic.KERNELS).seals("sha256", kept, synthetic.KERNELS)
        ]


@pytest.mark.parametrize("together", [0, 2000, 5000])
def test_rows_are_copied_within_bounds(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that do not fit are hashed by further launches."""
    of, rows = program(3), 9
    monkeypatch.setattr(checks, "_TOGETHER", together)
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    trace = filled(of, rows, kernels)
    sizes: list[int] = []
    inner = device.launch

    def launch(kernel: str, grid: Any, threads: int, arguments: Any, stream: int = 0) -> None:
        if kernel == "sha256_rows" and int(arguments[4]) > 64:
            sizes.append(int(arguments[3]) * int(arguments[4]))
        inner(kernel, grid, threads, arguments, stream)

    device.launch = launch  # type: ignore[method-assign]
    assert trace.seals("sha256", rows, kernels) == expected(of, "sha256", rows)
    widths = [32 + of.group_bytes(i) for i in range(len(of.committed))]
    assert sum(sizes) == rows * sum(widths)
    assert len(sizes) == len(widths) if not together else KINDS < len(sizes) < len(widths)
    assert max(sizes) <= max(together, rows * max(widths))


def test_one_download_from_each_device() -> None:
    """Trees grow where their rows are."""
    m = synthetic.model()
    devices = [EmulatedDevice(), EmulatedDevice(name="another")]
    kernels: Any = SpreadKernels(devices)
    engine = Engine(m, kernels)
    session = engine.add(synthetic.request(m))
    engine.run(session)
    for device in devices:
        device.downloads.clear()
    expected = synthetic.prove(m, synthetic.request(m)).receipt.encode()
    assert make_receipt(m, session, kernels, synthetic.NODE).encode() == expected
    assert [len(device.downloads) for device in devices] == [1, 1]
    assert sum(sum(device.downloads) for device in devices) == 32 * len(m.program.committed)
