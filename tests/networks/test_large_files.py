"""Files that fit into no memory: packed in one reading, with lines about it, and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cuda_rig import ROOT
from networks.test_filecoin import data_of
from proofcompute.networks.filecoin.cids import Cid

pytest.importorskip("dag_cbor")
resource = pytest.importorskip("resource")

MIB = 1 << 20
DRIVER = """
import resource, sys
from proofcompute.cli import main
try:
    main(sys.argv[1:])
except SystemExit as e:
    assert not e.code, e.code
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
"""Runs a command, and then says what memory its process took at most, in KiB."""


@dataclass(frozen=True)
class Ran:
    said: dict[str, Any]
    lines: list[str]
    """Standard error, without the line about memory."""
    peak: int
    """Bytes of memory at most."""


def ran(*words: object) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "network", "filecoin", *map(str, words), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stderr.splitlines()
    return Ran(json.loads(done.stdout), lines, int(last.split()[1]) << 10)


def sparse(path: Path, size: int, pieces: int) -> Path:
    """Make a file of zeros in which ``pieces`` times 1 MiB of data are spread, the last at no even place."""
    with path.open("wb") as stream:
        stream.truncate(size)
        for i in range(pieces):
            stream.seek(i * size // pieces + 7 * i)
            stream.write(data_of(MIB, i))
    return path


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(256 * MIB, 8), pytest.param(10 << 30, 100, marks=pytest.mark.slow)],
    ids=["256 MiB", "10 GiB"],
)
def test_a_model_is_packed_in_one_reading_with_flat_memory(tmp_path: Path, size: int, pieces: int) -> None:
    """It takes hardly more memory than a file of 4 MiB, and a sparse file's CAR is as sparse."""
    small = sparse(tmp_path / "small", 4 * MIB, 1)
    base = ran("pack", small, "-o", tmp_path / "small.car")
    assert base.lines == []
    file, car = sparse(tmp_path / "model", size, pieces), tmp_path / "model.car"
    found = ran("pack", file, "-o", car)
    assert found.lines == [f"proofcompute: reading: {n} %" for n in range(10, 101, 10)]
    assert found.said["bytes"] == size
    assert car.stat().st_size == found.said["car_bytes"] > size
    assert car.stat().st_blocks * 512 < (3 * pieces + 64) * MIB
    checked = ran("check", car, "--cid", found.said["cid"])
    assert Cid.parse(checked.said["cid"]) == Cid.parse(found.said["cid"])
    for each in (found, checked):
        assert each.peak < base.peak + 64 * MIB
    # What a storage provider computes of the CAR is what was said of it while it was written.
    if size < 1 << 30:
        again = ran("pack", car)
        assert again.said["piece_cid"] == found.said["car_piece_cid"]


@pytest.mark.parametrize(
    ("how", "there"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, True)]
)
def test_an_interruption_leaves_files_as_they_were(tmp_path: Path, how: signal.Signals, there: bool) -> None:
    """It comes while the file is read: after the first tenth of a file that takes many seconds."""
    file, folder = sparse(tmp_path / "model", 4 << 30, 1), tmp_path / "folder"
    folder.mkdir()
    car = folder / "model.car"
    if there:
        car.write_bytes(b"another CAR")
    words = ["network", "filecoin", "pack", str(file), "-o", str(car), *(["--force"] if there else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "proofcompute", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "proofcompute: reading: 10 %\n"
        os.kill(running.pid, how)
        running.stderr.read()
    assert running.returncode != 0
    assert [(each.name, each.read_bytes()) for each in folder.iterdir()] == (
        [("model.car", b"another CAR")] if there else []
    )
