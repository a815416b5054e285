"""Tests the backend around the kernels: sources, arguments, and a whole proof on the emulated device."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Callable

import numpy as np
import pytest

import synthetic
from cuda_rig import ROOT, EmulatedDevice, sources, why_not
from kernel_cases.data import draws, floats, int8s, scales
from proofcompute.arithmetic.backends.cuda import FILES, Buffer, CudaKernels, kernel_files, source
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import DeviceError, InputError, LimitError, UnsupportedError

rig = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def test_every_source_is_listed() -> None:
    assert [f"{file}.cu" for file in FILES] == [name for name in sources() if name.endswith(".cu")]


def test_sources_stand_alone() -> None:
    for file in FILES:
        assert "#include" not in source(file)
        assert source(file).count("struct Message {") <= 1
        assert file in set(kernel_files().values())


def test_headers_state_a_contract() -> None:
    for name, text in sources().items():
        head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("//"))
        assert name.endswith(".cuh") or "Launch" in head or "grid" in head, name


def test_a_wheel_holds_the_sources() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"cuda": "proofcompute/arithmetic/backends/cuda/sources"}


def test_without_cupy_or_a_device_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DeviceError, match=r"CuPy is missing; install proofcompute\[cuda12\].*--device cpu"):
        CupyDevice()


def test_a_part_of_a_buffer_stays_inside() -> None:
    whole = Buffer(None, 16, 64)
    part = whole.part(8, 56)
    assert (part.start, part.size) == (24, 56)
    for start, size in ((-1, 4), (0, 65), (60, 5), (0, -1)):
        with pytest.raises(InputError):
            whole.part(start, size)


@rig
def test_arguments_are_checked_before_anything_is_launched() -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    x, eps = floats("normal", 3, 8), np.float32(1e-5)
    keys, s = int8s(4, 2, 4), scales(4, 2)
    calls: dict[str, Callable[[], object]] = {
        "limbs": lambda: kernels.quantise(x, 3),
        "norm": lambda: kernels.rms_norm(x, x[0, :7], eps),
        "layer": lambda: kernels.layer_norm(x, x[0], x[0, :7], eps),
        "factors": lambda: kernels.product(int8s(3, 8), int8s(3, 7)),
        "heads": lambda: kernels.quantise_heads(x, 3),
        "tables": lambda: kernels.rope(x, x[:, :5], x[:, :5], 2, False),
        "halves": lambda: kernels.gate(floats("normal", 3, 7)),
        "summands": lambda: kernels.add(x, x[:2]),
        "embed": lambda: kernels.embed(int8s(3, 8), x[:2, 0].copy()),
        "attention": lambda: kernels.attention(x, keys, s, keys, s, 2, eps, 0),
        "values": lambda: kernels.attention(x, keys, s, keys[:3], s, 0, eps, 0),
        "residues": lambda: kernels.project(int8s(2, 3), np.full((1, 3), 2**31 - 1, dtype=np.uint32)),
        "columns": lambda: kernels.fold(int8s(2, 3), np.zeros((1, 3), dtype=np.uint32)),
        "draws": lambda: kernels.sample(x, np.zeros(3, np.int32), 0, Sampling(), draws(0)),
    }
    accepted = []
    for name, call in calls.items():
        try:
            call()
        except InputError:
            continue
        accepted.append(name)
    assert accepted == []
    with pytest.raises(LimitError):
        kernels.product(np.zeros((1, 32769), np.int8), np.zeros((1, 32769), np.int8))
    with pytest.raises(UnsupportedError):
        kernels.hash_rows("md5", b"", np.zeros((1, 3), np.uint8))
    assert device.launches == []


@rig
@pytest.mark.parametrize("capability", [75, 90])
def test_a_proof_is_the_same_as_on_the_cpu(capability: int) -> None:
    m = synthetic.model()
    request = synthetic.request(m, sampling=synthetic.SAMPLED)
    expected = synthetic.prove(m, request)
    device = EmulatedDevice(capability, 2)
    found = synthetic.prove(m, request, CudaKernels(device))
    assert found.data == expected.data
    assert synthetic.audit(synthetic.key(), found).complete
    fused = {"quantise_normed", "quantise_gated"}
    launched = {name for name, _ in device.launches}
    assert fused | {"attention_softmax", "sample_draw", "sha256_rows"} <= launched
