"""What kernels find wrong: one status word for each check, looked at once for many of them."""

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
"""Checks that are folded at a time: some ten for each layer and request of a step, and some more."""
_FOUND: Final = 2
"""Words in front of them, for what was found when others were folded."""
i32 = np.int32


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
    """The status words of a device, and which of them belong to checks that nobody has looked at yet.

    There may be more checks than words: what all words hold is then folded, on the device, into the first
    thing that was found, and they are used again. Nothing is downloaded for that, so it can be captured.
    """

    def __init__(self, on: Queue) -> None:
        self._on = on
        self._whole = on.zeros(np.int32, _FOUND + WORDS).buffer
        self.found = self._whole.part(0, 4 * _FOUND)
        """int32 [2]: 1 + the number of the first check that found something, and its word; else zeros."""
        self.words = self._whole.part(4 * _FOUND, 4 * WORDS)
        """int32 words; those of no open check are zero."""
        self._pending: list[Fault] = []
        self._folded = 0
        """How many of the pending checks have been folded; the others are open and have a word each."""

    def word(self, operation: str, kinds: Sequence[Kind]) -> Buffer:
        """The status word of a new check."""
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
        """What ``cuda/report.cu`` writes about all pending checks, and these; none is pending afterwards."""
        n = 0 if tokens is None else tokens.size
        out = self._on.new(np.int32, _FOUND + n)
        self._report(tokens, n, out)
        return out, self.take()

    def take(self) -> list[Fault]:
        """The pending checks, which nobody looks at here from now on."""
        taken, self._pending, self._folded = self._pending, [], 0
        return taken

    def look(self) -> None:
        """Raise the error of the first check that found something; none is pending afterwards."""
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
