"""Run a step on the CPU once, record it the second time, then repeat it from commands on several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TypeVar, cast, final
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.recording import Plan, Recording, address
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I32, U64, Array, Span

__all__ = ["FEW_ROWS", "Steps", "recorded"]

FEW_ROWS: Final = 64
"""Most rows of a step that is recorded."""

Compute = Callable[[Sequence[Span]], I32 | None]
Sample = Callable[[F32, I32, int, Sampling, U64], I32]
Method = TypeVar("Method", bound=Callable[..., Any])


def recorded(method: Method) -> Method:
    """Decorate a backend's method so that its calls are recorded while a step is recorded."""

    @wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        result = method(self, *arguments, **named)
        recording = self.steps.recording
        if recording is not None:
            recording.call(method.__name__, arguments, named, result)
        return result

    return cast(Method, call)


def _follow(*arguments: Any) -> None:
    """Follow, unless this thread's floating-point state differs: a leader can work without followers."""
    from proofcompute.arithmetic.backends.numba.steps.crew import follow

    require_ieee()
    follow(*arguments)


_crew: Final = threads.Pool("proofcompute-crew", 1)
"""Threads that only follow, since other work would have to wait for them."""


@dataclass(eq=False)
class _Kept:
    """The state of one capture."""

    tried: bool = False
    """Whether recording was tried, with or without success."""
    plan: Plan | None = None
    process: int = 0
    followers: list[Future[None]] = field(default_factory=list)

    def call_crew(self, plan: Plan) -> None:
        """Make sure that followers run or are about to run."""
        if self.process != os.getpid():
            self.process, self.followers = os.getpid(), []
        for seat in range(1, plan.seats):
            if seat > len(self.followers):
                self.followers.append(_crew.submit(_follow, plan.commands, plan.words, seat, plan.seats))
            elif self.followers[seat - 1].done():
                self.followers[seat - 1] = _crew.submit(_follow, plan.commands, plan.words, seat, plan.seats)


def _living(known: WeakValueDictionary[int, Array]) -> dict[int, Array]:
    """Return the living arrays by ascending address.

    ``valuerefs`` reads the dictionary in one step of the interpreter, since other threads change it.
    """
    arrays = [x for reference in known.valuerefs() if (x := reference()) is not None]
    return {address(x): x for x in sorted(arrays, key=address)}


@final
class Steps:
    """Runs steps, and keeps track of weights and of the buffers of traces."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()
        self._constants: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._buffers: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._local = threading.local()

    @property
    def recording(self) -> Recording | None:
        """The recording that this thread makes now, or None."""
        return getattr(self._local, "recording", None)

    def constant(self, x: Array) -> Array:
        """Return ``x``, and note that its bytes never change."""
        self._constants[address(x)] = x
        return x

    def buffer(self, x: Array) -> Array:
        """Return ``x``, and note that a step may compute its rows."""
        if x.size:
            self._buffers[address(x)] = x
        return x

    def run(self, capture: object, spans: Sequence[Span], f: Compute, sample: Sample) -> I32 | None:
        """Run a step as :class:`proofcompute.arrays.Arrays` describes."""
        if capture is None or len(spans) > FEW_ROWS:
            return f(spans)
        kept = self._kept.get(capture)
        if kept is None:
            self._kept[capture] = _Kept()
            return f(spans)
        if not kept.tried:
            kept.tried = True
            return self._record(kept, spans, f)
        require_ieee()  # commands bypass the interpreter of programs, which checks this
        found = None if kept.plan is None else self._repeat(kept, kept.plan, spans, sample)
        return f(spans) if found is None else found

    def _record(self, kept: _Kept, spans: Sequence[Span], f: Compute) -> I32 | None:
        constants, buffers = _living(self._constants), _living(self._buffers)
        recording = self._local.recording = Recording(tuple(spans), constants, buffers)
        try:
            tokens = f(spans)
        finally:
            self._local.recording = None
        kept.plan = recording.plan(tokens)
        return tokens

    def _repeat(self, kept: _Kept, plan: Plan, spans: Sequence[Span], sample: Sample) -> I32 | None:
        """Return the step's tokens, or None if it must be run in full, perhaps only to raise its error."""
        from proofcompute.arithmetic.backends.numba.steps.crew import lead

        later = plan.later(spans)
        if later is None:
            return None
        for freqs, tables in plan.turns.items():
            for table, rows in zip(tables, HOST.rope_rows(freqs, spans), strict=True):
                table[...] = rows
        kept.call_crew(plan)
        if not lead(plan.commands, later, plan.words, plan.seats):
            return None
        tokens = []
        for s in plan.sampled:
            row = s.first + later
            tokens.append(sample(s.logits, s.history[: row + 1], row, s.how, s.draws[row : row + 1]))
        return np.concatenate(tokens)
