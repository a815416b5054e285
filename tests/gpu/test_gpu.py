"""Tests the backend on a real device (``make gpu-test``). All of it also runs without one, on the rig."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu.workload import cases_of, differences, receipts
from kernel_cases import METHODS
from kernel_cases.data import floats
from model.real import english, model, request
from proofcompute.arithmetic.backends.cuda.libraries import nvidia_folders
from proofcompute.arithmetic.devices import device_arrays, kernels_for, survey
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.prover.node import Node

pytestmark = pytest.mark.gpu

TESTS = Path(__file__).parents[1]
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
ON_ARRAYS = ("add", "embed", "fold", "gate", "gelu", "project", "project61", "relu", "rms_norm", "settle")


@cache
def cuda() -> Kernels:
    return kernels_for("cuda")


@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(method: str) -> None:
    assert differences(cuda(), cases_of(method)) == []


def test_the_route_without_tensor_cores() -> None:
    from proofcompute.arithmetic.backends.cuda import CudaKernels
    from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice

    device = CupyDevice()
    device.capability = 75  # this chooses the route; the machine code is the device's own
    assert differences(CudaKernels(device), cases_of("linear")) == []


class OnTheHost:
    """Runs ``DeviceArrays`` and copies its results to the host."""

    def __init__(self) -> None:
        self._arrays = device_arrays()

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._arrays, method)
        return lambda *args: call(*args).copy_to_host()


@pytest.mark.parametrize("method", ON_ARRAYS)
def test_numba_kernels_equal_the_definition(method: str) -> None:
    assert differences(OnTheHost(), cases_of(method)) == []


def test_arrays_of_cupy_are_taken_where_they_are() -> None:
    cupy = pytest.importorskip("cupy")
    x = floats("normal", 5, 8)
    there = cupy.asarray(x)
    for out in (cuda().add(cuda().array(there), cuda().array(there)), device_arrays().add(there, there)):
        assert cupy.asnumpy(cupy.asarray(out)).tobytes() == (x + x).tobytes()


def test_receipts_are_the_cpus() -> None:
    for found, expected in receipts(cuda()):
        assert found == expected


@pytest.mark.model
def test_a_receipt_of_the_real_model_is_the_cpus(smollm2_path: Path) -> None:
    """It has several chunks of prompt, repeated steps, and rows that are hashed meanwhile."""
    m = model(smollm2_path)
    asked = request(m, english(smollm2_path, 300), 100)
    nodes = (Node(m, NodeIdentity(bytes(32)), device=kernels) for kernels in (cuda(), kernels_for("cpu")))
    there, here = (node.answer(asked).receipt for node in nodes)
    assert there == here


@pytest.mark.model
def test_the_demo(smollm2_path: Path) -> None:
    command = [sys.executable, "-m", "proofcompute", "demo", "--quick", "--device", "cuda", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["backend"] == "cuda"


def test_devices_are_listed() -> None:
    found = [report for report in survey() if report.device == "cuda"]
    assert found[0].problem == ""
    assert str(found[0].fields["architecture"]).startswith("sm_")


def sanitizer() -> str | None:
    """Returns the program, from a CUDA toolkit or from NVIDIA's package."""
    packaged = [p for f in nvidia_folders() for p in f.glob("*/compute-sanitizer/compute-sanitizer")]
    return shutil.which("compute-sanitizer") or (str(packaged[0]) if packaged else None)


@pytest.mark.skipif(sanitizer() is None, reason="compute-sanitizer is not installed (extras sanitize12, 13)")
@pytest.mark.parametrize("tool", TOOLS)
def test_compute_sanitizer(tool: str) -> None:
    command = [str(sanitizer()), "--tool", tool, "--error-exitcode", "99"]
    command += [sys.executable, "-m", "gpu.workload"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_subnormals_survive() -> None:
    tiny = np.full((1, 4), 1, dtype=np.uint32).view(np.float32)
    assert np.asarray(cuda().add(tiny, tiny)).view(np.uint32).tolist() == [[2, 2, 2, 2]]
