"""Repeats the backend's launches under ThreadSanitizer and under AddressSanitizer with UBSan.

A launch is recorded with its memory before and after, and replayed by a program in which every buffer is an
allocation of its own. Seeded faults show that the sanitizers find such faults.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, build, coverage, sources, why_not
from kernel_cases import CASES, METHODS, outcome
from kernel_cases.data import draws, floats, int8s, matrix, scales
from kernel_cases.expressions import numbers
from proofcompute.arithmetic.backends.cuda import Argument, CudaKernels, kernel_files
from proofcompute.arithmetic.backends.cuda.expressions import written
from proofcompute.arithmetic.backends.cuda.sources import generated
from proofcompute.arithmetic.kernels import GatePrologue, NormPrologue
from proofcompute.arithmetic.primitives import View
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import Span
from proofcompute.errors import InputError, NonFiniteError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

PER_METHOD = 5
LEFT_OUT = re.compile("long|32768|49152|unbounded")
"""Cases left out: large ones, and those that give NaNs, whose sign and payload are the compiler's choice."""


def replay(program: Path, recorded: Path, *orders: int) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(recorded), *map(str, orders)]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unexpected memory mapping" not in plain.stderr:
        return plain
    # ThreadSanitizer refuses some layouts of the address space.
    return subprocess.run(["setarch", "-R", *command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records launches of every kernel: a spread of each method's cases, and both routes of products."""
    path = tmp_path_factory.mktemp("rig") / "launches"
    seen: set[str] = set()
    with path.open("wb") as file:
        for capability in (90, 75):
            device = EmulatedDevice(capability)
            device.recording = file
            kernels = CudaKernels(device)
            for method in METHODS if capability == 90 else ("linear",):
                cases = [
                    c for c in CASES if c.method == method and not c.raises and not LEFT_OUT.search(c.label)
                ]
                for case in cases[:: max(1, len(cases) // PER_METHOD)]:
                    outcome(kernels, case)
            for n in (2, 5):  # few rows, and more
                x, w, rest = floats("mixed", n, 70), matrix(2, 9, 70, bias=True), floats("normal", n, 9)
                kernels.linear(x, w, 2, NormPrologue(floats("normal", 70), np.float32(1e-5)), rest)
                kernels.linear(floats("normal", n, 140), w, 1, GatePrologue(), rest)
                kernels.linear(x, w, 2)
            for n, limbs, of in ((1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 2, 2)):  # rows at multiples of 16
                kernels.linear(floats("mixed", n, 80), matrix(of, 9, 80, bias=True), limbs)
            for top_p in (2.0**-64, 2.0**-70):  # the shift that divides by 2^64 and more
                how, nothing = Sampling(1.0, 0, top_p), np.zeros(0, np.int32)
                kernels.sample(floats("normal", 1, 9), nothing, -1, how, draws(1 << 127))
            for dtype in ("f32", "i8", "i64"):
                x_of, v = numbers(dtype, 2, 3, 5), View((6, 3), (1, 5), -1, (1, 0), (6, 3), 1)
                kernels.view(x_of, v)
                kernels.take(x_of, np.array([[2, 0]], np.int64 if dtype == "i8" else np.int32))
            for kind in ("sum", "prod", "max", "min"):
                kernels.reduce(kind, floats("mixed", 2, 300, 3), (0,))
                kernels.reduce(kind, floats("normal", 2, 3, 30), (1, 0))
            kernels.reduce("max", np.array([[1, np.nan, 2]], np.float32), (0,))
            seen |= {name for name, _ in device.launches if generated(name) is None}
        device = EmulatedDevice()
        device.recording = file
        _plain_product(device)
        _steps(CudaKernels(device))
        seen |= {name for name, _ in device.launches if generated(name) is None}
    assert seen == set(kernel_files())
    return path


def _plain_product(device: EmulatedDevice) -> None:
    n, m, d = 5, 7, 33
    q, w = int8s(n, d, key="q"), int8s(m, d, key="w")
    acc = device.zeros(4 * n * m)
    sizes = (np.int32(n), np.int32(m), np.int32(d))
    arguments: list[Argument] = [device.upload(q), np.int64(d), device.upload(w), np.int64(d), *sizes, acc]
    device.launch("product_plain", (1, 1, 1), 256, arguments)
    found = np.empty((n, m), dtype=np.int32)
    device.download(acc, found)
    assert found.tolist() == (q.astype(np.int32) @ w.astype(np.int32).T).tolist()


def _steps(kernels: CudaKernels) -> None:
    """Runs what only steps launch, such as rows at spans that device memory names, and checks that fail."""

    class Key:
        pass

    x, table = kernels.array(int8s(9, 7)), kernels.array(floats("normal", 9, 4))
    logits = kernels.array(floats("normal", 1, 33))
    history = kernels.array(np.arange(9, dtype=np.int32))
    none = kernels.zeros((1, 2), np.uint64)
    keys, ks = kernels.array(int8s(9, 1, 4)), kernels.array(scales(9, 1))

    def step(spans: Any) -> Any:
        ((_, a, b),) = spans
        x[a:b] = x[:1]
        rows = kernels.attention(table[a:b], keys[:b], ks[:b], keys[:b], ks[:b], a, np.float32(1), 3)
        table[a:b] = kernels.settle(rows)
        return kernels.sample(logits, history[:b], a, Sampling(), none)

    kernels.step(Key(), [Span(0, 5, 6)], step)
    table[5:6] = np.full((1, 4), np.nan, np.float32)
    with pytest.raises(NonFiniteError):
        kernels.step(Key(), [Span(0, 5, 6)], step)
    with pytest.raises(InputError):
        kernels.sample(floats("normal", 1, 33), np.array([33], np.int32), 0, Sampling(1.0), draws(0))


ORDERS = [
    ("address", (0,)),  # which bytes are read and written depends on no order
    ("thread", (0, 2)),
    pytest.param("address", (1, 2), marks=pytest.mark.slow),
    pytest.param("thread", (1,), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("variant", "orders"), ORDERS)
def test_clean(variant: str, orders: tuple[int, ...], recorded: Path) -> None:
    done = replay(build(variant), recorded, *orders)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr[:4000]
    assert done.stdout.endswith(" launches, 0 buffers differ\n")


WITHOUT_NAN = ("broadcast-0-3", "masked-3", "constants", "sin-normal", "mul-i8", "cast-f32-i64", "lt-f32")


@pytest.mark.parametrize("variant", ["address", "thread"])
def test_kernels_written_for_expressions_are_clean(variant: str, tmp_path: Path) -> None:
    of_expressions = [c for c in CASES if c.method == "evaluate"]
    cases = [next(c for c in of_expressions if c.label.startswith(start)) for start in WITHOUT_NAN]
    texts = dict(written(case.build()[0]) for case in cases)
    path = tmp_path / "launches"
    with path.open("wb") as to:
        device = EmulatedDevice()
        device.recording, device.recorded = to, set(texts)
        for case in cases:
            outcome(CudaKernels(device), case)
    program = build(variant, tuple(texts), {f"{name}.cu": text for name, text in texts.items()})
    done = replay(program, path, 0, 1)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr[:4000]
    assert f"{len(cases)} launches, 0 buffers differ\n" in done.stdout


@pytest.mark.skipif(bool(coverage.why_not()), reason=coverage.why_not() or "-")
def test_every_line_runs(recorded: Path, tmp_path: Path) -> None:
    total, missed = coverage.lines_not_run(recorded, tmp_path)
    assert total > 400
    assert missed == {}


TREE_BARRIER = "  level[t] = v;\n  __syncthreads();  // level is complete\n"
FAULTS = {
    # variant, file, text, its replacement, the sanitizer's report
    "tree-without-a-barrier": (
        "thread",
        "rms_norm",
        "canonical.cuh",
        TREE_BARRIER,
        "  level[t] = v;\n",
        "data race",
    ),
    "halving-without-a-barrier": (
        "thread",
        "rms_norm",
        "canonical.cuh",
        "level[t + h]);\n    __syncthreads();\n",
        "level[t + h]);\n",
        "data race",
    ),
    "second-tree-too-early": (
        "thread",
        "layer_norm",
        "canonical.cuh",
        "  __syncthreads();  // the result of a call before this one has been read\n  level[t] = v;\n",
        "  level[t] = v;\n",
        "data race",
    ),
    "tile-without-a-barrier": (
        "thread",
        "product",
        "product.cu",
        "    }\n    __syncthreads();\n#pragma unroll 4\n",
        "    }\n#pragma unroll 4\n",
        "data race",
    ),
    "shared-memory-too-small": (
        "address",
        "linear_mma",
        "linear_mma.cu",
        "int right[TILE][PITCH];",
        "int right[TILE - 1][PITCH];",
        "out of bounds",
    ),
    "halving-one-too-far": (
        "address",
        "rms_norm",
        "canonical.cuh",
        "if (t < h) level[t] = plus(level[t], level[t + h]);",
        "if (t <= h) level[t] = plus(level[t], level[t + h]);",
        "out of bounds",
    ),
    "one-element-too-many": (
        "address",
        "quantise",
        "rows.cuh",
        "j < d; j += THREADS) {\n    const u32 b",
        "j <= d; j += THREADS) {\n    const u32 b",
        "heap-buffer-overflow",
    ),
    "signed-overflow": (
        "address",
        "rescale",
        "rescale.cu",
        "(u64)(i64)acc[i * n * m + e] << shifts[i]",
        "(u64)(i64)(acc[i * n * m + e] << shifts[i] << 8)",
        "runtime error",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_seeded_faults_are_caught(fault: str, tmp_path: Path) -> None:
    variant, file, where, before, after, message = FAULTS[fault]
    text = sources()[where]
    assert text.count(before) == 1
    program = build(variant, (file,), {where: text.replace(before, after)})
    path = tmp_path / "launches"
    with path.open("wb") as to:
        device = EmulatedDevice(75 if file in ("product", "rescale") else 90)
        kernels = CudaKernels(device)
        inner = device.launch

        def only(kernel: str, *rest: object, **named: object) -> None:
            device.recording = to if kernel_files()[kernel] == file else None
            inner(kernel, *rest, **named)  # type: ignore[arg-type]

        device.launch = only  # type: ignore[method-assign]
        x, w = floats("normal", 5, 300), floats("normal", 300)
        if file == "rms_norm":
            kernels.rms_norm(x, w, np.float32(1e-5))
        elif file == "layer_norm":
            kernels.layer_norm(x, w, w, np.float32(1e-5))
        elif file == "rescale":
            acc = np.full((1, 1, 1), 1 << 29, dtype=np.int32)
            kernels.rescale(acc, [0], w[:1], w[:1], None)
        else:
            kernels.linear(x, matrix(2, 70, 300, bias=True), 2)
    done = replay(program, path, 0)
    assert done.returncode != 0
    assert message in done.stderr, done.stdout + done.stderr[:2000]
