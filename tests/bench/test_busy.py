"""What others use of the machine: measured, warned of, and kept in the results."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.stub import Stub
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench import Results, Settings, busy, measure
from proofcompute.bench.busy import Busy, Watch
from proofcompute.bench.machine import machine

KERNELS = kernels_for("numpy")
ONE = Settings(sizes=("tiny",), precisions=("w8a8",), sections=("sizes",), rounds=1, quick=True)


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    return Stub(monkeypatch)


class System:
    """Stands in for the system's counters: an idle process beside a load of other ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: float, stolen: float) -> None:
        self.others, self.stolen, self.clock = others, stolen, 0.0
        monkeypatch.setattr(busy, "_now", self.now)

    def now(self) -> busy._Moment:
        self.clock += 10.0
        own = 1.5 * self.clock
        return busy._Moment(self.clock, self.others * self.clock + own, self.stolen * self.clock, own)


def measured(warnings: list[str]) -> Results:
    return measure(ONE, KERNELS, "a command", warn=warnings.append)


def test_a_load_of_others_is_warned_of_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch, others=1.25, stolen=0.0)
    warnings: list[str] = []
    results = measured(warnings)
    (text,) = warnings  # one a run, however many steps
    assert text.startswith("busy machine: during size tiny w8a8, others used 1.2 of ")
    assert results.load.during == 1.25
    assert results.steps[0].others == 1.25
    assert results.load.around == 0.0


def test_a_load_before_the_start_is_warned_of_first(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch, others=0.0, stolen=0.0)
    monkeypatch.setattr("proofcompute.bench.runner.load", lambda: Busy(0.9, 0.0))
    warnings: list[str] = []
    results = measured(warnings)
    assert [w.split(",")[0] for w in warnings] == ["busy machine: right before the start"]
    assert (results.load.around, results.load.during) == (0.9, 0.0)


def test_time_that_the_host_takes_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch, others=0.0, stolen=0.5)
    warnings: list[str] = []
    results = measured(warnings)
    assert "the host took 0.5 away" in warnings[0]
    assert results.load.stolen == results.steps[0].stolen == 0.5


def test_a_quiet_machine_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    System(monkeypatch, others=0.1, stolen=0.02)
    warnings: list[str] = []
    assert measured(warnings).load.during == 0.1
    assert warnings == []


def test_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """From counters as Linux writes them: of 3 s used on two cores in 2 s, 2.2 s were this process's."""
    moments = iter([(0, 0.0), (100, 2.0)])
    folder_line = "cpu  1 1 1 1 1 1 1 1 0 0\n"

    def text(n: int) -> str:
        cores = "".join(f"cpu{i} {n} {n // 4} {n // 4} 7 9 0 0 {n // 10} 5 5\n" for i in range(2))
        return folder_line + cores

    class Stat:
        def read_text(self, _: str) -> str:
            n, self.clock = next(moments)
            monkeypatch.setattr(time, "perf_counter", lambda: self.clock)
            times = os.times_result((1.1 * self.clock, 0.0, 0.0, 0.0, 0.0))
            monkeypatch.setattr(os, "times", lambda: times)
            return text(n)

    monkeypatch.setattr(busy, "_STAT", Stat())
    monkeypatch.setattr(busy, "_allowed", lambda: [0, 1])
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    found = Watch().busy()
    assert found == Busy(others=round((3.0 - 2.2) / 2.0, 2), stolen=0.1)


def test_too_short_a_time_says_nothing() -> None:
    assert Watch().busy() is None


@pytest.mark.parametrize("text", ["", "cpu0 1 2 3\n", "cpu0 a b c d e f g h\n"])
def test_a_system_that_does_not_say(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text(text)
    for path in (stat, tmp_path / "absent"):
        monkeypatch.setattr(busy, "_STAT", path)
        monkeypatch.setattr(busy, "_allowed", lambda: [0])
        assert Watch().busy() is None
    monkeypatch.setattr(busy, "_SAMPLE", 0.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert busy.load() == Busy(1.5, 0.0)
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.delattr(os, "sysconf")
    assert busy.load() == Busy(0.0, 0.0)
    assert machine(KERNELS).memory_gib == 0.0
