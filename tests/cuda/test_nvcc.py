"""Tests that nvcc, where it is installed, compiles every ``.cu`` file too, and that nothing spills."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proofcompute.arithmetic.backends.cuda import FILES, source
from proofcompute.arithmetic.backends.cuda.nvrtc import OPTIONS

NVCC = shutil.which("nvcc")
pytestmark = pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
HOT = {"attention", "linear_few", "linear_mma", "quantise", "sha256"}


@pytest.mark.parametrize("file", [f if f in HOT else pytest.param(f, marks=pytest.mark.slow) for f in FILES])
def test_compiles_without_spills(file: str, tmp_path: Path) -> None:
    assert NVCC
    unit, cubin = tmp_path / f"{file}.cu", tmp_path / "cubin"
    unit.write_text(source(file))
    command = [NVCC, "-cubin", "-arch=sm_90", "-Xptxas=-v", *OPTIONS, str(unit), "-o", str(cubin)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert cubin.read_bytes()[:4] == b"\x7fELF"
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", found.stderr)
    assert spills
    assert set(spills) == {("0", "0")}
