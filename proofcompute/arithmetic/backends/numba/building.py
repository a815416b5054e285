"""Compile kernels ahead for levels of processors; ``python -m`` runs it, as ``make wheel`` does.

Each level is compiled in a process of its own, whose environment names the processor before Numba is
imported. Nothing compiled is run, so any machine compiles for any level. The object files of all kernels
become one shared library (:mod:`.codegen.library`). This needs Numba, and a C compiler as the linker: ``CC``,
or else ``cc``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from proofcompute.arithmetic.backends.numba.codegen.levels import LEVELS, Level, level_named
from proofcompute.arithmetic.backends.numba.codegen.library import (
    VARIABLE,
    file_name,
    sealed,
    sources_key,
    whole,
)
from proofcompute.encoding.files import write_atomic
from proofcompute.errors import DeviceError

__all__ = ["build"]

_LINK: Final = (
    *("-shared", "-s", "-lm", "-Wl,--build-id=none", "-Wl,--gc-sections", "-Wl,-z,noexecstack"),
    *("-Wl,-z,relro", "-Wl,-z,now"),
)


def build(directory: Path, levels: Sequence[Level] = LEVELS, *, quiet: bool = True) -> Path:
    """Compile the missing libraries of some levels and return the path of their directory.

    The directory lies within ``directory`` and is for these sources alone. Raises DeviceError if a library
    cannot be compiled or linked; the compiler's messages are on standard error.
    """
    if (key := sources_key()) is None:
        raise DeviceError("kernels are compiled ahead from files, and these sources are none")
    place = directory / key
    place.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in pool.map(lambda level: _compile(place, level, quiet), levels):
            pass
    return place


def _compile(directory: Path, level: Level, quiet: bool) -> None:
    """Compile for one level in another process."""
    if whole(directory / str(file_name(level))):
        return
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_") and k != VARIABLE}
    _, cpu, features = level.target
    told = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", f"{__package__}.building", "--here", level.name, "-o", str(directory)]
    command += ["--quiet"] if quiet else []
    with tempfile.TemporaryDirectory() as empty:  # else settings of Numba there might be read
        path = [str(Path(part).absolute()) for part in sys.path if part]
        env = {**clean, **told, "PYTHONPATH": os.pathsep.join(path)}
        done = subprocess.run(command, env=env, cwd=empty, check=False)  # noqa: S603
    if done.returncode:
        raise DeviceError(f"kernels for {level.name} could not be compiled (status {done.returncode})")


def _compile_here(directory: Path, level: Level, *, quiet: bool) -> None:
    """Compile all kernels in this process, which must do nothing else."""
    from proofcompute.arithmetic.backends.numba.codegen.target import aim

    aim(level)
    from proofcompute.arithmetic.backends.numba import modules
    from proofcompute.arithmetic.backends.numba.codegen import entry
    from proofcompute.arithmetic.backends.numba.runtime import cache
    from proofcompute.arithmetic.backends.scalar.rounded import OPTIONS, register

    with tempfile.TemporaryDirectory() as scratch:
        objects: list[str] = []

        def compiled(function: Callable[..., Any], signatures: tuple[Any, ...], symbol: str) -> None:
            register()
            code, _ = entry.compile_kernel(function, signatures, OPTIONS, symbol, shared=True)
            file = Path(scratch, f"{symbol}.o")
            file.write_bytes(code)
            objects.append(str(file))
            if not quiet:
                print(f"{level.name}: {len(objects)} of {cache.KERNELS} kernels", file=sys.stderr)  # noqa: T201

        with cache.collecting(compiled):
            modules.load_all()
        if len(objects) != cache.KERNELS:
            raise DeviceError(f"{len(objects)} kernels were compiled where {cache.KERNELS} are known")
        linked = Path(scratch, "linked")
        linker = os.environ.get("CC") or "cc"
        subprocess.run([linker, "-o", str(linked), *sorted(objects), *_LINK], check=True)  # noqa: S603
        write_atomic(directory / str(file_name(level)), sealed(linked.read_bytes()))


def _main() -> None:
    parser = argparse.ArgumentParser(description="Compile the CPU's kernels ahead, for levels of processors.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="where to make a directory of them")
    parser.add_argument("--level", action="append", choices=[level.name for level in LEVELS])
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--quiet", action="store_true", help="do not tell of each kernel")
    options = parser.parse_args()
    output = options.output.absolute()
    if options.here is not None:
        _compile_here(output, level_named(options.here), quiet=options.quiet)
        return
    levels = [level_named(name) for name in options.level or ()] or LEVELS
    print(build(output, levels, quiet=options.quiet))  # noqa: T201


if __name__ == "__main__":
    _main()
