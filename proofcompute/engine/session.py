"""Hold the state of running requests, and give the engine access to their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array, Arrays, Member, Span
from proofcompute.errors import ExecutionError, InputError
from proofcompute.protocol.messages import Request
from proofcompute.protocol.requests import statement_of
from proofcompute.protocol.statement import Statement
from proofcompute.protocol.trace import Trace

__all__ = ["Failure", "Keep", "Session", "SessionRows"]

Failure = ExecutionError | InputError | MemoryError
"""The error with which a session can fail."""


class Keep(Enum):
    """What an engine keeps of the rows that it computes."""

    ALL = auto()
    """All committed rows, so that cells can be opened from memory."""
    PREFIXES = auto()
    """Keys, values and leaf digests; those of a finished session serve later requests that begin alike."""
    NOTHING = auto()
    """Keys, values and leaf digests while the session runs, and nothing afterwards."""


@dataclass(eq=False)
class Session:
    """One request while it runs."""

    number: int
    request: Request
    inputs: Mapping[str, Array]
    prompt: int
    """Rows of the input."""
    trace: Trace
    answer: list[int] = field(default_factory=list)
    """Tokens generated so far (or, when a run is resumed, known from before)."""
    outputs: dict[str, Array] = field(default_factory=dict)
    """Output rows of a program that does not generate."""
    draws: Array | None = None
    """Random numbers of the rows whose token is drawn, uint64 [capacity, 2]."""
    share: float = 1.0
    """Most of the row budget that the session gets while others have rows."""
    scope: bytes = b""
    """Sessions of other scopes share no prefix with this one."""
    done: int = 0
    """Rows computed."""
    emitted: int = 0
    """Answer tokens computed; less than the answer's length only while a resumed run catches up."""
    reason: str | None = None
    """Why the session stopped; None while it runs and if it failed."""
    error: Failure | None = None
    """The error with which the session failed, if it did."""

    @property
    def running(self) -> bool:
        """Whether the session has neither stopped nor failed."""
        return self.reason is None and self.error is None

    @property
    def known(self) -> int:
        """Rows whose public input is known."""
        if self.request.generation is None:
            return self.prompt
        return min(self.prompt + len(self.answer), self.trace.capacity)

    def statement(self) -> Statement:
        """Return the public facts of a finished session.

        Raises InputError if the session failed or is not finished.
        """
        if self.error is not None:
            raise InputError(f"the run failed: {self.error}")
        if self.reason is None:
            raise InputError("the run is not finished")
        program = self.trace.program
        if program.feedback:
            outputs: dict[str, Array] = {program.outputs[0]: np.array(self.answer, np.int32)}
        else:
            outputs = {name: self.trace.memory.host(rows) for name, rows in self.outputs.items()}
        return statement_of(self.request, program, self.inputs, outputs)


class SessionRows:
    """A RowReader over the traces of running sessions."""

    def __init__(self, arrays: Arrays) -> None:
        self.sessions: dict[int, Session] = {}
        self._arrays = arrays

    def read(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.sessions[span.trace].trace.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.sessions[span.trace].trace.arrays[name][: span.b]

    def write(self, name: str, span: Span, rows: Array) -> None:
        """See :class:`proofcompute.program.source.RowReader`."""
        session = self.sessions[span.trace]
        buffer = session.trace.arrays.get(name)
        if buffer is not None:
            self._arrays.write_rows(buffer, span.a, span.b, rows)
        if name in session.outputs:
            self._arrays.write_rows(session.outputs[name], span.a, span.b, rows)

    def member(self, session: Session) -> Member:
        """Return what a session is to a batch."""
        return Member(session.trace.arrays, session.draws, self.sampling(session.number))

    def sampling(self, trace: int) -> Sampling:
        """See :class:`proofcompute.program.source.RowReader`."""
        generation = self.sessions[trace].request.generation
        return generation.sampling if generation else Sampling()

    def draws(self, span: Span) -> U64:
        """See :class:`proofcompute.program.source.RowReader`."""
        rows = self.sessions[span.trace].draws
        if rows is None:
            raise InputError("this request draws no tokens")
        return rows[span.a : span.b]
