"""Numba told to generate code for another processor: the same bytes or a refusal, not the end of LLVM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import synthetic
from proofcompute.arithmetic.backends.numba.codegen import target
from proofcompute.arithmetic.backends.numba.codegen.levels import level_named, levels_for, processor_flags

TESTS = Path(__file__).resolve().parents[1]
# Whatever is special to a processor is in here: attention, products, hints and their packing, hashing.
PROGRAM = """
import synthetic
from proofcompute.arithmetic.backends.numba import NumbaKernels
synthetic.KERNELS = k = NumbaKernels()
m = synthetic.model()
run = synthetic.prove(m, synthetic.request(m, prompt="Hello, world, of many rows" * 2), k)
synthetic.audit(synthetic.key(), run)
print(run.receipt.trace_root.hex())
"""
# Products whose inner loops are others where bytes cannot be multiplied as they are.
PRODUCTS = """
from kernel_cases import CASES, outcome
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.codegen.shapes import BYTES, WIDE_REGISTERS
from proofcompute.arithmetic.definition import NumpyKernels
fast, slow = NumbaKernels(), NumpyKernels()
cases = [case for case in CASES if case.method in ("linear_through", "contract")]
different = [str(case) for case in cases if outcome(fast, case) != outcome(slow, case)]
print(BYTES, WIDE_REGISTERS, len(cases), different)
"""


def started(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    path = f"{TESTS}:{TESTS.parent}"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": path, **settings},
    )


@pytest.fixture(scope="module")
def root() -> str:
    m = synthetic.model()
    run = synthetic.prove(m, synthetic.request(m, prompt="Hello, world, of many rows" * 2))
    return run.receipt.trace_root.hex()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"NUMBA_CPU_NAME": "generic"}, marks=pytest.mark.slow),
        pytest.param(
            {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, marks=pytest.mark.slow
        ),
        pytest.param({"NUMBA_CPU_FEATURES": "+avx512vnni,-avx512f"}, marks=pytest.mark.slow),
        pytest.param({"NUMBA_ENABLE_AVX": "0"}, marks=pytest.mark.slow),
        pytest.param({"NUMBA_OPT": "0"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_same_root_for_any_target(settings: dict[str, str], root: str) -> None:
    lacking = [f for f in ("avx2", "fma", "avx512vnni") if f"+{f}" in str(settings) and not target.has(f)]
    if lacking:
        pytest.skip(f"this processor has no {', '.join(lacking)}")
    done = started(PROGRAM, **settings)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.strip() == root


def test_products_are_equal_on_wide_registers_without_an_instruction_for_bytes() -> None:
    level = level_named("x86-64-v4")
    if level not in levels_for(processor_flags()):
        pytest.skip(f"this processor is not {level.name}")
    _, name, features = level.target
    done = started(PRODUCTS, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    assert done.returncode == 0, done.stderr[-1000:]
    byte, wide, count, different = done.stdout.split(maxsplit=3)
    assert (byte, wide, different.strip()) == ("False", "True", "[]")
    assert int(count) > 100


def test_a_feature_that_the_processor_lacks_is_refused_in_words() -> None:
    code = "import proofcompute as pc; pc.kernels_for('cpu')"
    done = started(code, NUMBA_CPU_FEATURES="+avx9000")
    assert done.returncode == 1
    assert "DeviceError: Numba is told to use avx9000, which this processor does not have" in done.stderr


def test_another_target_in_the_middle_is_refused_in_words() -> None:
    code = """
import os
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import cache
from proofcompute.arithmetic.backends.numba.codegen import target
from proofcompute.arithmetic.backends.numba.codegen.levels import level_named, levels_for, processor_flags
NumbaKernels()
os.environ["NUMBA_CPU_NAME"] = "generic"
from proofcompute.arithmetic.backends.numba.codegen import signatures as types
cache.load(lambda a: None, (types.void(types.int64),), None)
"""
    done = started(code)
    assert done.returncode == 1
    assert "DeviceError: Numba now generates code for another processor" in done.stderr


@pytest.mark.parametrize(
    ("features", "feature", "expected"),
    [
        ("+avx2,+avx512f,+avx512vnni", "avx512vnni", True),
        ("+avx2,+avx512f", "avx512vnni", False),
        ("", "avx2", False),
        ("+avx2,-avx2", "avx2", False),
        ("-avx2, +avx2", "avx2", True),
        ("+avx512vnni,-avx512f", "avx512vnni", False),
        ("+avx512vnni,-avx", "avx512vnni", False),
        ("+avx2,-avx512f", "avx2", True),
        ("+avx512f,-fma", "avx512f", False),
        ("+avx512bw", "avx512bw", True),
    ],
)
def test_what_a_list_of_features_allows(features: str, feature: str, expected: bool) -> None:
    assert target._has(features, feature) is expected


def test_the_default_is_the_processor_at_hand() -> None:
    code = """
from llvmlite import binding
from proofcompute.arithmetic.backends.numba.codegen import target
from proofcompute.arithmetic.backends.numba.codegen.levels import level_named, levels_for, processor_flags
host = binding.get_host_cpu_features()
for feature in ("avx2", "avx512f", "avx512bw", "avx512vnni"):
    assert target.has(feature) == bool(host.get(feature, False)), feature
import sys
assert "numba" not in sys.modules
"""
    done = started(code)
    assert done.returncode == 0, done.stderr
