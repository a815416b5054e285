"""Tries the faults of ``make gpu-day`` on the stand-in for CuPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.day import faults
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from cuda_rig import why_not
from proofcompute.arithmetic.backends.cuda import probe

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.mark.parametrize("check", [faults._spoilt, faults._many_checks, faults._uploads, faults._unpooled])
def test_faults(cupy: Any, tmp_path: Path, check: Any) -> None:
    found = Findings(tmp_path / "findings.jsonl", "faults")
    check(found, Settings("cuda", True, tmp_path))
    assert found.bad == 0
    assert (tmp_path / "findings.jsonl").read_text()


@pytest.mark.parametrize("count", [1, 2])
def test_devices(cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    device = probe.CudaDevice("a card", 90, 1 << 30, "")
    monkeypatch.setattr(probe, "probe", lambda: probe.Probe((device,) * count, 13000, ""))
    found = Findings(tmp_path / "findings.jsonl", "faults")
    faults._devices(found, Settings("cuda", True, tmp_path))
    (row,) = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert (row["what"], row["bad"]) == (
        "two devices" if count == 2 else "one device: nothing is spread",
        False,
    )
