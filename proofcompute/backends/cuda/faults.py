"""What kernels find wrong: one status word for each check, looked at once for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from proofcompute.backends.cuda.device import Buffer, Device
from proofcompute.errors import DeviceError, ExecutionError, ProofcomputeError

__all__ = ["WORDS", "Fault", "Faults", "Kind"]

Kind = tuple[int, type[ProofcomputeError], str]
"""A bit of a status word, and the error that it stands for."""

WORDS: Final = 1 << 18
"""Checks between two looks: some ten for each layer and request of a step, and some more."""


@dataclass(frozen=True)
class Fault:
    """One check that was queued."""

    operation: str
    """Segment and operation, empty outside a step."""
    kinds: Sequence[Kind]
    """What its bits mean; of several that are set the first counts."""

    def error(self, word: int) -> ProofcomputeError:
        """The error that a status word stands for."""
        for bit, error, text in self.kinds:
            if word & bit:
                named = self.operation and issubclass(error, ExecutionError)
                return error(f"{self.operation}: {text}" if named else text)
        return DeviceError(f"{self.operation}: status {word:#x}, which no check sets")


@final
class Faults:
    """The status words of a device, and which of them belong to checks that nobody has looked at yet."""

    def __init__(self, device: Device, words: Buffer) -> None:
        self._device = device
        self.words = words
        """int32 words; those of no pending check are zero."""
        self.pending: list[Fault] = []

    def word(self, operation: str, kinds: Sequence[Kind]) -> Buffer:
        """The status word of a new check. Looks at all others first where there is none left."""
        if 4 * len(self.pending) == self.words.size:
            self.look()
        self.pending.append(Fault(operation, kinds))
        return self.words.part(4 * (len(self.pending) - 1), 4)

    def take(self) -> list[Fault]:
        """The pending checks, which somebody else looks at from now on."""
        taken, self.pending = self.pending, []
        return taken

    def look(self) -> None:
        """Raise the error of the first check that found something; none is pending afterwards."""
        if not self.pending:
            return
        taken = self.take()
        part = self.words.part(0, 4 * len(taken))
        found = np.empty(len(taken), np.int32)
        self._device.download(part, found)
        if found.any():
            self._device.write(part, np.zeros(len(taken), np.int32))
            first = int(np.flatnonzero(found)[0])
            raise taken[first].error(int(found[first]))
