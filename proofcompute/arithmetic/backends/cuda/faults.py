"""Collects what kernels find wrong: one status word for each check, read back once for many checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Queue
from proofcompute.arithmetic.backends.cuda.device import Buffer
from proofcompute.errors import DeviceError, ExecutionError, ProofcomputeError

__all__ = ["WORDS", "Fault", "Faults", "Kind"]

Kind = tuple[int, type[ProofcomputeError], str]
"""A bit of a status word, and the error that it stands for."""

WORDS: Final = 1 << 18
"""Checks that are folded at a time: about ten for each layer and request of a step, and a few more."""
_FOUND: Final = 2
"""Words in front of them, which keep what earlier folds found."""
i32 = np.int32


@dataclass(frozen=True)
class Fault:
    """A check that was queued."""

    operation: str
    """Segment and operation, empty outside a step."""
    kinds: Sequence[Kind]
    """What its bits mean; if several are set, the first counts."""

    def error(self, word: int) -> ProofcomputeError:
        """Return the error that a status word stands for."""
        for bit, error, text in self.kinds:
            if word & bit:
                if not (self.operation and issubclass(error, ExecutionError)):
                    return error(text)
                found = error(f"{self.operation}: {text}")
                found.named = True
                return found
        return DeviceError(f"{self.operation}: status {word:#x}, which no check sets")


@final
class Faults:
    """The status words of a device, and the pending checks to which they belong.

    There may be more checks than words: then the device folds all words into the first finding, and the words
    are used again. Nothing is downloaded for that, so it can be captured.
    """

    def __init__(self, on: Queue) -> None:
        self._on = on
        self._whole = on.zeros(np.int32, _FOUND + WORDS).buffer
        self.found = self._whole.part(0, 4 * _FOUND)
        """int32 [2]: 1 + the number of the first check that found something, and its word; else zeros."""
        self.words = self._whole.part(4 * _FOUND, 4 * WORDS)
        """int32 words; those that belong to no open check are zero."""
        self._pending: list[Fault] = []
        self._folded = 0
        """How many of the pending checks have been folded; the others are open and have a word each."""

    def word(self, operation: str, kinds: Sequence[Kind]) -> Buffer:
        """Return the status word of a new check."""
        if 4 * (len(self._pending) - self._folded) == self.words.size:
            self._report(None, 0, None)
        self._pending.append(Fault(operation, kinds))
        return self.words.part(4 * (len(self._pending) - self._folded - 1), 4)

    def _report(self, tokens: DeviceArray | None, n: int, out: DeviceArray | None) -> None:
        count = len(self._pending) - self._folded
        given = (self.words, i32(count), i32(self._folded), self.found, tokens, i32(n), out)
        self._on.blocks("report", (1,), *given)
        self._folded = len(self._pending)

    def report(self, tokens: DeviceArray | None) -> tuple[DeviceArray, list[Fault]]:
        """Return what ``cuda/report.cu`` writes about the pending checks, and those; none is pending then."""
        n = 0 if tokens is None else tokens.size
        out = self._on.new(np.int32, _FOUND + n)
        self._report(tokens, n, out)
        return out, self.take()

    def take(self) -> list[Fault]:
        """Return the pending checks, and forget them here."""
        taken, self._pending, self._folded = self._pending, [], 0
        return taken

    def look(self) -> None:
        """Raise the error of the first pending check that found something; none is pending afterwards."""
        if not self._pending:
            return
        folded = self._folded
        taken = self.take()
        part = self._whole.part(0, 4 * (_FOUND + len(taken) - folded))
        host = np.empty(part.size // 4, np.int32)
        self._on.device.download(part, host)
        if not host.any():
            return
        self._on.device.write(part, np.zeros_like(host))
        number, word = int(host[0]) - 1, int(host[1])
        if number < 0:
            first = int(np.flatnonzero(host[_FOUND:])[0])
            number, word = folded + first, int(host[_FOUND + first])
        raise taken[number].error(word)
