"""The counted cost of a node's work: in step with what the backend launches, and with the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import synthetic
from benchmarks.cost.__main__ import DOCUMENT, renewed
from benchmarks.cost.counts import GATHERED, INSTRUCTIONS, Cost, chain, cost, named, parameters, total
from benchmarks.cost.device import CountingDevice, Launched, Mark
from benchmarks.cost.estimate import FLOOR, ISSUE, LATENCY, duration, fits, followed, overhead
from benchmarks.cost.runs import (
    Commitment,
    answered,
    commitment,
    decode_step,
    placed_model,
    prefill,
)
from benchmarks.cost.shapes import GPUS, MODELS
from cuda_rig import EmulatedDevice, nvrtc, why_not
from proofcompute.arithmetic.backends.cuda import Argument, Buffer, CudaKernels, Window, kernel_files
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.testing.models import TINY

rig = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

BLOCKS = 1 << 20
PROMPT, ANSWER = 70, 12


class Recording(EmulatedDevice):
    """Keeps the arguments of what it runs."""

    def __init__(self) -> None:
        super().__init__(blocks=BLOCKS)
        self.ran: list[Launched] = []

    def _run(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Argument],
        read_only: Sequence[bool],
        stream: int,
    ) -> None:
        self.ran.append(Launched(kernel, grid, tuple(arguments), stream))
        super()._run(kernel, grid, threads, arguments, read_only, stream)


def plain(launched: Launched) -> tuple[Any, ...]:
    """A launch without the identity of its memory."""
    arguments = [
        ("buffer", a.size)
        if isinstance(a, Buffer)
        else ("window", a.rows, a.width, a.base.size)
        if isinstance(a, Window)
        else None
        if a is None
        else (a.dtype.str, a.item())
        for a in launched.arguments
    ]
    return launched.kernel, launched.grid, launched.stream, *arguments


def by_step(kernels: Kernels, model: Model, ran: list[Launched]) -> list[list[tuple[Any, ...]]]:
    """Launches of each step of one request, and of its commitment."""
    node = synthetic.node(model, kernels, chunk=32)
    engine, tokens = node.engine, np.zeros(PROMPT, "<i4").tobytes()
    session = engine.add(Request(model.model_id, (("tokens", tokens),), bytes(32), Generation(ANSWER)))
    steps = []
    while session.running:
        ran.clear()
        engine.step()
        steps.append([plain(x) for x in ran if x.kernel in kernel_files()])
    ran.clear()
    node.commit(session, keep=False)
    return [*steps, [plain(x) for x in ran if x.kernel in kernel_files()]]


@rig
def test_counted_launches_are_those_that_run() -> None:
    """Kernel, grid, stream and arguments of every launch of a request, sizes of memory included."""
    device = Recording()
    expected = by_step(CudaKernels(device), synthetic.model(), device.ran)
    assert device.replays > 0
    counting = CountingDevice(blocks=BLOCKS)
    kernels = CudaKernels(counting)
    model = placed_model(TINY, kernels, "w8a16")
    assert by_step(kernels, model, counting.launches) == expected
    assert {name for step in expected for name, *_ in step} >= {
        "linear_few",
        "linear_mma",
        "sha256_rows",
        "report",
    }


@rig
def test_signatures_say_what_is_read() -> None:
    """``const`` in the source is what the rig finds in the compiled kernels."""
    import ctypes

    library = EmulatedDevice()._library
    for kernel in kernel_files():
        sizes = (ctypes.c_uint * 128)()
        count = library.rig_arguments(kernel.encode(), sizes, 128)
        read_only = [only for _, only in parameters(kernel)]
        assert len(read_only) == count, kernel
        assert [bool(only) for only in read_only] == [bool(s & 128) for s in sizes[:count]], kernel


@pytest.mark.parametrize("model", MODELS)
def test_a_step_reads_every_weight_once(model: str) -> None:
    decoder = MODELS[model]
    device = CountingDevice()
    program = placed_model(decoder, CudaKernels(device), "w8a16").program
    used = [w for w in program.weights if w.kind == "matrix" and (w.name != "embedding" or decoder.tied)]
    products = [x for x in decode_step(decoder, "w8a16", 300) if x.kernel == "linear_few"]
    assert sum(named(x)["w"].size for x in products) == sum(w.rows * w.width for w in used)
    assert sum(cost(x, 300).products for x in products) == sum(2 * w.rows * w.width for w in used)


def test_attention_counts_what_is_visible() -> None:
    decoder = TINY
    for context in (20, 21):
        step = [x for x in decode_step(decoder, "w8a16", context) if x.kernel == "attention_scores"]
        assert len(step) == decoder.layers
        keys = decoder.kv_heads * decoder.head_dim * context
        found = cost(step[0], context)
        assert found.products == decoder.heads * decoder.head_dim * context
        assert found.read >= keys + 4 * decoder.kv_heads * context
    (chunk,) = prefill(decoder, "w8a16", 9)
    scores = next(x for x in chunk if x.kernel == "attention_scores")
    assert cost(scores, 0).products == decoder.heads * decoder.head_dim * sum(range(1, 10))


def message(kernel: str, rows: int, widths: tuple[int, ...], front: int = 0, groups: int = 1) -> Launched:
    """A launch that hashes rows of parts of these widths."""
    sizes = [np.int32(front), np.int32(len(widths)), *(np.int32(w) for w in (*widths, 0, 0, 0, 0)[:4])]
    out: list[Argument] = [np.int64(rows), None, np.int64(0)]
    if kernel == "blake3_chunks":
        out = [np.int64(rows), np.int64(max(1, -(-(front + sum(widths)) // 1024))), None]
    blocks = -(-rows // 64)
    return Launched(kernel, (blocks, groups, 1), (None, *sizes, *out, *[None] * 32), 1, 64)


@pytest.mark.parametrize("size", [0, 1, 54, 55, 56, 63, 64, 119, 120, 1000])
def test_compressions_of_sha256(size: int) -> None:
    launched = message("sha256_rows", 3, (size,), groups=2)
    padded = -(-(size + 9) // 64)
    assert cost(launched, 0).compressions == 2 * 3 * padded
    gathered = padded - size // 64  # the blocks that reach beyond the row
    assert chain(launched) == padded * INSTRUCTIONS["sha256_rows"] + gathered * GATHERED


def test_blocks_of_several_parts_are_gathered() -> None:
    """33 bytes in front, then 95, 60 and 640: blocks 0 and 2 and the last two do not lie in one of them."""
    launched = message("sha256_rows", 1, (95, 60, 640), front=33)
    assert chain(launched) == 14 * INSTRUCTIONS["sha256_rows"] + 4 * GATHERED
    assert cost(launched, 0).instructions == chain(launched)


def test_compressions_of_blake3() -> None:
    chunks = message("blake3_chunks", 2, (3000,), front=33)
    assert cost(chunks, 0).compressions == 2 * 3 * 16
    sizes = (None, np.int64(2), np.int64(3), None, np.int64(0))
    parents = Launched("blake3_parents", (1, 5, 1), sizes, 0, 64)
    assert cost(parents, 0).compressions == 2 * 2 * 5
    assert chain(parents) == 2 * INSTRUCTIONS["blake3_parents"]


def test_compressions_of_trees() -> None:
    """Two for each pair, nine levels at most; one thread may have a node of each level."""
    for n, levels in ((1, 0), (2, 1), (3, 2), (512, 9)):
        sizes = (None, np.int64(0), np.int64(n), np.int32(1), np.uint32(1), None, np.int64(0))
        launched = Launched("sha256_trees", (1, 4, 1), sizes, 1)
        assert cost(launched, 0).compressions == 4 * 2 * (n - 1)
        assert chain(launched) == 2 * levels * INSTRUCTIONS["sha256_trees"]
        assert cost(launched, 0).read == 4 * 32 * n
    sizes = (None, np.int64(0), np.int64(1024), np.int32(1), np.uint32(1), None, np.int64(0))
    launched = Launched("sha256_trees", (2, 1, 1), sizes, 1)
    assert cost(launched, 0).compressions == 2 * (1024 - 2)  # two nodes are left for another launch
    assert chain(launched) == 2 * 9 * INSTRUCTIONS["sha256_trees"]


@pytest.mark.skipif(bool(nvrtc.why_no_disassembler()), reason=nvrtc.why_no_disassembler() or "-")
def test_instructions_of_a_compression(tmp_path: Any) -> None:
    """What stands between the first word's load and the digest's store; of a node all there is, for two."""
    for kernel, count in INSTRUCTIONS.items():
        code = nvrtc.disassembly(kernel_files()[kernel], 90, tmp_path)[kernel]
        operations = [operation.split(".")[0] for operation in code]
        length = len(code) // 2 if kernel.endswith("_trees") else len(code)
        if kernel in ("sha256_rows", "blake3_chunks"):
            length = operations.index("STG") - operations.index("LDG")
        assert 0.85 * length <= count <= length, (kernel, length)


def test_commitments_follow_the_backend() -> None:
    found = commitment(TINY, "w8a16", "sha256", range(30, 150))
    assert len(found.beside) == 2  # after 64 and after 128 rows
    assert {x.stream for part in found.beside for x in part if x.kernel in kernel_files()} == {1}
    groups = 2 * TINY.layers + 1
    kinds = 2  # hidden states; keys and values
    assert sum(x.kernel == "sha256_rows" for x in found.beside[0]) == kinds
    every = [x for part in [*found.beside, found.after] for x in part]
    leaves = [x for x in every if x.kernel == "sha256_rows"]
    assert sum(int(named(x)["n"]) * x.grid[1] for x in leaves) == 149 * groups
    (trees,) = (x for x in every if x.kernel == "sha256_trees")
    assert cost(trees, 0).compressions == 2 * 148 * groups  # inner nodes


def hash_of(rows: int, width: int) -> Launched:
    return message("sha256_rows", rows, (width,))


def test_durations_and_bounds() -> None:
    gpu = replace(GPUS["RTX 4090"], clock=1e9, processors=10, bandwidth=1e9, int8=1e12)
    idle = Launched("add", (1, 1, 1), (Buffer(None, 0, 4),) * 2 + (np.int64(1), Buffer(None, 0, 4)), 0)
    assert duration([idle, idle], gpu, 0).seconds == 2 * FLOOR
    assert duration([idle], gpu, 0).bottleneck == "launches"
    large = replace(idle, arguments=(Buffer(None, 0, 10**9),) * 2 + (np.int64(1), Buffer(None, 0, 10**9)))
    assert duration([large], gpu, 0).seconds == pytest.approx(3.0)
    assert duration([large], gpu, 0).bottleneck == "memory"
    few, many = hash_of(64, 640), hash_of(10**6, 640)
    each = 11 * INSTRUCTIONS["sha256_rows"] + GATHERED
    assert duration([few], gpu, 0).seconds == pytest.approx(each * LATENCY / 1e9)
    assert duration([few], gpu, 0, ISSUE).seconds == pytest.approx(each * ISSUE / 1e9)
    assert duration([few], gpu, 0).bottleneck == "one thread's hash"
    gpu = replace(gpu, bandwidth=1e12)
    assert duration([many], gpu, 0).seconds == pytest.approx(10**6 * each / (64 * 10 * 1e9))
    assert duration([many], gpu, 0).bottleneck == "hashing"


def test_overhead_is_what_is_not_hidden() -> None:
    gpu = GPUS["H100 SXM 80 GB"]
    part = [hash_of(64, 640)] * 10
    spent = duration(part, gpu, 0).seconds
    lanes = sum(cost(x, 0).instructions for x in part) / (64 * gpu.processors * gpu.clock)
    hidden = overhead(Commitment([part], []), [spent], gpu)
    assert hidden.exposed == 0
    assert hidden.shared == hidden.alone == hidden.hidden == pytest.approx(lanes)
    half = overhead(Commitment([part], []), [spent / 2], gpu)
    assert half.exposed == pytest.approx(spent / 2)
    after = overhead(Commitment([], part), [], gpu)
    assert after.shared == 0
    assert after.exposed == pytest.approx(spent)
    assert after.hidden == pytest.approx(lanes)


def test_streams_are_followed() -> None:
    """Hashing waits for the row it hashes; it counts where it ends after all else."""
    gpu = GPUS["H100 SXM 80 GB"]
    work = Launched("add", (1, 1, 1), (Buffer(None, 0, 4),) * 2 + (np.int64(1), Buffer(None, 0, 4)), 0)
    hashing = hash_of(64, 640)
    waits = [Mark(1, 0, waits=False), Mark(1, 1, waits=True)]
    mine = duration([hashing], gpu, 0).seconds
    last = followed([work, work, *waits, hashing], gpu)
    assert last.shared == 0
    assert last.exposed == pytest.approx(mine)
    first = followed([work, *waits, hashing, work], gpu)
    assert first.exposed == pytest.approx(mine - FLOOR)
    assert first.shared == first.hidden > 0
    after = followed([work, *waits, hashing, *[work] * 1000], gpu)
    assert after.exposed == 0
    least = followed([work, work, *waits, hashing], gpu, least=True)
    assert least.exposed == pytest.approx(mine * ISSUE / LATENCY)
    assert least.hidden < last.hidden


def test_a_prompt_and_its_hashing_are_listed() -> None:
    """What the engine queues: layers are hashed before the head runs, and trees come last."""
    timeline = answered(MODELS["Llama-3.1-8B"], "w8a16", "sha256", 512)
    names = [(x.kernel, x.stream) for x in timeline if isinstance(x, Launched)]
    hashes = [i for i, name in enumerate(names) if name == ("sha256_rows", 1)]
    products = [i for i, (name, _) in enumerate(names) if name.startswith("linear_")]
    assert sum(i < products[-1] for i in hashes) == len(hashes) >= 8
    assert names[-2:] == [("sha256_trees", 1), ("move_rows", 1)]
    assert [x.stream for x in timeline if isinstance(x, Mark) and x.waits] == [1] * len(
        [x for x in timeline if isinstance(x, Mark) and x.waits]
    )


def test_costs_add_up() -> None:
    one = Cost(1, 2, 3, 4, 5, 6)
    assert total([one, one]) == Cost(2, 4, 6, 8, 10, 12)
    assert one.moved == 3
    assert fits(20 * 10**9, GPUS["RTX 4090"])
    assert not fits(22 * 10**9, GPUS["RTX 4090"])


def test_the_document_is_in_step() -> None:
    text = DOCUMENT.read_text()
    assert renewed(text) == text, "write it anew: python -m benchmarks.cost"
