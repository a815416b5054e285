"""Replaces CuPy and cuBLASLt by stand-ins, for the tests of the device on CuPy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from cuda_rig.fake_cublaslt import FakeCublasLt
from cuda_rig.fake_cupy import fake_cupy
from cuda_rig.fake_streams import Capture, Device, Stream
from proofcompute.arithmetic.backends.cuda import cubins, cupy_device
from proofcompute.arithmetic.backends.cuda.cublaslt import find_cublaslt


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeCublasLt:
    found = FakeCublasLt()
    monkeypatch.setattr(cupy_device, "find_cublaslt", partial(find_cublaslt, load=lambda path: found))
    return found


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch, library: FakeCublasLt) -> Iterator[Any]:
    Device.current = 0
    found = fake_cupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", found)
    monkeypatch.setattr(cubins.Cubins, "get", lambda self, file: file.encode())
    yield found
    assert Capture.active is None
    assert not Stream.current
