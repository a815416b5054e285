"""Record a step: turn its calls of the backend into commands (:mod:`.commands`), if all of them can be.

Every array that a call reads must either stay where it is or move with the rows: weights, results of recorded
calls, and rows of the traces' buffers, either those that the step computes or all rows up to them. Any other
array, such as one that another library made in between, makes the recording useless, and the step is never
repeated from commands.
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
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import Matrix, Prologue
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I64, Array, Span

__all__ = ["Plan", "Recording", "Sampled", "address"]

_SHARE_BYTES: Final = 1 << 16
"""Bytes of weights in one unit of a product."""


def address(x: Array) -> int:
    """Return the address of an array's first byte."""
    return int(x.__array_interface__["data"][0])


class _Unknown(Exception):
    """Raised when a call cannot become a command."""


@dataclass(frozen=True)
class Sampled:
    """A call of the sampler: logits of a command, and buffers of the trace."""

    logits: F32
    history: Array
    """The tokens of the whole trace."""
    first: int
    how: Sampling
    draws: Array
    """The random numbers of the whole trace."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A recorded step."""

    commands: Array
    spans: tuple[Span, ...]
    """The spans of the recorded step."""
    room: int
    """Largest ``later`` for which the buffers have room."""
    turns: Mapping[tuple[int, ...], tuple[F32, F32]]
    """Tables of cosines and sines that commands read, filled in for each step."""
    sampled: Sequence[Sampled]
    words: I64
    seats: int
    kept: Sequence[Array]
    """The arrays that commands name by address, kept alive."""

    def later(self, spans: Sequence[Span]) -> int | None:
        """Return how many rows after the recorded spans these lie, or None if they do not fit the plan."""
        if len(spans) != len(self.spans):
            return None
        later = spans[0][1] - self.spans[0][1]
        moved = tuple((number, a + later, b + later) for number, a, b in self.spans)
        return later if tuple(spans) == moved and 0 <= later <= self.room else None


@dataclass(eq=False)
class Recording:
    """The commands of a step while it runs for the first time under its capture."""

    spans: tuple[Span, ...]
    constants: Mapping[int, Array]
    """Weights by address."""
    buffers: Mapping[int, Array]
    """Buffers of traces, whose rows move, by ascending address."""
    possible: bool = True
    room: int = 1 << 62
    commands: list[dict[str, Any]] = field(default_factory=list)
    made: dict[int, Array] = field(default_factory=dict)
    """Results of commands by address, kept alive so that no two share an address."""
    turns: dict[tuple[int, ...], tuple[F32, F32]] = field(default_factory=dict)
    sampled: list[Sampled] = field(default_factory=list)
    used: dict[int, Array] = field(default_factory=dict)
    """Weights and buffers that commands name, by address."""

    def call(self, name: str, arguments: Sequence[Any], named: Mapping[str, Any], result: Any) -> None:
        """Record a call of the backend."""
        handle: Callable[..., None] | None = getattr(self, f"_{name}", None)
        if handle is None:
            return  # a call that uses the result does not find it in ``made``
        try:
            handle(result, *arguments, **named)
        except _Unknown:
            self.possible = False

    def rope_rows(self, freqs: tuple[int, ...], spans: Sequence[Span]) -> tuple[F32, F32]:
        """Return rotary tables (:class:`proofcompute.arrays.Arrays`); the plan refills them for each step."""
        if tuple(spans) != self.spans:
            return HOST.rope_rows(freqs, spans)
        if freqs not in self.turns:
            cos, sin = (np.array(table) for table in HOST.rope_rows(freqs, spans))
            self.turns[freqs] = cos, sin
            self.made |= {address(cos): cos, address(sin): sin}
        return self.turns[freqs]

    def plan(self, tokens: Array | None) -> Plan | None:
        """Return the plan of a step that emitted ``tokens``, or None if it could not be recorded in full."""
        if not self.possible or not self.sampled or tokens is None or len(tokens) != len(self.spans):
            return None
        from proofcompute.arithmetic.backends.numba.steps.commands import COMMAND
        from proofcompute.arithmetic.backends.numba.steps.crew import shared_words

        commands = np.zeros(len(self.commands), COMMAND)
        for i, values in enumerate(self.commands):
            for key, value in values.items():
                commands[key][i] = value
        kept = [*self.made.values(), *self.used.values()]
        seats = threads.size()
        words = shared_words(seats)
        return Plan(commands, self.spans, self.room, self.turns, self.sampled, words, seats, kept)

    @cached_property
    def _starts(self) -> list[int]:
        return list(self.buffers)

    # -- kinds of arrays -------------------------------------------------------------------------------
    def _buffer(self, x: Array) -> tuple[Array, int] | None:
        """Return the buffer that an array lies in and the row it begins with, or None."""
        i = bisect_right(self._starts, at := address(x)) - 1
        if i < 0:
            return None
        buffer = self.buffers[self._starts[i]]
        offset = at - self._starts[i]
        if offset >= buffer.nbytes:
            return None
        row, rest = divmod(offset, buffer.strides[0])
        if rest or x.strides[:1] != buffer.strides[:1]:
            raise _Unknown
        self.used[self._starts[i]] = buffer
        return buffer, row

    def _rows(self, x: Array) -> tuple[int, int]:
        """Return address and step of rows that the step computes, of a result, or of a weight."""
        at = address(x)
        if not x.size:
            return 0, 0
        if at in self.made:
            return at, 0
        if at in self.constants:
            self.used[at] = self.constants[at]
            return at, 0
        found = self._buffer(x)
        if found is None and any(start <= at < start + known.nbytes for start, known in self.made.items()):
            return at, 0
        if found is None or all((row := found[1]) != a or len(x) != b - a for _, a, b in self.spans):
            raise _Unknown
        buffer, row = found
        self.room = min(self.room, len(buffer) - row - len(x))
        return at, buffer.strides[0]

    def _fixed(self, x: Array | None) -> int:
        """Return the address of an array that does not move; 0 for None."""
        if x is None:
            return 0
        at, step = self._rows(x)
        if step:
            raise _Unknown
        return at

    def _prefix(self, x: Array, rows: int) -> Array:
        """Return the buffer whose first ``rows`` rows are x."""
        found = self._buffer(x)
        if found is None or found[1] != 0 or len(x) != rows or rows not in {b for *_, b in self.spans}:
            raise _Unknown
        self.room = min(self.room, len(found[0]) - rows)
        return found[0]

    def _made(self, x: Array) -> int:
        self.made[address(x)] = x
        return address(x)

    def _add(self, kind: str, **values: Any) -> None:
        from proofcompute.arithmetic.backends.numba.steps import commands

        self.commands.append({"kind": getattr(commands, kind), **values})

    # -- calls -------------------------------------------------------------------------------------------
    def _write_rows(self, result: None, target: Array, a: int, b: int, rows: Array) -> None:
        x, x_step = self._rows(rows)
        out, out_step = self._rows(target[a:b])
        if not out_step or rows.dtype != target.dtype or rows.shape != target[a:b].shape:
            raise _Unknown
        self._add("COPY", x=x, x_step=x_step, out=out, out_step=out_step, n=rows.nbytes)

    def _concatenate(self, result: Array, parts: Sequence[Array]) -> None:
        if len(parts) == 1:
            return
        try:
            found = [self._rows(part) for part in parts]
        except _Unknown:
            return  # with a part such as tokens, no recorded call can use the result
        at = self._made(result)
        for part, (x, step) in zip(parts, found, strict=True):
            self._add("COPY", x=x, x_step=step, out=at, n=part.nbytes)
            at += part.nbytes

    def _gather(self, result: Array, table: Array, ids: Array) -> None:
        if ids.dtype != np.int32 or ids.ndim != 1:
            raise _Unknown
        at, step = self._rows(ids)
        width = table.strides[0]
        values = {"x": self._fixed(table), "ids": at, "ids_step": step, "m": len(table), "width": width}
        self._add("TAKE", **values, n=len(ids), out=self._made(result))

    def _embed(self, result: F32, q: Array, s: F32) -> None:
        n, width = q.shape
        scale = self._fixed(s)
        self._add("EMBED", x=self._fixed(q), scale=scale, n=n, width=width, out=self._made(result))

    def _settle(self, result: F32, x: F32) -> None:
        at, step = self._rows(x)
        self._add("SETTLE", x=at, x_step=step, n=x.size, out=self._made(result))

    def _heads(
        self,
        result: Sequence[Array],
        x: F32,
        cos: F32,
        sin: F32,
        heads: int,
        kv_heads: int,
        interleaved: bool,
    ) -> None:
        q, k, ks, v, vs = map(self._made, result)
        n, width = x.shape
        pairs = cos.shape[1]
        rows = {"x": self._fixed(x), "cos": self._fixed(cos), "sin": self._fixed(sin), "n": n, "width": width}
        sizes = {"heads": kv_heads, "d": result[1].shape[2], "pairs": -pairs if interleaved else pairs}
        self._add("HEADS", **rows, **sizes, out=q, k=k, ks=ks, v=v, vs=vs)

    def _attention(
        self,
        result: F32,
        q: F32,
        kq: Array,
        ks: F32,
        vq: Array,
        vs: F32,
        first: int,
        scale: np.float32,
        window: int,
    ) -> None:
        from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

        (n, width), (have, heads, dh) = q.shape, kq.shape
        k, key_scales, v, value_scales = (address(self._prefix(x, first + n)) for x in (kq, ks, vq, vs))
        if have != first + n or heads > MOST_UNITS:
            raise _Unknown
        cached = {"k": k, "ks": key_scales, "v": v, "vs": value_scales}
        sizes = {"n": n, "width": width, "heads": heads, "d": dh, "share": n, "units": heads}
        how = {"first": first, "window": window, "factor": scale}
        self._add("ATTENTION", x=self._fixed(q), **cached, **sizes, **how, out=self._made(result))

    def _linear(
        self,
        result: F32,
        x: F32,
        w: Matrix,
        limbs: int,
        prologue: Prologue = None,
        residual: F32 | None = None,
    ) -> None:
        from proofcompute.arithmetic.backends.numba.codegen.shapes import GROUP
        from proofcompute.arithmetic.backends.numba.kernels import linear
        from proofcompute.arithmetic.backends.numba.steps.crew import MOST_UNITS

        (w_limbs, m, d), n = w.q.shape, len(x)
        mode, weight, eps = preparation(linear, prologue)
        at, step = self._rows(x)
        rest, rest_step = (0, 0) if residual is None else self._rows(residual)
        q, scale = np.empty((n + 1, d), np.int16), np.empty(n, np.float32)
        groups = -(-m // GROUP)
        share = max(1, _SHARE_BYTES // (w_limbs * d * GROUP), -(-groups // MOST_UNITS))
        values = {"w": self._fixed(w.q), "w_scale": self._fixed(w.scale), "bias": self._fixed(w.bias)}
        scratch = {
            "q": self._made(q),
            "scale": self._made(scale),
            "residual": rest,
            "residual_step": rest_step,
        }
        sizes = {"n": n, "width": x.shape[1], "m": m, "d": d, "limbs": w_limbs, "row_limbs": limbs}
        how = {"mode": mode, "before": self._fixed(weight), "factor": eps}
        rows = {"x": at, "x_step": step, "out": self._made(result)}
        shared = {"share": share, "units": -(-groups // share)}
        self._add("LINEAR", **values, **scratch, **sizes, **how, **rows, **shared)

    def _sample(
        self, result: Array, logits: F32, history: Array, first: int, how: Sampling, draws: Array
    ) -> None:
        self._fixed(logits)
        found = self._buffer(draws)
        if len(result) != 1 or found is None or found[1] != first or len(history) != first + 1:
            raise _Unknown
        tokens = self._prefix(history, first + 1)
        self.sampled.append(Sampled(logits, tokens, first, how, found[0]))
