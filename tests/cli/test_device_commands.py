"""``devices``, ``cubins`` and ``--device`` where there is no CUDA driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from cuda_rig import nvrtc
from proofcompute.arithmetic import devices
from proofcompute.arithmetic.backends.cuda import probe as probing
from proofcompute.arithmetic.backends.cuda.probe import Probe


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = "no NVIDIA driver is installed; install one, or use --device cpu"
    monkeypatch.setattr(probing, "probe", lambda: Probe((), 0, problem))
    monkeypatch.setattr(devices, "_made", {})


def test_devices() -> None:
    found = done("devices")
    assert found["auto"] == "cpu"
    assert [(d["device"], d["usable"]) for d in found["devices"]] == [
        ("cpu", True),
        ("numpy", True),
        ("cuda", False),
    ]
    assert found["devices"][2]["problem"].startswith("no NVIDIA driver is installed")
    text = call("devices").out
    assert "cannot be used: no NVIDIA driver is installed; install one" in text
    assert "auto    is cpu" in text


def test_a_card_says_how_products_of_many_rows_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from proofcompute.arithmetic.backends.cuda import cublaslt

    card = probing.CudaDevice("a card", 90, 1 << 34, "")
    monkeypatch.setattr(probing, "probe", lambda: Probe((card,), 13000, "CuPy is missing"))
    monkeypatch.setattr(cublaslt, "candidates", lambda name: iter(()))
    said = done("devices")["devices"][2]["products"]
    assert said.startswith("own kernels only: no libcublasLt for CUDA 13 or older; install")
    assert f"products of many rows: {said}" in call("devices").out


def test_cuda_fails_and_auto_does_not(files: Files, tmp_path: Path) -> None:
    message = refused("run", files.model, files.request, "-o", tmp_path / "run", "--device", "cuda")
    assert message.startswith("CUDA cannot be used: no NVIDIA driver is installed")
    assert "--device cpu" in message
    identity = ("--identity", files.identity)
    ran = done("run", files.model, files.request, "-o", tmp_path / "run", *identity, "--device", "auto")
    assert (tmp_path / "run" / "receipt").stat().st_size == ran["receipt_bytes"]


@pytest.mark.skipif(bool(nvrtc.why_not()), reason=nvrtc.why_not() or "-")
def test_cubins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proofcompute.arithmetic.backends.cuda import cubins

    monkeypatch.setattr(cubins, "FILES", ("add", "linear_mma"))
    found = done("cubins", "-o", tmp_path / "ahead", "--arch", "sm_75", "--arch", "sm_90")
    assert [name.rsplit("-", 1)[0] for name in found["cubins"]] == [
        "add-sm_75",
        "add-sm_90",
        "linear_mma-sm_90",
    ]
    assert sorted(found["cubins"]) == sorted(p.name for p in (tmp_path / "ahead").iterdir())
    assert "PROOFCOMPUTE_CUBINS=" in call("cubins", "-o", tmp_path / "ahead", "--arch", "sm_90").out


def test_architectures_are_checked(tmp_path: Path) -> None:
    assert "'90' is not an architecture; an example of one is sm_90" in refused(
        "cubins", "-o", tmp_path, "--arch", "90"
    )
    assert "sm_61 is too old" in refused("cubins", "-o", tmp_path, "--arch", "sm_61")
