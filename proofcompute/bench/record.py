"""Keeps the file of results, which is written after each step so that an interrupted run can continue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.machine import code, machine
from proofcompute.bench.results import Results
from proofcompute.bench.runner import plain
from proofcompute.bench.settings import Settings
from proofcompute.encoding.files import exclusive, read_limited, write_atomic
from proofcompute.errors import InputError, LimitError

__all__ = ["RESULTS", "Record"]

RESULTS: Final = "results.json"
_LOCK: Final = ".running"
_MAX_RESULTS: Final = 1 << 26


class Record:
    """The file ``results.json`` in a directory.

    Args:
        directory: the directory of the results; it is created if absent.

    Raises InputError if it cannot be a directory.
    """

    def __init__(self, directory: Path) -> None:
        if directory.exists() and not directory.is_dir():
            raise InputError(f"{directory} is a file; -o names a directory")
        if not directory.parent.is_dir():
            raise InputError(f"{directory.parent} is not a directory; make it first")
        self.directory = directory
        self.path = directory / RESULTS

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the directory until the block ends; InputError if another run uses it."""
        self.directory.mkdir(exist_ok=True)
        lock = self.directory / _LOCK
        with exclusive(lock, "the lock of another run,"):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows does not remove an open file; the lock ends anyway
                    lock.unlink()

    def kept(self, settings: Settings, kernels: Kernels) -> Results | None:
        """Return results that were measured with these settings, code and machine; None if there are none.

        Raises InputError if the file was measured under other conditions or holds no results, so that nothing
        is replaced by accident.
        """
        if not self.path.exists():
            return None
        try:
            found = Results.from_json(json.loads(read_limited(self.path, _MAX_RESULTS, "results")))
        except (ValueError, InputError, LimitError) as e:
            raise InputError(f"{self.path}: {e}; choose another directory, or pass --force") from e
        asked: dict[str, Any] = {**plain(settings), **_conditions(asdict(machine(kernels)), code())}
        there: dict[str, Any] = {**found.settings, **_conditions(asdict(found.machine), found.code)}
        other = [
            f"{name} {_shown(there.get(name))} there, {_shown(asked.get(name))} now"
            for name in asked | there
            if there.get(name) != asked.get(name)
        ]
        if other:
            raise InputError(
                f"{self.path} was measured otherwise ({'; '.join(other)}); choose another directory, or pass "
                "--force to measure again"
            )
        return found

    def write(self, results: Results) -> None:
        """Replace the results in the file; StorageError if the file system refuses."""
        write_atomic(self.path, results.to_text().encode())


def _conditions(machine: dict[str, Any], code: str) -> dict[str, Any]:
    """Return the conditions, besides settings, that all figures of one file share."""
    return {f"machine's {name}": value for name, value in machine.items()} | {"code": code}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)
