"""Estimates the least time of launches on a device, and what bounds it.

Every launch takes at least the longest of

- ``FLOOR``, what a kernel takes from the end of the one before when a graph is replayed, however little it
  does (an assumption; a kernel of 2.9 us took 3.4 us in NVIDIA's "Getting Started with CUDA Graphs", 2019);
- its bytes over the published bandwidth;
- its int8 operations over the published rate;
- for a hash, what one thread takes for its row, chunk or branch of a tree: ``LATENCY`` cycles for each
  instruction if each waits for the one before (Jia et al., arXiv:1804.06826), ``ISSUE`` if none does: a
  scheduler has a quarter of the lanes, so a warp's operation takes two cycles;
- for a hash, all instructions over ``LANES`` a cycle and multiprocessor (CUDA C++ Programming Guide, rates
  of 32-bit integer operations for compute capabilities 8.0, 8.9 and 9.0).

What hashing beside other work takes from it lies between two bounds. At most: its bytes, or its share of the
integer lanes, as if the other work needed them all. At least: its bytes only. Multiprocessors have lanes for
integers apart from tensor cores and memory units ("NVIDIA A100 Tensor Core GPU Architecture", 2020, the
multiprocessor's figure; "Turing Tuning Guide", NVIDIA, 2020, section 1.4.1; on Ada they are half of the lanes
of float operations), and products and reading memory are what the other work is bound by. Nobody has
measured here how near either bound is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.cost.counts import Cost, chain, cost
from benchmarks.cost.device import Launched, Mark
from benchmarks.cost.runs import Commitment
from benchmarks.cost.shapes import Gpu

__all__ = ["Overhead", "Time", "duration", "fits", "followed", "overhead"]

FLOOR: Final = 2e-6
LATENCY: Final = 4
ISSUE: Final = 2
LANES: Final = 64
_MAIN: Final = 0
"""The stream of the model's own operations."""


@dataclass(frozen=True)
class Time:
    """Seconds, and the part of them that each bound causes."""

    seconds: float = 0.0
    bounds: Counter[str] = field(default_factory=Counter)

    @property
    def bottleneck(self) -> str:
        """The bound that causes most of the time."""
        return max(self.bounds, key=lambda name: self.bounds[name])


def _rate(c: Cost, gpu: Gpu) -> float:
    """Return the seconds of hashing if every lane is busy."""
    return c.instructions / (LANES * gpu.processors * gpu.clock)


def _bounds(launched: Launched, c: Cost, gpu: Gpu, cycles: int) -> dict[str, float]:
    found = {
        "launches": FLOOR,
        "memory": c.moved / gpu.bandwidth,
        "tensor cores": 2 * c.products / gpu.int8,
    }
    if c.compressions:
        found["one thread's hash"] = chain(launched) * cycles / gpu.clock
        found["hashing"] = _rate(c, gpu)
    return found


def duration(launches: Iterable[Launched], gpu: Gpu, context: int, cycles: int = LATENCY) -> Time:
    """Return the time of consecutive launches; a hashing thread takes ``cycles`` per instruction."""
    seconds, bounds = 0.0, Counter[str]()
    for launched in launches:
        found = _bounds(launched, cost(launched, context), gpu, cycles)
        name = max(found, key=lambda bound: found[bound])
        seconds += found[name]
        bounds[name] += found[name]  # type: ignore[assignment]
    return Time(seconds, bounds)


@dataclass(frozen=True)
class Overhead:
    """Seconds that committing adds."""

    shared: float
    """Seconds taken from computation that runs meanwhile."""
    exposed: float
    """Seconds in which nothing else of the request runs."""
    hidden: float
    """Seconds taken from computation if other requests keep the device busy to the end."""

    @property
    def alone(self) -> float:
        """The seconds for a request that is alone on the device."""
        return self.shared + self.exposed


def _taken(launched: Launched, gpu: Gpu, *, least: bool) -> float:
    """Return the seconds that a launch takes from others that run beside it."""
    c = cost(launched, 0)
    return max(c.moved / gpu.bandwidth, 0.0 if least else _rate(c, gpu))


def overhead(commitment: Commitment, compute: Sequence[float], gpu: Gpu) -> Overhead:
    """Return the overhead; ``compute`` is the main stream's seconds beside each part of the hashing."""
    shared = exposed = hidden = 0.0
    for launches, meanwhile in zip(commitment.beside, compute, strict=True):
        mine = duration(launches, gpu, 0).seconds
        taken = sum(_taken(x, gpu, least=False) for x in launches)
        share = min(1.0, meanwhile / mine)
        shared += share * taken
        exposed += (1 - share) * mine
        hidden += taken
    exposed += duration(commitment.after, gpu, 0).seconds
    return Overhead(shared, exposed, hidden + sum(_taken(x, gpu, least=False) for x in commitment.after))


def followed(timeline: Sequence[Launched | Mark], gpu: Gpu, *, least: bool = False) -> Overhead:
    """Return the time of a request, given all its launches and events in the order of their queueing.

    A stream continues when its last launch is done and the events for which it waits have occurred.
    """
    cycles = ISSUE if least else LATENCY
    main = duration((x for x in timeline if isinstance(x, Launched) and x.stream == _MAIN), gpu, 0).seconds
    clock: dict[int, float] = {}
    events: dict[int, float] = {}
    shared = hidden = 0.0
    for x in timeline:
        now = clock.get(x.stream, 0.0)
        if isinstance(x, Mark):
            if x.waits:
                clock[x.stream] = max(now, events[x.event])
            else:
                events[x.event] = now
            continue
        clock[x.stream] = now + duration([x], gpu, 0, cycles).seconds
        if x.stream != _MAIN:
            taken = _taken(x, gpu, least=least)
            hidden += taken
            shared += taken if now < main else 0.0
    return Overhead(shared, max(clock.values()) - main, hidden)


def fits(weights: int, gpu: Gpu) -> bool:
    """Return whether the weights leave a tenth of the memory for everything else."""
    return weights < 0.9 * gpu.memory
