"""Tests that every kernel compiles for every architecture, and that the machine code is canonical.

They need the packages nvidia-cuda-nvrtc and nvidia-cuda-nvdisasm, but no device. ``python -m cuda_rig.pin``
(with ``tests`` on the path) writes the pinned numbers anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cuda_rig import nvrtc
from cuda_rig.pin import ARCHITECTURES, PINNED, files_for, measure_instructions, measure_use, ptx_operations
from kernel_cases import CASES
from proofcompute.arithmetic.backends.cuda import kernel_files
from proofcompute.arithmetic.backends.cuda.expressions import written
from proofcompute.arithmetic.backends.cuda.sources import generate
from proofcompute.errors import ExecutionError

pytestmark = pytest.mark.skipif(bool(nvrtc.why_not()), reason=nvrtc.why_not() or "-")
disassembled = pytest.mark.skipif(
    bool(nvrtc.why_no_disassembler()), reason=nvrtc.why_no_disassembler() or "-"
)

ROUNDED = {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32"}
CONVERSIONS = {"cvt.rn.f32.s16", "cvt.rn.f32.s32", "cvt.rn.f32.s64", "cvt.rni.s32.f32", "cvt.rni.s64.f32"}
EXACT = re.compile(r"(mov|ld|st|selp|setp|neg|abs|copysign|min|max)\.")
"""Operations on floating point that do not round."""


@pytest.fixture(scope="module")
def pinned() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PINNED.read_text())
    assert tuple(found["nvrtc"]) == nvrtc.version(), "another compiler: pin its numbers"
    return found


def test_all_kernels_are_compiled() -> None:
    used = {a: {k for file in files_for(a) for k in nvrtc.compiled(file, a).used} for a in ARCHITECTURES}
    everything = set(kernel_files())
    assert used == {a: everything - ({"linear_mma"} if a < 80 else set()) for a in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_single_rounded_operations(architecture: int) -> None:
    found = {file: ptx_operations(file, architecture) for file in files_for(architecture)}
    arithmetic = {
        file: sorted(o for o in operations if not EXACT.match(o)) for file, operations in found.items()
    }
    wrong = {file: sorted(set(o) - ROUNDED - CONVERSIONS) for file, o in arithmetic.items()}
    assert {file: o for file, o in wrong.items() if o} == {}
    assert set().union(*arithmetic.values()) >= ROUNDED
    for file in files_for(architecture):
        ptx = nvrtc.compiled(file, architecture).ptx
        assert not re.search(r"\bfma\.|\.ftz|\.approx|\.f64|\.f16", ptx), file


def test_kernels_written_for_expressions_round_once() -> None:
    """Every expression of the cases, which have every function of every type."""
    found: dict[str, set[str]] = {}
    for case in CASES:
        if case.method == "evaluate" and case.raises in (None, ExecutionError):
            name, text = written(case.build()[0])
            generate(name, text)
            found[name] = set()
    for name in found:
        operations = {o for o in ptx_operations(name, 90) if not EXACT.match(o)}
        assert operations <= ROUNDED | CONVERSIONS, name
        assert not re.search(r"\bfma\.|\.ftz|\.approx|\.f64|\.f16", nvrtc.compiled(name, 90).ptx), name
        found[name] = operations
    assert set().union(*found.values()) >= ROUNDED | (CONVERSIONS - {"cvt.rn.f32.s16"})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_shared_memory_and_spills(architecture: int, pinned: dict[str, Any]) -> None:
    use = measure_use(architecture)
    assert use == pinned[f"use-{architecture}"]
    assert not {kernel for kernel, used in use.items() if used["spills"] or used["stack"]}
    assert max(used["shared"] for used in use.values()) <= 48 * 1024


@disassembled
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_few_rows_have_loads_of_weights_on_their_way(architecture: int, tmp_path: Path) -> None:
    """Loads are of 16 bytes; for most numbers of rows and limbs four of them precede the first product."""
    codes = nvrtc.disassembly("linear_few", architecture, tmp_path)["linear_few"]
    ahead, found = 0, []
    for code in codes:
        if code.startswith("LDG") and ".EF." in code:  # a load of weights, which need not stay in the cache
            assert ".128" in code
            ahead += 1
        elif code.startswith("IDP") and ahead:
            found.append(ahead)
            ahead = 0
    assert sum(found) == 56
    assert sum(count >= 4 for count in found) >= 10


@disassembled
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_machine_code(architecture: int, pinned: dict[str, Any]) -> None:
    """Fused multiply-adds occur only where the PTX divides or takes a root, and tensor cores are used."""
    code = measure_instructions(architecture)
    assert code == pinned[f"instructions-{architecture}"]
    for kernel, counts in code.items():
        assert set(counts) <= {"FFMA", "UFFMA", "IMMA"}
        if counts.keys() & {"FFMA", "UFFMA"}:
            operations = ptx_operations(kernel_files()[kernel], architecture)
            assert operations["div.rn.f32"] + operations["sqrt.rn.f32"] > 0, kernel
        assert ("IMMA" in counts) == (kernel == "linear_mma")
