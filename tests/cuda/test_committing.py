"""Tests commitments on the emulated device: few launches for any number of trees, and one download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from proofcompute.arithmetic.backends.cuda import Argument, CudaKernels, SpreadKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import Cell, NonFiniteError
from proofcompute.importers.compiling import PRECISIONS, compile_decoder, decoder_program
from proofcompute.program.program import Program
from proofcompute.protocol import trace as trace_module
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.trace import Trace
from proofcompute.testing.models import TINY, random_checkpoint

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

HASHES = {
    "sha256": ("sha256_rows",),
    "keccak256": ("keccak256_rows",),
    "blake3": ("blake3_chunks", "blake3_parents"),
}
KINDS = 2
"""Kinds of groups: hidden states; keys and values with their scales."""
SLOTS = 32
"""Most parts of all groups of a launch: a group of keys and values has four, one of hidden states has one."""


def program(layers: int) -> Program:
    return decoder_program(replace(TINY, layers=layers).arch, PRECISIONS["w8a16"])


def filled(of: Program, rows: int, kernels: Kernels) -> Trace:
    trace = Trace(of, rows, kernels)
    rng = np.random.default_rng(rows)
    for array in trace.arrays.values():
        array[...] = rng.integers(-100, 100, array.shape).astype(array.dtype)
    return trace


def expected(of: Program, suite: str, rows: int) -> list[bytes]:
    return filled(of, rows, synthetic.KERNELS).seals(suite, rows, synthetic.KERNELS)


@pytest.mark.parametrize("suite", HASHES)
@pytest.mark.parametrize("rows", [1, 2, 7, 33, 513])
def test_launches_of_a_commitment(suite: str, rows: int) -> None:
    """Each kind of leaf takes one launch, as do nine levels of all trees; only roots are copied."""
    for layers in (1, 3, 8) if rows < 100 else (2,):
        of = program(layers)
        device = EmulatedDevice()
        kernels = CudaKernels(device)
        trace = filled(of, rows, kernels)
        device.launches.clear()
        device.downloads.clear()
        assert trace.seals(suite, rows, kernels) == expected(of, suite, rows)
        names = [name for name, _ in device.launches]
        launches = [kernel for kernel in HASHES[suite] for _ in range(KINDS)]
        trees = [f"{suite}_trees"] * (1 if rows <= 512 else 2)
        assert sorted(names) == sorted([*launches, *trees, *["move_rows"] * (rows > 1)])
        assert device.downloads == [32 * len(of.committed)]


def test_more_groups_than_a_launch_takes() -> None:
    of = program(11)
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    trace = filled(of, 3, kernels)
    device.launches.clear()
    assert trace.seals("sha256", 3, kernels) == expected(of, "sha256", 3)
    grids = [grid for name, grid in device.launches if name == "sha256_rows"]
    assert sorted(y for _, y, _ in grids) == [5, 6, 12]
    assert max(5, 6) * 4 <= SLOTS


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


class Order(EmulatedDevice):
    """Records in which order layers and hashes were queued, and how many groups of rows were hashed."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[tuple[str, int, int, int]] = []

    def launch(
        self, kernel: str, grid: Any, threads: int, arguments: Sequence[Argument], stream: int = 0
    ) -> None:
        if kernel == "sha256_rows":
            self.queued.append(("hash", stream, grid[1], int(cast(int, arguments[7]))))
        elif kernel in ("attention_finish", "sample_best"):
            self.queued.append((kernel, stream, 0, 0))
        super().launch(kernel, grid, threads, arguments, stream)


@pytest.mark.parametrize("prompt", [3, 12, 40])
def test_layers_are_hashed_while_later_ones_compute(prompt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers are hashed at a time, the last one before the head runs; a few rows wait for more."""
    monkeypatch.setattr(trace_module, "TOGETHER", 2 * 2 * 12)
    layers = 5
    decoder = replace(TINY, layers=layers)
    m = compile_decoder(random_checkpoint(3, decoder), synthetic.KERNELS, "w8a16")
    request = synthetic.request(m, "x" * prompt, max_tokens=2)
    device = Order()
    kernels = CudaKernels(device)
    kernels.ahead = 4
    node = synthetic.node(m, kernels, chunk=12)
    engine = node.engine
    session = engine.add(request)
    while not session.answer:
        device.queued.clear()
        engine.step()
    steps = [(name, groups) for name, stream, groups, _ in device.queued if stream == (name == "hash")]
    assert len(steps) == len(device.queued)
    kinds = [name for name, _ in steps]
    rows = (session.prompt - 1) % 12 + 1
    assert kinds.count("attention_finish") == layers
    if rows == 12:
        assert sum(groups for name, groups in steps if name == "hash") == 2 * layers + 1
        first, head = kinds.index("hash"), kinds.index("sample_best")
        assert kinds[:first].count("attention_finish") == 2
        assert "hash" not in kinds[head:]
        assert kinds[:head].count("hash") >= 3
    engine.run(session)
    receipt = node.commit(session, keep=False).encode()
    assert receipt == synthetic.prove(m, request).data


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_that_fails_is_run_again(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were hashed beside it are written again, and then hashed again."""
    monkeypatch.setattr(trace_module, "TOGETHER", 1)
    m = synthetic.model()
    devices = [EmulatedDevice(name=f"device {i}") for i in range(count)]
    kernels: Any = CudaKernels(devices[0]) if count == 1 else SpreadKernels(devices)
    kernels.ahead = 1
    node = synthetic.node(m, kernels, chunk=6)
    engine = node.engine
    bad, fine = (engine.add(synthetic.request(m, p, max_tokens=3)) for p in ("a prompt", "Hello, world"))
    engine.step()
    for part in getattr(kernels, "parts", [kernels]):
        part._on.join()  # rows that are being hashed may then be written
    bad.trace.arrays["k_scale.1"][2] = np.float32(np.nan)
    for device in devices:
        device.launches.clear()
    engine.step()
    assert isinstance(bad.error, NonFiniteError)
    for device in devices:  # by the step of both requests and by the step of each
        assert [name for name, _ in device.launches].count("sha256_rows") >= 3
    engine.run(fine)
    receipt = node.commit(fine, keep=False).encode()
    assert receipt == synthetic.prove(m, fine.request).data


def test_trees_grow_beside_other_requests() -> None:
    """When a request is done, its trees are queued on the side stream, while others go on."""
    m = synthetic.model()
    device = EmulatedDevice()
    queued: list[tuple[str, int]] = []
    inner = device.launch

    def launch(kernel: str, grid: Any, threads: int, arguments: Any, stream: int = 0) -> None:
        queued.append((kernel, stream))
        inner(kernel, grid, threads, arguments, stream)

    device.launch = launch  # type: ignore[method-assign]
    kernels = CudaKernels(device)
    node = synthetic.node(m, kernels)
    engine = node.engine
    short, long = (engine.add(synthetic.request(m, max_tokens=n)) for n in (2, 5))
    while short.running:
        engine.step()
    assert queued[-2:] == [("sha256_trees", 1), ("move_rows", 1)]
    engine.run(long)
    for session in (short, long):
        alone = synthetic.prove(m, session.request).data
        assert node.commit(session, keep=False).encode() == alone


def test_one_download_from_each_device() -> None:
    """Trees grow on the device that holds their rows."""
    m = synthetic.model()
    devices = [EmulatedDevice(), EmulatedDevice(name="another")]
    kernels: Any = SpreadKernels(devices)
    node = synthetic.node(m, kernels)
    engine = node.engine
    session = engine.add(synthetic.request(m))
    engine.run(session)
    for device in devices:
        device.downloads.clear()
    expected = synthetic.prove(m, synthetic.request(m)).data
    assert node.commit(session, keep=False).encode() == expected
    assert [len(device.downloads) for device in devices] == [1, 1]
    assert sum(sum(device.downloads) for device in devices) == 32 * len(m.program.committed)


def test_an_opening_is_fetched_in_few_pieces() -> None:
    """Pieces are the roots, proofs of up to 64 cells with a status, and each cell's rows."""
    m = synthetic.model()
    request = synthetic.request(m)
    expected = synthetic.prove(m, request)
    device = EmulatedDevice()
    found = synthetic.prove(m, request, CudaKernels(device))
    cells = [Cell(segment, row, row + 2) for segment in range(3) for row in range(0, 18, 2)]
    challenge = Challenge(found.receipt.digest, tuple(cells), hints=False, tables=False)
    device.downloads.clear()
    device.launches.clear()
    assert found.open(challenge) == expected.open(challenge)
    assert len(device.downloads) == 3 + len(cells)
    assert not [name for name, _ in device.launches if name.startswith("sha256")]  # the receipt's trees serve
