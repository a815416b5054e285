"""Lowers recurrent layers: the product of the inputs is made for all steps, the recurrent one in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.moves import reverse_sequence
from proofcompute.importers.lowering.products import linear
from proofcompute.importers.lowering.values import Constant, RefusedError, Row, Value, constant
from proofcompute.models.building.tensor import Tensor

__all__ = ["Activation", "Layer", "activation", "scan"]

Activation = Callable[[Graph, Value], Value]
"""A function of gates."""


def activation(name: str, alpha: float | None = None, beta: float | None = None) -> Activation:
    """Return a function of gates by its ONNX name, with its parameters."""

    def given(value: float | None, default: float) -> float:
        return default if value is None else value

    def affine(g: Graph, x: Value) -> Value:
        return g.map("add", g.map("mul", x, given(alpha, 1.0)), given(beta, 0.0))

    def hard(g: Graph, x: Value) -> Value:
        line = g.map("add", g.map("mul", x, given(alpha, 0.2)), given(beta, 0.5))
        return el.clip(g, line, 0.0, 1.0)

    def scaled(g: Graph, x: Value) -> Value:
        return g.map("mul", g.map("tanh", g.map("mul", x, given(beta, 1.0))), given(alpha, 1.0))

    def elu(g: Graph, x: Value) -> Value:
        low = g.map("mul", el.UNARY["expm1"](g, g.map("min", x, 0.0)), given(alpha, 1.0))
        return g.select(g.map("lt", x, 0.0), low, x)

    def leaky(g: Graph, x: Value) -> Value:
        return el.leaky(g, x, given(alpha, 0.01))

    def thresholded(g: Graph, x: Value) -> Value:
        return g.select(g.map("lt", given(alpha, 1.0), x), x, 0.0)

    found: dict[str, Activation] = {
        "affine": affine,
        "elu": elu,
        "hardsigmoid": hard,
        "leakyrelu": leaky,
        "relu": el.UNARY["relu"],
        "scaledtanh": scaled,
        "sigmoid": el.UNARY["sigmoid"],
        "softplus": el.UNARY["softplus"],
        "softsign": el.UNARY["softsign"],
        "tanh": el.UNARY["tanh"],
        "thresholdedrelu": thresholded,
    }
    if name.lower() not in found:
        raise RefusedError(f"activation {name!r}")
    return found[name.lower()]


def scan(
    g: Graph,
    body: Callable[..., tuple[Sequence[Value], Sequence[Value]]],
    carried: Sequence[Value],
    scanned: Sequence[Value],
    whole: Sequence[Value],
    count: int,
) -> tuple[list[Value], list[Value]]:
    """Run a body ``count`` times over values inside a row; see :meth:`ProgramBuilder.scan`.

    On constants the steps are evaluated one after the other. ``body`` takes carried values, entries of the
    scanned ones, and whole ones; it returns the next carried values and what is collected.
    """
    given = (*carried, *scanned, *whole)
    if all(isinstance(v, Constant) for v in given):
        state, rows, names = list(carried), [], g.names()
        for t in range(count):
            g.rename(names)  # a loop of a program names its products once
            entries = [g.reshape(g.slice(v, 0, t, t + 1), v.shape[1:]) for v in scanned]
            following, collected = body(*state, *entries, *whole)
            state = list(following)
            rows.append([g.reshape(v, (1, *v.shape)) for v in collected])
        return state, [g.concat(parts, 0) for parts in zip(*rows, strict=True)]
    inputs = frozenset[str]().union(*(v.inputs for v in given if isinstance(v, Row)))
    dtypes = [v.dtype for v in given]
    made: list[list[str]] = []

    def inner(*tensors: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        values = [g.row(t, d, inputs) for t, d in zip(tensors, dtypes, strict=True)]
        following, collected = body(*values)
        made.append([v.dtype for v in collected])
        return [own(v) for v in following], [own(v) for v in collected]

    def own(v: Value) -> Tensor:
        """Return a tensor that the body has made, as a loop's results are."""
        tensor = g.tensor(v)
        return g.builder.reshape(tensor, tensor.shape) if isinstance(v, Constant) else tensor

    last, rows_ = g.builder.scan(
        inner,
        [g.tensor(v) for v in carried],
        [g.tensor(v) for v in scanned],
        [g.tensor(v) for v in whole],
        count=count,
    )
    return (
        [g.row(t, v.dtype, inputs) for t, v in zip(last, carried, strict=True)],
        [g.row(t, d, inputs) for t, d in zip(rows_, made[0], strict=True)],
    )


@dataclass(frozen=True, eq=False)
class Layer:
    """A recurrent layer in one direction."""

    kind: str
    """``rnn``, ``gru`` or ``lstm``; gates stand as in ONNX."""
    w: Value
    """[gates h, d]"""
    r: Value
    """[gates h, h]"""
    bias: Value
    """[2 gates h]: of the inputs, then of the recurrent product."""
    functions: Sequence[Activation]
    peephole: Value | None = None
    """[3 h], of an LSTM."""
    clip: float | None = None
    coupled: bool = False
    """Whether the forget gate of an LSTM is 1 minus the input gate."""
    after: bool = False
    """Whether the reset gate of a GRU is applied behind the recurrent product."""

    def run(
        self,
        g: Graph,
        x: Value,
        states: Sequence[Value],
        lengths: Value | None,
        *,
        backwards: bool,
    ) -> tuple[Value, list[Value]]:
        """Return the outputs of all steps [steps, samples, h], and the last states [samples, h].

        x is [steps, samples, d]. Sequences with lengths give zeros after their ends.
        """
        steps, samples, _ = x.shape
        if backwards:
            x = reverse_sequence(g, x, self._lengths(lengths, steps, samples), 0, 1)
        gates, hidden = self.w.shape[0], self.r.shape[-1]
        first, second = (g.slice(self.bias, 0, i * gates, (i + 1) * gates) for i in range(2))
        whole: list[Value] = []
        fused = self.kind != "gru" or not self.after
        if fused and self.kind != "gru":
            first = g.map("add", first, second)
        seen = linear(g, x, self.w, first)
        bias = None if self.kind != "gru" else second
        # what depends on rows must be handed to the loop
        extra = [v for v in (self.r, bias, self.peephole) if isinstance(v, Row)]
        whole.extend(extra)
        if lengths is not None and isinstance(lengths, Row):
            whole.append(lengths)

        def body(*values: Value) -> tuple[list[Value], list[Value]]:
            state, entry = list(values[: len(states)]), values[len(states)]
            t = values[len(states) + 1] if lengths is not None else None
            rest = list(values[len(states) + 1 + (lengths is not None) :])
            r = rest.pop(0) if isinstance(self.r, Row) else self.r
            b = (rest.pop(0) if isinstance(bias, Row) else bias) if bias is not None else None
            p = (rest.pop(0) if isinstance(self.peephole, Row) else self.peephole) if self.peephole else None
            n = rest.pop(0) if isinstance(lengths, Row) else lengths
            following = self._step(g, entry, state, r, b, p, hidden)
            out = following[0]
            if n is not None and t is not None:
                going = g.map("lt", t, g.reshape(g.cast(n, "i64"), (samples, 1)))
                following = [g.select(going, new, old) for new, old in zip(following, state, strict=True)]
                out = g.select(going, out, 0.0)
            return following, [out]

        scanned = [seen]
        if lengths is not None:
            scanned.append(constant(np.arange(steps).reshape(steps, 1, 1), "i64"))
        state, (outputs,) = scan(g, body, states, scanned, whole, steps)
        if backwards:
            outputs = reverse_sequence(g, outputs, self._lengths(lengths, steps, samples), 0, 1)
        return outputs, state

    @staticmethod
    def _lengths(lengths: Value | None, steps: int, samples: int) -> Value:
        return constant(np.full(samples, steps), "i64") if lengths is None else lengths

    def _clipped(self, g: Graph, x: Value) -> Value:
        return x if self.clip is None else el.clip(g, x, -self.clip, self.clip)

    def _step(
        self,
        g: Graph,
        x: Value,
        state: Sequence[Value],
        r: Value,
        b: Value | None,
        p: Value | None,
        hidden: int,
    ) -> list[Value]:
        h = state[0]
        if self.kind == "gru":
            return [self._gru(g, x, h, r, b, hidden)]
        z = g.map("add", x, linear(g, h, r))
        if self.kind == "rnn":
            return [self.functions[0](g, self._clipped(g, z))]
        return self._lstm(g, z, state[1], p, hidden)

    def _lstm(self, g: Graph, z: Value, c: Value, p: Value | None, hidden: int) -> list[Value]:
        i, o, f, n = (g.slice(z, 1, k * hidden, (k + 1) * hidden) for k in range(4))
        ahead = None
        if p is not None:
            pi, ahead, pf = (g.slice(p, 0, k * hidden, (k + 1) * hidden) for k in range(3))
            i = g.map("add", i, g.map("mul", pi, c))
            f = g.map("add", f, g.map("mul", pf, c))
        gate, cell, out = self.functions
        i = gate(g, self._clipped(g, i))
        f = g.map("sub", 1.0, i) if self.coupled else gate(g, self._clipped(g, f))
        n = cell(g, self._clipped(g, n))
        c = g.map("add", g.map("mul", f, c), g.map("mul", i, n))
        if ahead is not None:
            o = g.map("add", o, g.map("mul", ahead, c))
        o = gate(g, self._clipped(g, o))
        return [g.map("mul", o, out(g, c)), c]

    def _gru(self, g: Graph, x: Value, h: Value, r: Value, b: Value | None, hidden: int) -> Value:
        def part(v: Value, k: int, n: int = 1) -> Value:
            return g.slice(v, len(v.shape) - 1, k * hidden, (k + n) * hidden)

        def rows(k: int, n: int) -> Value:
            return g.slice(r, 0, k * hidden, (k + n) * hidden)

        if b is None:
            raise RefusedError("a recurrent unit without biases")
        gate, cell = self.functions
        both = g.map("add", part(x, 0, 2), g.map("add", linear(g, h, rows(0, 2)), part(b, 0, 2)))
        both = gate(g, self._clipped(g, both))
        update, reset = part(both, 0), part(both, 1)
        if self.after:
            inner = g.map("mul", reset, g.map("add", linear(g, h, rows(2, 1)), part(b, 2)))
        else:
            inner = g.map("add", linear(g, g.map("mul", reset, h), rows(2, 1)), part(b, 2))
        fresh = cell(g, self._clipped(g, g.map("add", part(x, 2), inner)))
        return g.map("add", g.map("mul", g.map("sub", 1.0, update), fresh), g.map("mul", update, h))
