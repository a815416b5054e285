"""Hold the state of running requests, and give the engine access to their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array, Arrays, Member, Span
from proofcompute.errors import ExecutionError, InputError, MismatchError, bare
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.requests import statement_of
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.stop import stop_reason
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
    """Output rows of a program that does not generate, from :attr:`first_output` on."""
    first_output: int = 0
    """The first row that has an output."""
    draws: Array | None = None
    """Random numbers of the rows whose token is drawn, uint64 [most, 2]."""
    keep: Keep = Keep.ALL
    """What stays of the session's rows."""
    share: float = 1.0
    """Most of the row budget that the session gets while others have rows."""
    scope: bytes = b""
    """Sessions of other scopes share no prefix with this one."""
    shares: bool = False
    """Whether the session takes rows from the cache of prefixes and leaves its own there."""
    turn: int = 0
    """Number of the step in which the session last had rows, or before which it was added."""
    done: int = 0
    """Rows computed, or taken from the cache of prefixes."""
    taken: int = 0
    """Rows of these that were taken from the cache."""
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
        return min(self.prompt + len(self.answer), self.trace.most)

    @property
    def pending(self) -> int:
        """Rows that can be computed now."""
        return self.known - self.done

    @property
    def decoding(self) -> bool:
        """Whether the only row that can be computed now is that of the newest token."""
        return self.done >= self.prompt and self.pending == 1

    def decodes(self, span: Span) -> bool:
        """Return whether rows of the session are one row, of a token of the answer."""
        return span.b - span.a == 1 and span.a >= self.prompt

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

    # -- while it runs -----------------------------------------------------------------------------------
    def take(self, tokens: Sequence[int], vocabulary: Vocabulary | None) -> None:
        """Take the tokens that a step computed.

        Raises MismatchError if they are not those that were known before.
        """
        generation = self.request.generation or Generation(1)
        for token in tokens:
            if self.emitted < len(self.answer):
                if self.answer[self.emitted] != token:
                    raise MismatchError(
                        "the tokens kept of the interrupted run are not this request's; start anew"
                    )
            else:
                self.answer.append(token)
                self.feed(self.prompt + self.emitted, [token])
            self.emitted += 1
            self.reason = stop_reason(generation, self.answer[: self.emitted], vocabulary)
            if self.reason is not None:
                if self.emitted < len(self.answer):
                    raise MismatchError(
                        "the tokens kept of the interrupted run go on after its end; start anew"
                    )
                return

    def feed(self, row: int, tokens: Sequence[int]) -> None:
        """Write answer tokens into the rows from ``row`` on that read them."""
        room = max(0, min(len(tokens), self.trace.most - row))
        if room:
            self.trace.arrays[self.trace.program.inputs[0][0]][row : row + room] = tokens[:room]
            self.draw(row, row + room)

    def draw(self, a: int, b: int) -> None:
        """Provide the random numbers of rows a..b where the request's settings use any."""
        generation = self.request.generation
        if generation and generation.sampling.temperature and self.draws is not None:
            self.draws[a:b] = draws(self.request.draw_seed, a, b)

    def fail(self, error: Failure) -> None:
        """Note the error with which the session failed; give its memory back if that was too little."""
        self.reason = None  # it is set already if known tokens go on after the end
        self.error = bare(error)
        if isinstance(error, MemoryError):
            self.trace.release()


class SessionRows:
    """A RowReader over the traces of running sessions."""

    def __init__(self, arrays: Arrays) -> None:
        self.sessions: dict[int, Session] = {}
        self.placed: dict[int, tuple[Span, Span]] = {}
        """For each session the step's rows in its trace and in its windows, where a device places them."""
        self._arrays = arrays

    def read(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        buffers = self.sessions[span.trace].trace.buffers
        if name in buffers.dropped:
            a, b = self._window(span)
            return buffers.windows[name][a:b]
        return buffers.arrays[name][span.a : span.b]

    def _window(self, span: Span) -> tuple[int, int]:
        """Return where rows of the running step lie in the windows."""
        if span.trace not in self.placed:
            first = self.sessions[span.trace].trace.buffers.first
            return span.a - first, span.b - first
        rows, placed = self.placed[span.trace]
        after = int(span.a) - int(rows.a)
        if not after and span.b == rows.b:
            return placed.a, placed.b
        return int(placed.a) + after, int(placed.a) + after + int(span.b) - int(span.a)

    def prefix(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.sessions[span.trace].trace.arrays[name][: span.b]

    def whole(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        session = self.sessions[span.trace]
        return session.trace.arrays[name][: session.prompt]

    def write(self, name: str, span: Span, rows: Array) -> None:
        """See :class:`proofcompute.program.source.RowReader`."""
        session = self.sessions[span.trace]
        buffers = session.trace.buffers
        if name in buffers.dropped:
            self._arrays.write_rows(buffers.windows[name], *self._window(span), rows)
        elif name in buffers.arrays:
            self._arrays.write_rows(buffers.arrays[name], span.a, span.b, rows)
        if name in session.outputs:
            first = session.first_output
            self._arrays.write_rows(session.outputs[name], span.a - first, span.b - first, rows)

    def member(self, session: Session) -> Member:
        """Return what a session is to a batch."""
        buffers, how = session.trace.buffers, self.sampling(session.number)
        return Member(buffers.arrays, session.draws, how, buffers.windows, buffers.first)

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
