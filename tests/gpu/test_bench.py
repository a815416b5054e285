"""Tests ``make gpu-bench`` without a GPU: tiny sizes, another backend, a stand-in for cuBLAS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import synthetic
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.kernels import QUICK
from cuda_rig import EmulatedDevice, why_not
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Session

UNITS = {"hashing": "GB/s", "product": "TOPS", "Freivalds": "GB/s", "commit": "%"}


class Small:
    """Runs the benchmark on the synthetic model."""

    def __init__(self, kernels: Kernels) -> None:
        self.node = synthetic.node(synthetic.model(), kernels)

    def run(self, prompt: int, count: int) -> Session:
        return self.node.run(synthetic.request(self.node.model, "x" * prompt, max_tokens=count))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bench)")
    out, picture = tmp_path / "new" / "bench.json", tmp_path / "bench.png"
    options = ["--device", "numpy", "--quick", "-o", str(out), "--plot", str(picture)]
    assert gpu.main(options, lambda: Small(synthetic.KERNELS)) == 0
    report = json.loads(out.read_text())
    assert report["format"] == 1
    rows = {row["name"]: row for row in report["measurements"]}
    assert len(rows) == len(report["measurements"]) == 14
    assert {"prefill at batch 1", "decode at batch 1", "commit overhead, decode"} <= rows.keys()
    for name, row in rows.items():
        assert row["unit"] == UNITS.get(name.split()[0].rstrip(","), row["unit"]), name
        assert row["value"] > 0 or row["unit"] == "%"
    where = report["environment"]
    assert where["packages"]["proofcompute"]
    assert {d["device"] for d in where["devices"]} >= {"cpu", "numpy", "cuda"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "hashing, sha256" in capsys.readouterr().out


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_measures_on_the_emulated_device() -> None:
    kernels = CudaKernels(EmulatedDevice(blas=True))
    names = [m.name for m in gpu.measure(kernels, QUICK, lambda: Small(kernels))]
    assert len(names) == len(set(names)) == 15
    assert "product, cuBLASLt" in names


def test_without_a_device_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from proofcompute.arithmetic.backends.cuda import probe as probing

    monkeypatch.setattr(probing, "probe", lambda: probing.Probe((), 0, "no driver"))
    assert gpu.main(["-o", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().out == "cannot measure: CUDA cannot be used: no driver\n"
    assert not (tmp_path / "x.json").exists()
    assert gpu.main(["--cuda"]) == 2
    assert capsys.readouterr().err == "nothing to measure or test: no driver\n"
    device = probing.CudaDevice("a", 90, 0, "")
    for version, cuda in ((12080, "12"), (13000, "13")):
        monkeypatch.setattr(probing, "probe", lambda v=version: probing.Probe((device,), v, ""))
        assert gpu.main(["--cuda"]) == 0
        assert capsys.readouterr().out == f"{cuda}\n"
