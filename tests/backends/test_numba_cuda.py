"""Numba's CUDA route without a GPU: in its simulator, and compiled to PTX."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proofcompute.errors import DeviceError

cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
dispatcher = pytest.importorskip("numba.cuda.dispatcher")
types = pytest.importorskip("numba.types")
pytest.importorskip("nvidia.cu13", reason="the package nvidia-nvvm is not installed")

from proofcompute.arithmetic.backends.numba_cuda import DeviceArrays, kernels  # noqa: E402
from proofcompute.arithmetic.backends.scalar.rounded import plus, times  # noqa: E402

TESTS = Path(__file__).parents[1]
ARCHITECTURES = [(7, 5), pytest.param((9, 0), marks=pytest.mark.slow), (12, 0)]
"""The oldest and the newest; with --slow one between, for which the compiler is the same."""
ROUNDED = {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32"}
CONVERSIONS = {"cvt.rn.f32.s16", "cvt.rn.f32.s32", "cvt.rn.f32.s64", "cvt.rzi.s32.f32"}
EXACT = re.compile(r"(mov|ld|st|selp|setp|neg|abs|copysign|min|max)\.")
OPERATION = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z][a-z0-9_]*(?:\.[a-z0-9_:]+)*)\s", re.MULTILINE)


def ptx(kernel: Any, arguments: tuple[Any, ...], architecture: tuple[int, int]) -> str:
    text, _ = cuda.compile(kernel, types.void(*arguments), device=False, abi="numba", cc=architecture)
    assert f".target sm_{architecture[0]}{architecture[1]}" in text
    return str(text)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets Numba compile the functions that a kernel calls for a device that is not there."""

    def choose(architecture: tuple[int, int]) -> None:
        device = SimpleNamespace(compute_capability=architecture)
        monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)

    return choose


def test_equals_the_definition_in_the_simulator() -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [sys.executable, "-m", "backends.numba_cuda_simulated"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {method: wrong for method, _, *wrong in rows if wrong} == {}
    compared = {method: int(count) for method, count, *_ in rows}
    assert compared.keys() == {
        "add", "embed", "fold", "gate", "gelu", "project", "project61", "relu", "rms_norm", "settle",
    }  # fmt: skip
    assert min(compared.values()) >= 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_single_rounded_operations(on: Any, architecture: tuple[int, int]) -> None:
    on(architecture)
    found: Counter[str] = Counter()
    for kernel, signatures in kernels.KERNELS.items():
        for arguments in signatures:
            text = ptx(kernel, arguments, architecture)
            assert not re.search(r"\bfma\.|\.ftz|\.approx|\.f64|\.f16|\bcall\b", text), kernel.__name__
            found += Counter(o for o in OPERATION.findall(text) if ".f32" in o and not EXACT.match(o))
    assert set(found) - CONVERSIONS == ROUNDED


def test_what_the_wrappers_are_for(on: Any) -> None:
    """Numba for CUDA fuses plain operators: the check above would see it."""
    on((9, 0))

    def plain(x: Any, y: Any) -> None:
        y[0] = x[0] * x[1] + x[2]

    def wrapped(x: Any, y: Any) -> None:
        y[0] = plus(times(x[0], x[1]), x[2])

    flat = types.Array(types.float32, 1, "C")
    assert "fma.rn.f32" in ptx(plain, (flat, flat), (9, 0))
    assert "fma" not in ptx(wrapped, (flat, flat), (9, 0))


@pytest.mark.skipif(cuda.is_available(), reason="there is a device")
def test_without_a_device_the_error_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match="no CUDA driver or device; use --device cpu"):
        DeviceArrays()
