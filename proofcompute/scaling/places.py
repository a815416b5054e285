"""Name the place where an actor works: a device, and cores that it has for itself.

``cpu@0-3`` is the CPU's backend on cores 0 to 3, ``cuda:1@4,5`` the second CUDA device with two cores beside
it, and ``cpu`` alone leaves the cores to the system. A process is pinned to the cores that are named. On a
cluster nobody knows which machine an actor comes to, so there the cores and GPUs are counted: Ray keeps as
many free, the backend takes as many threads, and the GPUs are those that Ray gives to the actor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import InputError

__all__ = ["Place"]

_MOST_CORES: Final = 4096


@dataclass(frozen=True)
class Place:
    """A device, and cores."""

    device: str
    """A name for :func:`proofcompute.kernels_for`, or a number, which stands for no device in particular."""
    cores: tuple[int, ...] = ()
    """The cores of its own, in ascending order; none: any."""

    @staticmethod
    def parse(text: str) -> Place:
        """Read a place. Raises InputError if its cores are no numbers and ranges in ascending order."""
        device, at, said = text.partition("@")
        cores: list[int] = []
        for part in said.split(",") if at else ():
            first, dash, last = part.partition("-")
            ends = (first, last) if dash else (first, first)
            if not all(
                end.isascii() and end.isdecimal() and len(end) <= len(str(_MOST_CORES)) for end in ends
            ):
                raise InputError(f"{text!r} names no cores; write cpu@0-3 or cpu@0,2")
            a, b = (int(end) for end in ends)
            if not (cores[-1] if cores else -1) < a <= b < _MOST_CORES:
                raise InputError(f"the cores of {text!r} are not in ascending order below {_MOST_CORES}")
            cores.extend(range(a, b + 1))
        if not device:
            raise InputError(f"{text!r} names no device")
        return Place(device, tuple(cores))

    @property
    def gpus(self) -> int:
        """The number of CUDA devices."""
        kind, _, numbers = self.device.partition(":")
        return numbers.count(",") + 1 if kind == "cuda" else 0

    def pin(self) -> str:
        """Keep this process to the cores, if any are named, and return the device.

        It must come before a backend is made, which takes a thread for each core. Raises InputError if this
        process has no such core, or the system cannot pin it.
        """
        if self.cores:
            if not hasattr(os, "sched_setaffinity"):
                raise InputError("this system cannot keep a process to some cores; name the device alone")
            if missing := set(self.cores) - os.sched_getaffinity(0):
                raise InputError(f"this process has no core {min(missing)}")
            os.sched_setaffinity(0, self.cores)
        return self.device

    def count(self) -> str:
        """Take a thread for each core that is named, and return the device among those that are seen."""
        if self.cores:
            os.environ["NUMBA_NUM_THREADS"] = str(len(self.cores))
        return "cuda:" + ",".join(map(str, range(self.gpus))) if self.gpus else self.device
