"""Record a step: turn its calls of the backend for one row into commands (:mod:`.commands`), if all can be.

Every array that a call reads must be a weight, a result of a recorded call, or rows of the request's buffers:
the row that the step computes, or all rows up to it. Any other array, such as one that another library made
in between, makes the recording useless, and the step is never repeated from commands.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.arguments import preparation
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.arena import ALIGN, Value, place
from proofcompute.arithmetic.backends.numba.steps.plan import MOST_ROWS, Plan, Turn, address
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import ONE, PLAIN, AttentionOptions, Matrix, Prologue
from proofcompute.arithmetic.primitives import TWO_LIMBS, Expression
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, Array, Member, Span

__all__ = ["Recording"]

_SHARE_BYTES: Final = 1 << 16
"""Bytes of weights in one unit of a product."""
_TOGETHER: Final = 3
"""Least number of rows whose norms, gates and rotations are shared out."""
_ROOM: Final = MOST_ROWS + 1
"""Rows of a result; products may read one more than there are."""
_ALWAYS: Final = 1 << 62


class _Unknown(Exception):
    """Raised when a call cannot become a command."""


Operand = Value | int
"""A result of a command, or a number that the command holds as it is."""


@dataclass(eq=False)
class Recording:
    """The commands of a step while it runs for one row of one request."""

    span: Span
    member: Member
    constants: Mapping[int, Array]
    """Weights by address."""
    possible: bool = True
    commands: list[dict[str, Any]] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    """Results of commands, in order."""
    made: dict[int, tuple[Value, Array]] = field(default_factory=dict)
    """The same by the address of the array, which is kept alive so that no two share an address."""
    turns: dict[Turn, tuple[F32, F32]] = field(default_factory=dict)
    """Rotary tables, which the plan fills in for each step."""
    used: dict[int, Array] = field(default_factory=dict)
    """Weights that commands name, by address."""
    columns: dict[str, int] = field(default_factory=dict)
    """Columns of the slots, by the names of buffers."""
    whole: set[str] = field(default_factory=set)
    """Buffers in which rows before the step's are read."""
    sampled: list[tuple[Array, Value, str]] = field(default_factory=list)
    """Calls of the sampler: the token, the logits, and the buffer of tokens."""

    def call(self, name: str, arguments: Sequence[Any], named: Mapping[str, Any], result: Any) -> None:
        """Record a call of the backend."""
        handle: Callable[..., None] | None = getattr(self, f"_{name}", None)
        if handle is None:
            return  # a call that uses the result does not find it in ``made``
        try:
            handle(result, *arguments, **named)
        except _Unknown:
            self.possible = False

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
        from proofcompute.arithmetic.backends.numba.steps.commands import COMMAND
        from proofcompute.arithmetic.backends.numba.steps.crew import shared_words

        arena = np.empty(place(self.values, _ROOM) + ALIGN, np.uint8)
        start = -address(arena) % ALIGN
        commands = np.zeros(len(self.commands), COMMAND)
        for i, values in enumerate(self.commands):
            for key, value in values.items():
                at = address(arena) + start + value.at if isinstance(value, Value) else value
                commands[key][i] = at
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
            [arena, *self.used.values()],
            np.zeros((MOST_ROWS, 1 + len(self.columns)), np.int64),
        )

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

    def _buffer(self, x: Array) -> tuple[str, int] | None:
        """Return the buffer that rows lie in and the position that they begin with, or None."""
        i = bisect_right(self._buffers, at := address(x), key=lambda entry: entry[0]) - 1
        if i < 0:
            return None
        start, name, buffer, first = self._buffers[i]
        if at >= start + buffer.nbytes:
            return None
        row, rest = divmod(at - start, buffer.strides[0])
        if rest or x.dtype != buffer.dtype or x.shape[1:] != buffer.shape[1:] or not x.flags.c_contiguous:
            raise _Unknown
        return name, first + row

    def _column(self, x: Array) -> int:
        """Return the column of the buffer in which x is the step's row."""
        found = self._buffer(x)
        if found is None or found[1] != self.span.a or len(x) != 1:
            raise _Unknown
        return self.columns.setdefault(found[0], len(self.columns) + 1)

    def _prefix(self, x: Array) -> str:
        """Return the name of the buffer in which x is all rows up to the step's, which it includes."""
        found = self._buffer(x)
        if found is None or found[1] != 0 or len(x) != self.span.b or found[0] not in self.member.buffers:
            raise _Unknown
        self.columns.setdefault(found[0], len(self.columns) + 1)
        self.whole.add(found[0])
        return found[0]

    def _row(self, x: Array) -> Value:
        """Return the result that x is; a row of a buffer becomes the result of a command that reads it."""
        if (at := address(x)) in self.made:
            value = self.made[at][0]
            if x.nbytes != value.width or not x.flags.c_contiguous:
                raise _Unknown
            return value
        value = Value(x.nbytes)
        self._add("READ", buffer=self._column(x), width=x.nbytes, out=value)
        return value

    def _fixed(self, x: Array | None) -> int:
        """Return the address of a weight; 0 for None and for nothing."""
        if x is None or not x.size:
            return 0
        at = address(x)
        for start in (at, *self.constants):  # a limb lies inside of a weight
            whole = self.constants.get(start)
            if whole is not None and start <= at and at + x.nbytes <= start + whole.nbytes:
                self.used[start] = whole
                return at
        raise _Unknown

    def _table(self, x: F32) -> int:
        """Return the address of a rotary table."""
        if any(address(x) == address(table) for tables in self.turns.values() for table in tables):
            return address(x)
        raise _Unknown

    def _made(self, x: Array) -> Value:
        value = Value(x.nbytes)
        self.made[address(x)] = value, x
        return value

    def _add(self, kind: str, **values: Any) -> None:
        from proofcompute.arithmetic.backends.numba.steps import commands

        number = len(self.commands)
        for value in values.values():
            if isinstance(value, Value):
                if value.born < 0:
                    value.born = number
                    self.values.append(value)
                value.last = max(value.last, number)
        self.commands.append({"kind": getattr(commands, kind), **values})

    # -- calls -------------------------------------------------------------------------------------------
    def _write_rows(self, result: None, target: Array, a: int, b: int, rows: Array) -> None:
        to = target[a:b]
        if rows.dtype != to.dtype or rows.shape != to.shape:
            raise _Unknown
        self._add("WRITE", x=self._row(rows), buffer=self._column(to), width=rows.nbytes)

    def _gather(self, result: Array, table: Array, ids: Array) -> None:
        if ids.dtype != np.int32 or ids.shape != (1,) or not table.flags.c_contiguous:
            raise _Unknown
        sizes = {"m": len(table), "width": table.strides[0]}
        self._add("TAKE", x=self._fixed(table), ids=self._row(ids), **sizes, out=self._made(result))

    def _embed(self, result: F32, q: Array, s: F32) -> None:
        x, scale = self._row(q), self._row(s)
        self._add("EMBED", x=x, scale=scale, width=q.size, out=self._made(result))

    def _evaluate(
        self, result: Array, expression: Expression, inputs: Sequence[Array], *rest: Any, **named: Any
    ) -> None:
        if expression != TWO_LIMBS:
            return  # as a call that is not known
        x, low, scale = map(self._row, inputs)
        self._add("EMBED", x=x, q=low, scale=scale, width=inputs[0].size, out=self._made(result))

    def _settle(self, result: F32, x: F32) -> None:
        self._add("SETTLE", x=self._row(x), width=x.size, out=self._made(result))

    def _slice_columns(self, result: Array, x: Array, a: int, b: int) -> None:
        if len(x) != 1:
            raise _Unknown
        sizes = {"d": x.nbytes, "start": a * x.itemsize, "width": result.nbytes}
        self._add("SLICE", x=self._row(x), **sizes, out=self._made(result))

    def _heads(
        self,
        result: Sequence[Array],
        x: F32,
        cos: F32,
        sin: F32,
        heads: int,
        kv_heads: int,
        interleaved: bool,
        limbs: int = 1,
    ) -> None:
        row, turns = self._row(x), {"cos": self._table(cos), "sin": self._table(sin)}
        q, k, ks, v, vs = map(self._made, result)
        pairs = cos.shape[1]
        sizes = {"heads": kv_heads, "d": result[1].shape[-1], "pairs": -pairs if interleaved else pairs}
        sizes["limbs"] = limbs
        made = {"out": q, "k": k, "ks": ks, "v": v, "vs": vs}
        self._add("HEADS", x=row, width=x.size, **turns, **sizes, **made, together=_TOGETHER)

    def _rope(
        self, result: F32, x: F32, cos: F32, sin: F32, heads: int, interleaved: bool, start: int = 0
    ) -> None:
        turns = {"cos": self._table(cos), "sin": self._table(sin)}
        pairs = -cos.shape[1] if interleaved else cos.shape[1]
        sizes = {"width": x.size, "d": x.size // heads, "pairs": pairs, "start": start}
        self._add("ROPE", x=self._row(x), **turns, **sizes, out=self._made(result), together=_TOGETHER)

    def _quantise_heads(
        self, result: Sequence[Array], x: F32, heads: int, limbs: int = 1, latent: int = 0
    ) -> None:
        row, (k, ks) = self._row(x), map(self._made, result)
        sizes = {"width": x.size, "heads": heads, "d": x.size // heads, "limbs": limbs, "latent": latent}
        self._add("QUANTISE", x=row, **sizes, k=k, ks=ks, together=_TOGETHER)

    def _attention(
        self,
        result: F32,
        q: F32,
        kq: Array,
        ks: F32,
        vq: Array | None,
        vs: F32 | None,
        first: int,
        scale: np.float32,
        window: int,
        options: AttentionOptions = PLAIN,
    ) -> None:
        from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

        if vq is None or vs is None:
            vq, vs = kq, ks
        cached = [self.columns[self._prefix(x)] for x in (kq, ks, vq, vs)]
        if first != self.span.a or options.ahead or kq.shape[1] * MOST_ROWS > MOST_UNITS:
            raise _Unknown
        sizes = {
            "width": q.size,
            "heads": kq.shape[1],
            "d": kq.shape[-1],
            "columns": vq.shape[-1],
            "limbs": options.limbs,
            "key_limbs": 2 if kq.ndim == 4 else 1,
            "value_limbs": 2 if vq.ndim == 4 else 1,
            "latent": options.latent,
            "window": window,
        }
        factors = {"factor": scale, "cap": options.softcap, "sinks": self._fixed(options.sinks)}
        where = dict(zip(("k", "ks", "v", "vs"), cached, strict=True))
        out = self._made(result)
        self._add("ATTENTION", x=self._row(q), **where, **sizes, **factors, out=out)

    def _linear(
        self,
        result: F32,
        x: F32,
        w: Matrix,
        limbs: int,
        prologue: Prologue = None,
        residual: F32 | None = None,
    ) -> None:
        from proofcompute.arithmetic.backends.numba.kernels import linear
        from proofcompute.arithmetic.backends.numba.kernels.products import GROUP
        from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

        w_limbs, m, d = w.q.shape
        mode, weight, eps = preparation(linear, prologue)
        q, scale = Value(2 * d), Value(4)
        how = {"mode": mode, "before": self._fixed(weight), "factor": eps, "limbs": limbs}
        sizes = {"width": x.size, "d": d, "together": 0 if mode == linear.PLAIN else _TOGETHER}
        rest: Operand = 0 if residual is None else self._row(residual)
        self._add("PREPARE", x=self._row(x), **how, **sizes, q=q, scale=scale)
        groups = -(-m // GROUP)
        share = max(1, _SHARE_BYTES // (w_limbs * d * GROUP), -(-groups // MOST_UNITS))
        values = {"w": self._fixed(w.q), "w_scale": self._fixed(w.scale), "bias": self._fixed(w.bias)}
        sizes = {"m": m, "d": d, "limbs": w_limbs, "share": share, "units": -(-groups // share)}
        self._add("PRODUCT", q=q, scale=scale, **values, **sizes, residual=rest, out=self._made(result))

    def _sample(
        self, result: Array, logits: F32, history: Array, first: int, how: Sampling, draws: Array
    ) -> None:
        known, value = self.member.draws, self._row(logits)
        if known is None or how != self.member.sampling or first != self.span.a or len(result) != 1:
            raise _Unknown
        if address(draws) != address(known[first : first + 1]) or len(draws) != 1:
            raise _Unknown
        value.last = _ALWAYS
        self.sampled.append((result, value, self._prefix(history)))
