"""List the levels of x86-64 processors that kernels are compiled ahead for.

v2, v3 and v4 are the levels of the x86-64 psABI (its section "Micro-architecture levels"), which compilers,
the C library's ``glibc-hwcaps`` and distributions use. One more level has VNNI, which makes int8 products
fast. A level names its instructions as LLVM does, for the compiler, and as Linux does in ``/proc/cpuinfo``,
which lists a feature only if the system has enabled it as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["LEVELS", "Level", "level_named", "levels_for", "processor_flags"]

TRIPLE: Final = "x86_64-unknown-linux-gnu"
"""LLVM's triple of the systems that kernels are compiled ahead for."""


@dataclass(frozen=True)
class Level:
    """A level of processors, which run the same code."""

    name: str
    cpu: str
    """LLVM's name of the processor that code is tuned for."""
    features: tuple[str, ...]
    """All its instruction sets under LLVM's names; LLVM does not report those that a name implies."""
    flags: frozenset[str]
    """The same under Linux's names."""

    @property
    def target(self) -> tuple[str, str, str]:
        """Triple, processor and features in LLVM's notation."""
        return TRIPLE, self.cpu, ",".join(f"+{feature}" for feature in self.features)


_V2: Final = {
    "cx16": "cx16", "popcnt": "popcnt", "sahf": "lahf_lm", "sse3": "pni", "sse4.1": "sse4_1",
    "sse4.2": "sse4_2", "ssse3": "ssse3",
}  # fmt: skip
_V3: Final = _V2 | {
    "avx": "avx", "avx2": "avx2", "bmi": "bmi1", "bmi2": "bmi2", "f16c": "f16c", "fma": "fma", "lzcnt": "abm",
    "movbe": "movbe",
}  # fmt: skip
_V4: Final = _V3 | {f"avx512{part}": f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}
_VNNI: Final = _V4 | {"avx512vnni": "avx512_vnni"}


def _level(name: str, cpu: str, words: dict[str, str]) -> Level:
    return Level(name, cpu, tuple(sorted(words)), frozenset(words.values()))


LEVELS: Final = (
    _level("x86-64-v4-vnni", "x86-64-v4", _VNNI),
    _level("x86-64-v4", "x86-64-v4", _V4),
    _level("x86-64-v3", "x86-64-v3", _V3),
    _level("x86-64-v2", "x86-64-v2", _V2),
)
"""All levels, best first."""


def level_named(name: str) -> Level:
    """Return the level of a name; raise KeyError if there is none."""
    return {level.name: level for level in LEVELS}[name]


def levels_for(flags: Iterable[str]) -> list[Level]:
    """Return the levels whose code runs on a processor with these flags, best first."""
    have = frozenset(flags)
    return [level for level in LEVELS if level.flags <= have]


@cache
def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the flags that every processor of this machine has; none if Linux does not list them."""
    try:
        text = cpuinfo.read_text("ascii", "replace")
    except OSError:
        return frozenset()
    lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith("flags")]
    return frozenset.intersection(*(frozenset(line.split()) for line in set(lines))) if lines else frozenset()
