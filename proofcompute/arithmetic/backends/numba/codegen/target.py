"""Determine the processor that code is generated for, which is not always the one that it runs on.

Kernels that were compiled ahead are for a level of processors (:mod:`.levels`). Kernels that are compiled
when they are used are for this machine's processor, unless settings of Numba say otherwise.

``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` make code that suits several machines; LLVM then ends the
process over an instruction that this target lacks, even if the processor has it. So code that emits such an
instruction calls :func:`has` first. Numba is imported for this only if such a setting may apply.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Final

from proofcompute.arithmetic.backends.numba.codegen.levels import Level
from proofcompute.arithmetic.backends.numba.codegen.library import OTHER_CODE, library
from proofcompute.errors import DeviceError

__all__ = ["SETTINGS", "aim", "has", "settings", "target"]

SETTINGS: Final = Path(".numba_config.yaml")
"""A file of more settings, which Numba reads from the directory that a process is started in."""
_HARMLESS: Final = frozenset(("NUMBA_NUM_THREADS",))
"""Settings of Numba that do not change generated code."""
_BELOW: Final = ("sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "avx", "f16c", "fma", "avx2", "avx512f")
"""Features that others need, so that LLVM switches the others off with them. Of the features that kernels ask
for, one in this list needs those before it, and any other needs the whole list."""


def settings() -> list[str]:
    """Return the settings of Numba that may change generated code, as sorted ``NAME=value``."""
    names = os.environ.keys() - _HARMLESS
    return sorted(f"{name}={os.environ[name]}" for name in names if name.startswith("NUMBA_"))


_aimed: Final[list[Level]] = []


def aim(level: Level) -> None:
    """Generate code for this level, in a process that compiles kernels ahead and runs none of them."""
    target.cache_clear()
    _aimed[:] = [level]


@cache
def target() -> tuple[str, str, str]:
    """Return triple, processor and features of the code that is, or was, generated.

    Raises DeviceError if settings name a feature that this processor lacks, since such code could not run.
    """
    if _aimed:
        return _aimed[0].target
    if (ahead := library()) is not None:
        return ahead.level.target
    from llvmlite import binding

    host = binding.get_host_cpu_features()
    if not (any(name in os.environ for name in OTHER_CODE) or SETTINGS.is_file() or "numba" in sys.modules):
        return binding.get_process_triple(), binding.get_host_cpu_name(), host.flatten()
    from numba.core.registry import cpu_target

    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    lacking = sorted(f for f, wanted in _parsed(features).items() if wanted and not host.get(f, False))
    if lacking:
        raise DeviceError(
            f"Numba is told to use {', '.join(lacking)}, which this processor does not have; "
            "change NUMBA_CPU_FEATURES, or use --device numpy"
        )
    return str(triple), str(name), str(features)


def _parsed(features: str) -> dict[str, bool]:
    """Return whether each named feature is on; the last mention of a feature counts."""
    words = (word.strip() for word in features.split(","))
    return {word[1:]: word[0] == "+" for word in words if word[:1] in ("+", "-")}


def has(feature: str) -> bool:
    """Return whether code may use an x86 feature, which the target must list by name."""
    return _has(target()[2], feature)


def _has(features: str, feature: str) -> bool:
    known = _parsed(features)
    below = _BELOW[: _BELOW.index(feature)] if feature in _BELOW else _BELOW
    return known.get(feature, False) and all(known.get(f, True) for f in below)
