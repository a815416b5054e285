"""Fuse neighbouring operations of a segment that run as one function of a backend.

A program says what is computed and is hashed into the model id; the number of calls that takes is left open.
:func:`fuse` replaces steps by fused ones with the same inputs, outputs and products in the same order, where
the tensors in between are read nowhere else and are not committed. Prover and verifier run the same fused
steps: where a product is a hint, its prologue and its residual are computed around the check.

=============================================  ==========================================
steps                                          fused step
=============================================  ==========================================
Maps of one shape                              one :class:`.elementwise.Elementwise`
Views, Linear, Map over rows of several axes   one :class:`.through.Product`
Views, Map, Reduce                             one :class:`.through.Reduction`
[RmsNorm or Gate], Linear, [Add]               ``Products.linear`` with ``prologue`` and ``residual``
Split in three, two Rope, two QuantiseHeads    ``Kernels.heads``
=============================================  ==========================================

Classes are compared by identity, because a subclass may compute something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from proofcompute.arithmetic.kernels import GatePrologue, Kernels, NormPrologue, Prologue
from proofcompute.arrays import Array, Span
from proofcompute.program.operations.attention import QuantiseHeads, Rope
from proofcompute.program.operations.base import from_bits
from proofcompute.program.operations.elementwise import join_maps
from proofcompute.program.operations.linear import Linear, shaped
from proofcompute.program.operations.moving import Split
from proofcompute.program.operations.pointwise import Add, Gate, RmsNorm, matrices
from proofcompute.program.operations.through import join_views
from proofcompute.program.source import LinearCall, Source
from proofcompute.program.types import Step

__all__ = ["FusedHeads", "FusedLinear", "fuse"]


@dataclass(frozen=True)
class FusedLinear:
    """A product with its prologue and its residual."""

    linear: Linear
    prologue: RmsNorm | Gate | None
    residual: bool
    """Whether a second input is added to the result."""

    broadcasts = False
    products = True
    captured = True

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run on the rows and, if there is one, the residual."""
        prologue: Prologue = None
        if isinstance(self.prologue, RmsNorm):
            weight = src.weights.constant(self.prologue.weight)
            prologue = NormPrologue(weight, from_bits(self.prologue.eps, "rms norm eps"))
        elif self.prologue is not None:
            prologue = GatePrologue()
        rest = matrices(ins[1]) if self.residual else None
        call = LinearCall(self.linear.weight, matrices(ins[0]), self.linear.limbs, prologue, rest)
        return (shaped(src.products.linear(call, k), ins[0].shape),)


@dataclass(frozen=True)
class FusedHeads:
    """The rotation and quantisation of the queries, keys and values in a row."""

    queries: Rope
    keys: Rope
    limbs: int
    """Limbs of keys and values."""

    broadcasts = False
    products = False
    captured = True

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        """Run on one input, and return queries, keys, key scales, values and value scales."""
        turn = self.queries
        cos, sin = k.rope_rows(turn.freqs, spans, from_bits(turn.scale, "rope scale"))
        sizes = (turn.heads, self.keys.heads, bool(turn.interleaved), self.limbs)
        return k.heads(ins[0], cos, sin, *sizes)


class _Uses(NamedTuple):
    """The readers of each tensor inside a segment."""

    readers: dict[str, list[int]]
    """Positions of the steps that read a tensor."""
    private: frozenset[str]
    """Tensors read by exactly one step, once, and neither committed nor emitted."""

    def only_reader(self, name: str) -> int | None:
        """Return the position of the one step that reads a tensor, or None if it is not private."""
        return self.readers[name][0] if name in self.private else None


def _uses(steps: Sequence[Step], results: frozenset[str]) -> _Uses:
    readers: dict[str, list[int]] = {}
    times: Counter[str] = Counter()
    for i, step in enumerate(steps):
        for name, _ in step.inputs:
            readers.setdefault(name, []).append(i)
            times[name] += 1
    private = {
        n for step in steps for n, kept, _ in step.outputs if not kept and times[n] == 1 and n not in results
    }
    return _Uses(readers, frozenset(private))


def fuse(steps: Sequence[Step], results: frozenset[str] = frozenset()) -> tuple[Step, ...]:
    """Return the steps with neighbours fused; the results and the order of products stay the same.

    ``results`` are tensors that are used besides those that the steps keep.
    """
    steps = join_views(join_maps(steps, results), results)
    uses = _uses(steps, results)
    made = {name: i for i, step in enumerate(steps) for name, *_ in step.outputs}
    replaced: dict[int, Step | None] = {}
    for i, step in enumerate(steps):
        found = None
        if type(step.op) is Linear:
            found = _around_linear(i, step.op, steps, uses, made)
        elif type(step.op) is Split:
            found = _heads(i, step.op.widths, steps, uses)
        if found is not None and not replaced.keys() & found.keys():
            replaced.update(found)
    kept = (replaced.get(i, step) for i, step in enumerate(steps))
    return tuple(step for step in kept if step is not None)


def _around_linear(
    i: int, linear: Linear, steps: Sequence[Step], uses: _Uses, made: dict[str, int]
) -> dict[int, Step | None] | None:
    step = steps[i]
    (x, _), where, outputs = step.inputs[0], step.name, step.outputs
    out: dict[int, Step | None] = {}
    prologue: RmsNorm | Gate | None = None
    inputs = step.inputs
    first = made.get(x)
    if first is not None and uses.only_reader(x) == i:
        op = steps[first].op
        if type(op) is RmsNorm or type(op) is Gate:
            prologue, inputs, where = op, steps[first].inputs, f"{steps[first].name}+{_short(where)}"
            out[first] = None
    last = uses.only_reader(outputs[0][0])
    if last is not None and type(steps[last].op) is Add:
        names = [n for n, _ in steps[last].inputs]
        other = steps[last].inputs[1 - names.index(outputs[0][0])]
        if made.get(other[0], -1) < i:  # else the residual does not exist yet
            inputs, outputs = (*inputs, other), steps[last].outputs
            where = f"{where}+{_short(steps[last].name)}"
            out[last] = None
    if not out:
        return None
    out[i] = Step(where, FusedLinear(linear, prologue, len(inputs) == 2), inputs, outputs)
    return out


def _heads(
    i: int, widths: Sequence[int], steps: Sequence[Step], uses: _Uses
) -> dict[int, Step | None] | None:
    split = steps[i]
    if len(split.outputs) != 3:
        return None
    found = [uses.only_reader(name) for name, *_ in split.outputs]
    if None in found:
        return None
    q, turned, v = (steps[j] for j in found if j is not None)
    if not (type(q.op) is Rope and type(turned.op) is Rope and type(v.op) is QuantiseHeads):
        return None
    last = uses.only_reader(turned.outputs[0][0])
    if last is None:
        return None
    k = steps[last]
    if type(k.op) is not QuantiseHeads:
        return None
    heads, kv_heads = q.op.heads, turned.op.heads
    same = (
        k.op.heads == kv_heads
        and k.op == v.op
        and not k.op.latent
        and not q.op.start
        and q.op == replace(turned.op, heads=heads)
        and widths[1] == widths[2]
        and widths[0] * kv_heads == widths[1] * heads
    )
    if not same:
        return None
    where = "+".join([split.name, *(_short(s.name) for s in (q, turned, k, v))])
    out: dict[int, Step | None] = {j: None for j in (*found, last) if j is not None}
    out[i] = Step(
        where, FusedHeads(q.op, turned.op, k.op.limbs), split.inputs, (*q.outputs, *k.outputs, *v.outputs)
    )
    return out


def _short(name: str) -> str:
    """Return a step's name without that of its segment."""
    return name.split("/", 1)[-1]
