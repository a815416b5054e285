"""Choosing a backend by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proofcompute.devices import DEVICES, kernels_for
from proofcompute.errors import DeviceError


def test_names() -> None:
    assert kernels_for("auto").name == kernels_for("cpu").name == "numba"
    assert kernels_for("numpy").name == "numpy"
    assert kernels_for("auto") is kernels_for("cpu")


@pytest.mark.parametrize(
    "device", ["cuda", "cuda:0,1", "cuda:", "cuda:x", "cuda:-1", "cuda:0,0", "cpu:1", "tpu", "", "CPU"]
)
def test_refused(device: str) -> None:
    with pytest.raises(DeviceError) as error:
        kernels_for(device)
    assert "cpu" in str(error.value)


def test_everything_offered_is_known() -> None:
    for device in DEVICES:
        if device != "cuda":
            assert kernels_for(device).name


def test_compiler_switched_off() -> None:
    code = (
        "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'\n"
        "from proofcompute.devices import kernels_for; from proofcompute.errors import DeviceError\n"
        "try: kernels_for('cpu')\n"
        "except DeviceError as error: assert '--device numpy' in str(error)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
