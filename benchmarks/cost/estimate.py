"""The least time of launches on a device, and what bounds it.

Every launch takes at least the longest of

- ``FLOOR``, what a kernel takes from the end of the one before when a graph is replayed, however little it
  does (an assumption; a kernel of 2.9 us took 3.4 us in NVIDIA's "Getting Started with CUDA Graphs", 2019);
- its bytes over the published bandwidth;
- its int8 operations over the published rate;
- for a hash, what one thread takes for its row or chunk, ``LATENCY`` cycles for each instruction (dependent
  integer operations: Jia et al., arXiv:1804.06826; independent ones are issued up to twice as fast);
- for a hash, all instructions over ``LANES`` a cycle and multiprocessor (CUDA C++ Programming Guide, rates
  of 32-bit integer operations for compute capabilities 8.0, 8.9 and 9.0).

``linear_mma`` walks along its weights once for each limb of the rows. Where the tiles of all blocks together
do not stay in the second-level cache, every further pass comes from memory again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.cost.counts import Cost, chain, cost, named, total
from benchmarks.cost.device import Launched
from benchmarks.cost.runs import Commitment
from benchmarks.cost.shapes import Gpu

__all__ = ["Overhead", "Time", "duration", "fits", "overhead"]

FLOOR: Final = 2e-6
LATENCY: Final = 4
LANES: Final = 64
_TILE: Final = 64
"""Weight rows of a block of ``linear_mma``."""


@dataclass(frozen=True)
class Time:
    """Seconds, and how many of them each bound is responsible for."""

    seconds: float = 0.0
    bounds: Counter[str] = field(default_factory=Counter)

    @property
    def bottleneck(self) -> str:
        """The bound that most of the time is due to."""
        return max(self.bounds, key=lambda name: self.bounds[name])


def _again(launched: Launched, gpu: Gpu) -> int:
    """Bytes of weights that a product reads from memory once more for each further limb of x."""
    if launched.kernel != "linear_mma":
        return 0
    a = named(launched)
    m, d, limbs = (int(a[name]) for name in ("m", "d", "x_limbs"))
    tiles = launched.grid[0] * _TILE * d
    return (limbs - 1) * m * d if tiles > gpu.cache else 0


def _rate(c: Cost, gpu: Gpu) -> float:
    """Seconds of hashing if every lane is busy."""
    return c.instructions / (LANES * gpu.processors * gpu.clock)


def _bounds(launched: Launched, c: Cost, gpu: Gpu) -> dict[str, float]:
    found = {
        "launches": FLOOR,
        "memory": (c.moved + _again(launched, gpu)) / gpu.bandwidth,
        "tensor cores": 2 * c.products / gpu.int8,
    }
    if c.compressions:
        found["one thread's hash"] = chain(launched) * LATENCY / gpu.clock
        found["hashing"] = _rate(c, gpu)
    return found


def duration(launches: Iterable[Launched], gpu: Gpu, context: int) -> Time:
    """Of launches one after the other."""
    seconds, bounds = 0.0, Counter[str]()
    for launched in launches:
        found = _bounds(launched, cost(launched, context), gpu)
        name = max(found, key=lambda bound: found[bound])
        seconds += found[name]
        bounds[name] += found[name]  # type: ignore[assignment]
    return Time(seconds, bounds)


@dataclass(frozen=True)
class Overhead:
    """Seconds that committing adds."""

    shared: float
    """Taken from the compute that runs meanwhile: memory bandwidth and multiprocessors."""
    exposed: float
    """When nothing else runs."""
    least: float
    """All of it, if hashing ran at the full rate of the device and nothing waited: the least there is."""


def _taken(launches: Sequence[Launched], gpu: Gpu) -> float:
    """What launches beside others take from them."""
    return sum(
        max(
            cost(launched, 0).moved / gpu.bandwidth,
            duration([launched], gpu, 0).seconds * min(1.0, launched.grid[0] / gpu.processors),
        )
        for launched in launches
    )


def _least(launches: Iterable[Launched], gpu: Gpu) -> float:
    whole = total(cost(launched, 0) for launched in launches)
    return max(_rate(whole, gpu), whole.moved / gpu.bandwidth)


def overhead(commitment: Commitment, compute: Sequence[float], gpu: Gpu) -> Overhead:
    """``compute`` are the seconds of main-stream work that runs beside each part of the hashing."""
    shared = exposed = 0.0
    for launches, meanwhile in zip(commitment.beside, compute, strict=True):
        mine = duration(launches, gpu, 0).seconds
        hidden = min(1.0, meanwhile / mine)
        shared += hidden * _taken(launches, gpu)
        exposed += (1 - hidden) * mine
    exposed += duration(commitment.after, gpu, 0).seconds
    everything = [launched for part in commitment.beside for launched in part] + commitment.after
    return Overhead(shared, exposed, _least(everything, gpu))


def fits(weights: int, gpu: Gpu) -> bool:
    """Whether the weights leave a tenth of the memory for everything else."""
    return weights < 0.9 * gpu.memory
