"""Whether others use the cores that something is measured on: other processes, or the host itself (steal).

Linux counts, for each core, the ticks in which it ran something, and those in which the host of a virtual
machine ran somebody else. What others used while this process measured is the first, less what this process
and its children used themselves. The load average would not do: it holds what this process did before.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["QUIET", "STOLEN", "Busy", "Watch", "cores", "load"]

QUIET = 0.25
"""Cores kept busy by others up to which a machine counts as quiet."""
STOLEN = 0.1
"""Cores taken away by the host up to which it does."""
_SAMPLE = 1.0
"""Seconds that :func:`load` looks on."""
_SHORTEST = 0.5
"""Seconds below which ticks of a hundredth of a second say too little."""
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Busy:
    """Mean over some time, in cores."""

    others: float
    """Used by other processes."""
    stolen: float
    """Given to others by the host."""

    @property
    def quiet(self) -> bool:
        """Whether figures measured meanwhile count as undisturbed."""
        return self.others <= QUIET and self.stolen <= STOLEN

    def complaint(self, when: str) -> str:
        """What to tell people; empty if it was quiet."""
        if self.quiet:
            return ""
        host = f", and the host took {self.stolen:.1f} away" if self.stolen > STOLEN else ""
        return (
            f"busy machine: {when}, others used {self.others:.1f} of {cores()} cores{host}. Times come out "
            "too long and spread wide; measure on a quiet machine, or read only ratios within one round"
        )


class Watch:
    """Looks at what others use from its making on."""

    def __init__(self) -> None:
        self._start = _now()

    def busy(self) -> Busy | None:
        """What others have used since; None if too little time has passed, or if this system does not say."""
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
    """What others use while this process sleeps for a second; without /proc/stat, the load average."""
    watch = Watch()
    time.sleep(_SAMPLE)
    found = watch.busy()
    if found is not None:
        return found
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows tells neither
    return Busy(round(average, 2), 0.0)


def cores() -> int:
    """Cores that this process may use."""
    return len(_allowed())


@dataclass(frozen=True)
class _Moment:
    """Seconds by the clock, and of processor time since the system started."""

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
            # guests, which come after these, are counted in user already
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
