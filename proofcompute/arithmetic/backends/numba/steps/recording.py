"""Record a step: its commands (:mod:`.commands`), and the arrays that they name.

Every array that a call reads must be a weight, a result of a recorded call, or rows of the request's buffers:
the row that the step computes, or all rows up to it. Any other array, such as one that another library made
in between, makes the recording useless, and the step is never repeated from commands. :mod:`.calls` says what
commands each call becomes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.arena import ALIGN, Value, place
from proofcompute.arithmetic.backends.numba.steps.plan import MOST_ROWS, Plan, Turn, address
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import ONE
from proofcompute.arrays import F32, Array, Member, Span

__all__ = ["ALWAYS", "Operand", "Recording", "UnknownCallError", "Words"]

_ROOM: Final = MOST_ROWS + 1
"""Rows of a result; products may read one more than there are."""
ALWAYS: Final = 1 << 62
"""The last command that reads what is read after all commands."""


class UnknownCallError(Exception):
    """Raised when a call cannot become a command; it never leaves :mod:`.calls`."""


Operand = Value | int
"""A result of a command, or a number that the command holds as it is."""


@dataclass(frozen=True, eq=False)
class Words:
    """A table of numbers that a command names by its address."""

    rows: Sequence[tuple[Operand, int, int]]
    """Where an array begins, by how many bytes more with each row, and its elements."""


@dataclass(eq=False)
class Recording:
    """The commands of a step while it runs for one row of one request."""

    span: Span
    member: Member
    constants: Mapping[int, Array]
    """Weights by address."""
    compiles: bool = True
    """Whether loops that are not compiled yet are compiled for this."""
    lacking: bool = False
    """Whether some loop is not compiled yet."""
    possible: bool = True
    commands: list[dict[str, Any]] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    """Results of commands, in order."""
    results: dict[int, tuple[Value, Array]] = field(default_factory=dict)
    """The same by the address of the array, which is kept alive so that no two share an address."""
    turns: dict[Turn, tuple[F32, F32]] = field(default_factory=dict)
    """Rotary tables, which the plan fills in for each step."""
    used: dict[int, Array] = field(default_factory=dict)
    """Weights that commands name, by address."""
    tables: list[Array] = field(default_factory=list)
    """Further arrays that commands name."""
    columns: dict[str, int] = field(default_factory=dict)
    """Columns of the slots, by the names of buffers."""
    whole: set[str] = field(default_factory=set)
    """Buffers in which rows before the step's are read."""
    sampled: list[tuple[Array, Value, str]] = field(default_factory=list)
    """Calls of the sampler: the token, the logits, and the buffer of tokens."""

    def rope_rows(
        self, freqs: tuple[int, ...], spans: Sequence[Span], scale: np.float32 = ONE
    ) -> tuple[F32, F32]:
        """Return rotary tables (:class:`proofcompute.arithmetic.kernels.Arithmetic`)."""
        found = HOST.rope_rows(freqs, spans, scale)
        if tuple(spans) != (self.span,):
            return found
        key = freqs, float(scale)
        if key not in self.turns:
            cos, sin = (np.empty((MOST_ROWS, table.shape[1]), np.float32) for table in found)
            self.turns[key] = cos, sin
        for table, rows in zip(self.turns[key], found, strict=True):
            table[:1] = rows
        cos, sin = self.turns[key]
        return cos[:1], sin[:1]

    def plan(self, tokens: Array | None) -> Plan | None:
        """Return the plan of a step that emitted ``tokens``, or None if it could not be recorded in full."""
        if not self.possible or tokens is None or len(tokens) != 1 or len(self.sampled) != 1:
            return None
        token, logits, history = self.sampled[0]
        if address(tokens) != address(token):
            return None
        from proofcompute.arithmetic.backends.numba.steps.crew import shared_words
        from proofcompute.arithmetic.backends.numba.steps.layout import COMMAND

        arena = np.empty(place(self.values, _ROOM) + ALIGN, np.uint8)
        start = -address(arena) % ALIGN
        commands = np.zeros(len(self.commands), COMMAND)
        commands["count"] = 1
        for i, values in enumerate(self.commands):
            for key, value in values.items():
                commands[key][i] = self._number(value, address(arena) + start)
        rows = arena[start + logits.at :][: MOST_ROWS * logits.width]
        seats = threads.size()
        return Plan(
            commands,
            {name: self._kind(name) for name in self.columns},
            frozenset(self.whole),
            self.turns,
            rows.view(np.float32).reshape(MOST_ROWS, -1),
            history,
            shared_words(seats),
            seats,
            [arena, *self.used.values(), *self.tables],
            np.zeros((MOST_ROWS, 1 + len(self.columns)), np.int64),
        )

    def _number(self, value: Any, start: int) -> Any:
        """Return what a field of a command holds, if results lie from ``start`` on."""
        if isinstance(value, Words):
            words = [(self._number(at, start), step, size) for at, step, size in value.rows]
            return self.table(np.array(words, np.int64))
        return start + value.at if isinstance(value, Value) else value

    # -- kinds of arrays -------------------------------------------------------------------------------
    @cached_property
    def _buffers(self) -> list[tuple[int, str, Array, int]]:
        """Return the member's buffers by ascending address: address, name, array, first position."""
        m = self.member
        both = [(n, x, 0) for n, x in m.buffers.items()] + [(n, x, m.first) for n, x in m.windows.items()]
        return sorted((address(x), name, x, first) for name, x, first in both if x.size)

    def _kind(self, name: str) -> Array:
        x = self.member.buffers.get(name)
        x = self.member.windows[name] if x is None else x
        return np.empty((1, *x.shape[1:]), x.dtype)

    def _buffer(self, x: Array) -> tuple[str, int, int] | None:
        """Return the buffer that x lies in, the position that it begins with, and its rows; or None."""
        i = bisect_right(self._buffers, at := address(x), key=lambda entry: entry[0]) - 1
        if i < 0:
            return None
        start, name, buffer, first = self._buffers[i]
        if at >= start + buffer.nbytes:
            return None
        row, rest = divmod(at - start, buffer.strides[0])
        rows, part = divmod(x.nbytes, buffer.strides[0])
        if rest or part or x.dtype != buffer.dtype or not x.flags.c_contiguous:
            raise UnknownCallError
        return name, first + row, rows

    def column(self, x: Array) -> int:
        """Return the column of the buffer in which x is the step's row."""
        found = self._buffer(x)
        if found is None or found[1:] != (self.span.a, 1):
            raise UnknownCallError
        return self.columns.setdefault(found[0], len(self.columns) + 1)

    def prefix(self, x: Array) -> str:
        """Return the name of the buffer in which x is all rows up to the step's, which it includes."""
        found = self._buffer(x)
        if found is None or found[1:] != (0, self.span.b) or found[0] not in self.member.buffers:
            raise UnknownCallError
        self.columns.setdefault(found[0], len(self.columns) + 1)
        self.whole.add(found[0])
        return found[0]

    def row(self, x: Array) -> Value:
        """Return the result that x is; a weight, or a row of a buffer, becomes that of a command."""
        if (at := address(x)) in self.results:
            value = self.results[at][0]
            if x.nbytes != value.width or not x.flags.c_contiguous:
                raise UnknownCallError
            return value
        value = Value(x.nbytes)
        if self._weight(x) is not None:
            places = self.table(np.zeros((1, 2), np.int64))
            self.add("COPY", x=self.fixed(x), m=1, share=x.nbytes, width=x.nbytes, ids=places, out=value)
        else:
            self.add("READ", buffer=self.column(x), width=x.nbytes, out=value)
        return value

    def operand(self, x: Array) -> tuple[Operand, int]:
        """Return where x is, and by how many bytes later it is in the next row."""
        if address(x) not in self.results and self._weight(x) is not None:
            return self.fixed(x), 0
        value = self.row(x)
        return value, value.width

    def fixed(self, x: Array | None) -> int:
        """Return the address of a weight; 0 for None and for nothing."""
        if x is None or not x.size:
            return 0
        whole = self._weight(x)
        if whole is None:
            raise UnknownCallError
        self.used[address(whole)] = whole
        return address(x)

    def _weight(self, x: Array) -> Array | None:
        """Return the weight in which x lies, or None."""
        if not x.flags.c_contiguous:
            return None
        at = address(x)
        i = bisect_right(self._starts, at)
        for start in reversed(self._starts[:i]):  # the last one, unless a weight lies inside of another
            whole = self.constants[start]
            if at + x.nbytes <= start + whole.nbytes and whole.flags.c_contiguous:
                return whole
        return None

    @cached_property
    def _starts(self) -> list[int]:
        """Return where weights begin, in ascending order."""
        return sorted(self.constants)

    def table(self, x: Array) -> int:
        """Return the address of an array that is kept as long as the plan."""
        self.tables.append(x)
        return address(x)

    def turning(self, x: F32) -> int:
        """Return the address of a rotary table."""
        if any(address(x) == address(table) for tables in self.turns.values() for table in tables):
            return address(x)
        raise UnknownCallError

    def made(self, x: Array) -> Value:
        """Return the result that a call made: x."""
        value = Value(x.nbytes)
        self.results[address(x)] = value, x
        return value

    def add(self, kind: str, **values: Any) -> None:
        """Add a command of a kind of :mod:`.layout`, whose fields have these values."""
        from proofcompute.arithmetic.backends.numba.steps import layout

        number = len(self.commands)
        found = [value for value in values.values() if isinstance(value, Value)]
        for words in values.values():
            if isinstance(words, Words):
                found += [value for value, _, _ in words.rows if isinstance(value, Value)]
        for value in found:
            if value.born < 0:
                value.born = number
                self.values.append(value)
            value.last = max(value.last, number)
        self.commands.append({"kind": getattr(layout, kind), **values})
