"""Runs steps: once as they are, then captured as a graph and repeated, with one small download for each.

A step that cannot be captured runs one launch after the other every time: slower, with the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final
from weakref import WeakKeyDictionary

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position
from proofcompute.arithmetic.backends.cuda.device import Buffer
from proofcompute.arithmetic.backends.cuda.faults import Fault
from proofcompute.arithmetic.backends.cuda.launcher import Launcher
from proofcompute.arrays import Array, Span
from proofcompute.errors import DeviceError

__all__ = ["Steps"]

_BUCKET: Final = 512
"""Rows by which the sizes of a captured step grow: one graph serves this many positions."""

Compute = Callable[[Sequence[Span]], Any]


@dataclass(frozen=True, eq=False)
class _Graph:
    """A captured step."""

    handle: Any
    """The device's graph."""
    report: DeviceArray
    """What ``cuda/report.cu`` writes, int32 [2 + n]."""
    checks: Sequence[Fault]
    """The checks to which its status words belong, in order."""
    uses: Sequence[Buffer]
    """Memory from outside that the graph touches."""


class _Kept:
    """The graphs of one capture key."""

    def __init__(self, on: Launcher, spans: Sequence[Span]) -> None:
        self.names = [(number, b - a) for number, a, b in spans]
        self.words = on.zeros(np.int64, len(spans))
        self.graphs: dict[int, _Graph | None] = {}
        """Graphs by bucket; None if the step has run once and is captured the next time."""
        self.plain: set[int] = set()
        """Buckets whose step cannot be captured."""


@final
class Steps:
    """Runs steps on one device's main stream."""

    def __init__(self, on: Launcher) -> None:
        self._on = on
        self.refused: list[str] = []
        """Why steps could not be captured."""
        self._kept: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()

    def run(self, capture: object, spans: Sequence[Span], f: Compute) -> Array | None:
        """See :class:`proofcompute.arrays.Arrays`."""
        on = self._on
        on.faults.look()  # checks from before belong to other steps
        if capture is None:
            return self._finish(f(spans))
        kept = self._kept.get(capture)
        if kept is None:
            kept = self._kept[capture] = _Kept(on, spans)
        if kept.names != [(number, b - a) for number, a, b in spans]:
            raise DeviceError("a step of other requests under the same capture")
        on.write(kept.words.buffer, np.array([a for _, a, _ in spans], np.int64))
        bucket = (max(b for _, _, b in spans) - 1) // _BUCKET
        limit = (bucket + 1) * _BUCKET
        words = [kept.words.buffer.part(8 * i, 8) for i in range(len(spans))]
        placed = [
            Span(number, Position(a, word, limit), Position(b, word, limit))
            for (number, a, b), word in zip(spans, words, strict=True)
        ]
        if bucket not in kept.graphs:
            kept.graphs[bucket] = None  # the first run loads kernels and uploads constants
            return self._finish(f(placed))
        graph = kept.graphs[bucket]
        if graph is None and bucket not in kept.plain:
            graph = kept.graphs[bucket] = self._captured(placed, f)
        if graph is None:
            kept.plain.add(bucket)
            return self._finish(f(placed))
        on.device.replay(graph.handle)
        return self._outcome(graph.report, graph.checks)

    def _captured(self, spans: Sequence[Span], f: Compute) -> _Graph | None:
        """Return the step as a graph; None, with a warning, if the device cannot make one."""
        on = self._on
        try:
            with on.capture() as capture:
                report, checks = on.faults.report(f(spans))
        except DeviceError as error:
            why = f"a step cannot be captured and runs one launch after the other: {error}"
            self.refused.append(why)
            warnings.warn(why, RuntimeWarning, stacklevel=2)
            return None
        return _Graph(capture.graph, report, checks, list(capture.uses.values()))

    def _finish(self, tokens: DeviceArray | None) -> Array | None:
        found = self._outcome(*self._on.faults.report(tokens))
        return None if tokens is None else found

    def _outcome(self, report: DeviceArray, checks: Sequence[Fault]) -> Array:
        host = self._on.read(report)
        if host[0]:
            raise checks[int(host[0]) - 1].error(int(host[1]))
        return host[2:]
