"""Record a step of one row on the CPU, then repeat it for the rows of any requests on several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TypeVar, cast, final
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.calls import record
from proofcompute.arithmetic.backends.numba.steps.plan import MOST_ROWS, Plan, address
from proofcompute.arithmetic.backends.numba.steps.recording import Recording
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I32, U64, Array, Batch, Member, Span

__all__ = ["Steps", "recorded"]

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
            record(recording, method.__name__, arguments, named, result)
        return result

    return cast(Method, call)


def _follow(*arguments: Any) -> None:
    """Follow, unless this thread's floating-point state differs: a leader can work without followers."""
    from proofcompute.arithmetic.backends.numba.steps.crew import follow

    require_ieee()
    follow(*arguments)


_COMPILED: Final = 16
"""Steps after which loops are compiled for a recording, if some are not by then (:mod:`..mapping`)."""
_crew: Final = threads.Pool("proofcompute-crew", 1)
"""Threads that only follow, since other work would have to wait for them."""


@dataclass(eq=False)
class _Kept:
    """The state of one kind of work."""

    tried: bool = False
    """Whether a step was recorded, with or without success; not if code was lacking that will be there."""
    steps: int = 0
    """Steps until then."""
    plan: Plan | None = None
    process: int = 0
    followers: list[Future[None]] = field(default_factory=list)

    def call_crew(self, plan: Plan) -> None:
        """Make sure that followers run or are about to run."""
        if self.process != os.getpid():
            self.process, self.followers = os.getpid(), []
        for seat in range(1, plan.seats):
            if seat <= len(self.followers) and not self.followers[seat - 1].done():
                continue
            shared = plan.commands, plan.slots, plan.words
            self.followers[seat - 1 : seat] = [_crew.submit(_follow, *shared, seat, plan.seats)]


def _living(known: WeakValueDictionary[int, Array]) -> dict[int, Array]:
    """Return the living arrays by address.

    ``valuerefs`` reads the dictionary in one step of the interpreter, since other threads change it.
    """
    arrays = [x for reference in known.valuerefs() if (x := reference()) is not None]
    return {address(x): x for x in arrays}


def _joined(parts: Iterable[I32 | None]) -> I32 | None:
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if found else None


@final
class Steps:
    """Runs steps, and keeps track of weights."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, _Kept] = WeakKeyDictionary()
        self._constants: WeakValueDictionary[int, Array] = WeakValueDictionary()
        self._local = threading.local()

    @property
    def recording(self) -> Recording | None:
        """The recording that this thread makes now, or None."""
        return getattr(self._local, "recording", None)

    def constant(self, x: Array) -> Array:
        """Return ``x``, and note that its bytes never change."""
        self._constants[address(x)] = x
        return x

    def run(self, spans: Sequence[Span], f: Compute, batch: Batch | None, sample: Sample) -> I32 | None:
        """Run a step as :class:`proofcompute.arrays.Arrays` describes."""
        if batch is None or len(batch.members) != len(spans) or not spans:
            return f(spans)
        kept = self._kept.get(batch.work)
        if kept is None:
            kept = self._kept[batch.work] = _Kept()
        if not kept.tried and kept.steps in (0, _COMPILED):
            return self._record(kept, spans, f, batch.members[0])
        if kept.plan is None:
            kept.steps += 1
            return f(spans)
        require_ieee()  # commands bypass the interpreter of programs, which checks this
        found = []
        for i in range(0, len(spans), MOST_ROWS):
            some = slice(i, i + MOST_ROWS)
            tokens = self._repeat(kept, kept.plan, spans[some], batch.members[some], sample)
            if tokens is None:
                return f(spans)  # from the start: rows that are written again are the same
            found.append(tokens)
        return np.concatenate(found)

    def _record(self, kept: _Kept, spans: Sequence[Span], f: Compute, member: Member) -> I32 | None:
        """Record the step of the first span; an error leaves that to the next step."""
        compiles = kept.steps == _COMPILED
        recording = self._local.recording = Recording(spans[0], member, _living(self._constants), compiles)
        try:
            tokens = f(spans[:1])
        finally:
            self._local.recording = None
        kept.plan = recording.plan(tokens)
        kept.tried = compiles or not recording.lacking
        kept.steps += 1
        return _joined((tokens, f(spans[1:]))) if len(spans) > 1 else tokens

    def _repeat(
        self, kept: _Kept, plan: Plan, spans: Sequence[Span], members: Sequence[Member], sample: Sample
    ) -> I32 | None:
        """Return the step's tokens, or None if it must be run in full, perhaps only to raise its error."""
        from proofcompute.arithmetic.backends.numba.steps.crew import lead

        if not plan.bind(spans, members):
            return None
        for (freqs, scale), tables in plan.turns.items():
            for table, rows in zip(tables, HOST.rope_rows(freqs, spans, np.float32(scale)), strict=True):
                table[: len(rows)] = rows
        kept.call_crew(plan)
        if not lead(plan.commands, plan.slots, len(spans), plan.words, plan.seats):
            return None
        tokens = []
        for t, (span, m) in enumerate(zip(spans, members, strict=True)):
            if m.draws is None:
                return None
            history, draws = m.buffers[plan.history][: span.b], m.draws[span.a : span.b]
            tokens.append(sample(plan.logits[t : t + 1], history, span.a, m.sampling, draws))
        return np.concatenate(tokens)
