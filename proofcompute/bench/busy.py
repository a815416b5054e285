"""Measures how much others use the cores during a measurement: other processes, or the host (steal).

Linux counts, for each core, the ticks in which it was busy, and those in which the host of a virtual machine
ran another one. The use by others is the first count less the time of this process and its children. The load
average is no substitute, because it includes what this process did before.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["QUIET", "STOLEN", "Busy", "Watch", "cores", "load"]

QUIET = 0.25
"""The most cores that others may use on a machine that counts as quiet."""
STOLEN = 0.1
"""The most cores that the host may take away from such a machine."""
_SAMPLE = 1.0
"""Seconds that :func:`load` observes."""
_SHORTEST = 0.5
"""The shortest time, in seconds, for which ticks of a hundredth of a second are precise enough."""
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Busy:
    """Mean load over some time, in cores."""

    others: float
    """Cores used by other processes."""
    stolen: float
    """Cores that the host gave to others."""

    @property
    def quiet(self) -> bool:
        """Whether figures that were measured meanwhile count as undisturbed."""
        return self.others <= QUIET and self.stolen <= STOLEN

    def complaint(self, when: str) -> str:
        """Return a warning for people; empty if the machine was quiet."""
        if self.quiet:
            return ""
        host = f", and the host took {self.stolen:.1f} away" if self.stolen > STOLEN else ""
        return (
            f"busy machine: {when}, others used {self.others:.1f} of {cores()} cores{host}. Times are too "
            "long and vary; measure on a quiet machine, or read only ratios within one round"
        )


class Watch:
    """Observes the load by others from its creation on."""

    def __init__(self) -> None:
        self._start = _now()

    def busy(self) -> Busy | None:
        """Return the load since then; None if too little time has passed, or the system does not tell."""
        if self._start is None or (now := _now()) is None:
            return None
        spent = now.clock - self._start.clock
        if spent < _SHORTEST:
            return None
        used, own, stolen = (
            (now.used - self._start.used) / spent,
            (now.own - self._start.own) / spent,
            (now.stolen - self._start.stolen) / spent,
        )
        return Busy(round(max(0.0, used - own), 2), round(max(0.0, stolen), 2))


def load() -> Busy:
    """Return the load while this process sleeps for a second; without /proc/stat, the load average."""
    watch = Watch()
    time.sleep(_SAMPLE)
    found = watch.busy()
    if found is not None:
        return found
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows tells neither
    return Busy(round(average, 2), 0.0)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(_allowed())


@dataclass(frozen=True)
class _Moment:
    """Seconds of the clock, and of processor time since the system started."""

    clock: float
    used: float
    stolen: float
    own: float


def _now() -> _Moment | None:
    used = stolen = 0
    try:
        lines = dict(line.split(" ", 1) for line in _STAT.read_text("ascii").splitlines() if " " in line)
        tick = 1 / os.sysconf("SC_CLK_TCK")
        for core in _allowed():
            # the later columns, for guests, are included in user
            user, nice, system, _idle, _waiting, irq, softirq, steal = map(
                int, lines[f"cpu{core}"].split()[:8]
            )
            used += user + nice + system + irq + softirq
            stolen += steal
    except (OSError, ValueError, KeyError):
        return None
    t = os.times()
    own = t.user + t.system + t.children_user + t.children_system
    return _Moment(time.perf_counter(), used * tick, stolen * tick, own)


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
