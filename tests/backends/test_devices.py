"""Choosing a backend by name, and what is said where CUDA cannot be used."""

from __future__ import annotations

import subprocess
import sys
from ctypes import c_int
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proofcompute.arithmetic import devices
from proofcompute.arithmetic.backends.cuda import probe as probing
from proofcompute.arithmetic.backends.cuda.probe import Probe, probe
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.devices import DEVICES, device_arrays, kernels_for, survey
from proofcompute.errors import DeviceError

NO_DRIVER = "no NVIDIA driver is installed; install one, or use --device cpu"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend has been made."""
    monkeypatch.setattr(devices, "_made", {})


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr(probing, "probe", lambda: Probe((), 0, NO_DRIVER))


@dataclass
class Driver:
    """As much of the CUDA Driver API as is asked of it."""

    capabilities: tuple[tuple[int, int], ...] = ((9, 0),)
    version: int = 13000
    wrong: int = 0

    def cuInit(self, flags: int) -> int:
        return self.wrong

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.capabilities)
        return 0

    def cuDeviceGet(self, handle: Any, ordinal: int) -> int:
        handle._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: c_int) -> int:
        name.value = f"Device {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, handle: c_int) -> int:
        memory._obj.value = 80 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, handle: c_int) -> int:
        value._obj.value = self.capabilities[handle.value][attribute - 75]
        return 0


def asked(driver: Driver | None = None, cupy: bool = True) -> Probe:
    def load(name: str) -> Any:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError("cannot open shared object file")
        return driver

    return probe(load, lambda package: package if cupy else None)


def test_a_device_that_can_be_used() -> None:
    found = asked(Driver(((9, 0), (7, 5))))
    assert (found.problem, found.driver) == ("", 13000)
    assert [(d.name, d.capability, d.memory, d.problem) for d in found.devices] == [
        ("Device 0", 90, 80 << 30, ""),
        ("Device 1", 75, 80 << 30, ""),
    ]


def test_what_is_missing() -> None:
    assert asked(None).problem == NO_DRIVER
    assert "finds no device (none is visible); see nvidia-smi" in asked(Driver(())).problem
    assert "finds no device (CUDA error 100)" in asked(Driver(wrong=100)).problem
    assert "for CUDA 11.4; install one for 12.0 or later" in asked(Driver(version=11040)).problem
    assert "CuPy is missing; install proofcompute[cuda13]" in asked(Driver(), cupy=False).problem
    assert "install proofcompute[cuda12]" in asked(Driver(version=12080), cupy=False).problem
    old = asked(Driver(((6, 1), (8, 6))))
    assert "sm_61 is too old, sm_75 is needed; use another device" in old.why_not([0])
    assert old.why_not([1]) == ""
    assert old.why_not([1, 0]) == old.why_not([0])
    assert old.why_not([1, 2]) == "there is no device 2, only 2; see: proofcompute devices"
    assert asked(None).why_not([3]) == NO_DRIVER


def test_names(no_driver: None) -> None:
    assert kernels_for("auto") is kernels_for("cpu") is kernels_for("auto")
    assert kernels_for("cpu").name == "numba"
    assert kernels_for("numpy").name == "numpy"


def test_everything_offered_is_known() -> None:
    for device in DEVICES:
        if device != "cuda":
            assert kernels_for(device).name


@pytest.mark.parametrize("device", ["tpu", "", "CPU", "cpu:1", "cuda:", "cuda:x", "cuda:0,0", "auto:1"])
def test_unknown_names(device: str) -> None:
    with pytest.raises(DeviceError, match="unknown device"):
        kernels_for(device)


def test_cuda_says_what_is_missing(no_driver: None) -> None:
    with pytest.raises(DeviceError, match=r"CUDA cannot be used: no NVIDIA driver.*--device cpu"):
        kernels_for("cuda")


def test_auto_is_cuda_where_that_can_be_used(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(device: str, ordinals: list[int]) -> NumpyKernels:
        assert ordinals == [0]
        made.append(device)
        return NumpyKernels()

    monkeypatch.setattr(devices, "_make", make)
    assert kernels_for("auto") is kernels_for("cuda") is kernels_for("auto") is kernels_for("cuda:0")
    assert made == ["cuda"]


def test_survey_without_a_driver(no_driver: None) -> None:
    reports = {report.device: report for report in survey()}
    assert list(reports) == ["cpu", "numpy", "cuda"]
    assert not reports["cpu"].problem
    assert not reports["numpy"].problem
    assert reports["cuda"].problem == NO_DRIVER
    assert reports["cuda"].fields == {"driver": 0}


def test_survey_names_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "probe", lambda: asked(Driver(((9, 0), (6, 1))), cupy=False))
    first, second = survey()[2:]
    assert (first.device, second.device) == ("cuda", "cuda:1")
    assert first.description == "Device 0, sm_90, 80 GiB"
    assert "CuPy is missing" in first.problem
    assert second.problem == first.problem
    assert first.fields["architecture"] == "sm_90"
    assert second.fields["ordinal"] == 1


def test_arrays_on_a_device_need_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proofcompute.arithmetic.backends.numba_cuda", None)
    with pytest.raises(DeviceError, match=r"numba-cuda cannot be loaded.*proofcompute\[cuda12\]"):
        device_arrays()


def test_compiler_switched_off() -> None:
    code = (
        "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'\n"
        "from proofcompute import DeviceError, kernels_for\n"
        "try: kernels_for('cpu')\n"
        "except DeviceError as error: assert '--device numpy' in str(error)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
