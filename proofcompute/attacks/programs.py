"""Nodes that run another program than that of the model that they claim to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import numpy as np

from proofcompute.attacks.attack import Cheat, in_blocks
from proofcompute.attacks.operations import Identity, NarrowGate, OffsetRope, Unscaled
from proofcompute.attacks.target import NotApplicable, Target
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import ExecutionError
from proofcompute.program.operations import Attention, Gate, LayerNorm, Linear, RmsNorm, Rope
from proofcompute.program.types import Node
from proofcompute.testing.altered import one_limb, short_context, with_operations
from proofcompute.testing.forging import Forgery

__all__ = ["PROGRAMS", "WINDOW"]

WINDOW: Final = 4
"""Positions that the node with a shortened context looks at."""
_ONE: Final = f32_bits(1.0)


def changed(
    of: type[Any] | tuple[type[Any], ...], why: str, **attributes: Any
) -> Callable[[Target], Forgery]:
    """Give all operations of a class other attributes. NotApplicable if that changes none."""

    def build(t: Target) -> Forgery:
        def change(node: Node) -> Node:
            if not isinstance(node.op, of) or not _has(node.op, attributes):
                return node
            return replace(node, op=replace(node.op, **attributes))

        return _with(t, change, why)

    return build


def _has(op: Any, attributes: Mapping[str, Any]) -> bool:
    """Return whether an attribute is of any use in an operation: a cap that is dropped must be there."""
    return any(getattr(op, name) != value for name, value in attributes.items())


def _with(t: Target, change: Callable[[Node], Node], why: str) -> Forgery:
    runs = with_operations(t.model, change)
    if runs.program.segments == t.model.program.segments:
        raise NotApplicable(why)
    return t.forge(runs=runs)


def _shifted(t: Target) -> Forgery:
    """The last rotation of each block is that of the next position."""

    def last(node: Node) -> bool:
        for block in t.blocks:
            turns = [n for n in t.model.program.segments[block].nodes if isinstance(n.op, Rope)]
            if turns and turns[-1] == node:
                return True
        return False

    def shift(node: Node) -> Node:
        return replace(node, op=OffsetRope.of(node.op)) if isinstance(node.op, Rope) and last(node) else node

    return _with(t, shift, "no rotation")


def _other_base(t: Target) -> Forgery:
    """Frequencies are halved: another base, or positions that are interpolated."""

    def halve(node: Node) -> Node:
        if not isinstance(node.op, Rope):
            return node
        slow = tuple(f32_bits(np.uint32(f).view(np.float32) / 2) for f in node.op.freqs)
        return replace(node, op=replace(node.op, freqs=slow))

    return _with(t, halve, "no rotation")


def _norms(make: type[Any]) -> Callable[[Target], Forgery]:
    """The first norm of each block is another operation; or the last of one block, if that has no result."""

    def build(t: Target) -> Forgery:
        kinds = RmsNorm | LayerNorm
        found = {b: [n for n in _nodes(t, b) if isinstance(n.op, kinds)] for b in t.blocks}
        first = [norms[0] for norms in found.values() if norms]
        for replaced in (first, found[t.middle][-1:]):

            def change(node: Node, those: Sequence[Node] = replaced) -> Node:
                if node not in those or not isinstance(node.op, kinds):
                    return node
                return replace(node, op=make(node.op.weight))

            with suppress(ExecutionError):
                return _with(t, change, "no norm in a block")
        raise NotApplicable("without its norms the model has no result")

    return build


def _nodes(t: Target, segment: int) -> tuple[Node, ...]:
    return t.model.program.segments[segment].nodes


def _activation(t: Target) -> Forgery:
    def change(node: Node) -> Node:
        return replace(node, op=NarrowGate()) if type(node.op) is Gate else node

    return _with(t, change, "no gate with SiLU")


def _half_scale(t: Target) -> Forgery:
    def change(node: Node) -> Node:
        if not isinstance(node.op, Attention):
            return node
        half = f32_bits(np.uint32(node.op.scale).view(np.float32) / 2)
        return replace(node, op=replace(node.op, scale=half))

    return _with(t, change, "no attention")


def _narrow(t: Target) -> Forgery:
    if not any(
        isinstance(n.op, Linear) and n.op.limbs > 1 for s in t.model.program.segments for n in s.nodes
    ):
        raise NotApplicable("activations have one limb already")
    return t.forge(runs=one_limb(t.model))


def _wider(t: Target) -> Forgery:
    """A window of WINDOW positions more."""

    def change(node: Node) -> Node:
        if not isinstance(node.op, Attention) or not 0 < node.op.window < 2 * WINDOW:
            return node
        return replace(node, op=replace(node.op, window=node.op.window + WINDOW))

    return _with(t, change, "no window that a prompt of this length fills")


def _no_window(t: Target) -> Forgery:
    def change(node: Node) -> Node:
        if not isinstance(node.op, Attention) or not 0 < node.op.window < 2 * WINDOW:
            return node
        return replace(node, op=replace(node.op, window=0))

    return _with(t, change, "no window that a prompt of this length fills")


def _sinks(t: Target) -> Forgery:
    return changed(Attention, "no sinks", sinks="")(t)


def _capped(t: Target) -> Forgery:
    return changed(Attention, "no cap of scores", softcap=0)(t)


PROGRAMS: Final[Mapping[str, Cheat]] = {
    "one-limb activations": Cheat(
        "quantises activations to 8 bits where the program says 16", "lower precision", _narrow, own=8
    ),
    "one limb of queries": Cheat(
        "quantises queries to 8 bits where the program says 16",
        "lower precision",
        changed(Attention, "queries have one limb already", limbs=1),
        in_blocks,
        8,
    ),
    "another activation": Cheat(
        "gates without the exponential, as a cheaper network would",
        "architecture swap",
        _activation,
        in_blocks,
        8,
    ),
    "another scale of scores": Cheat(
        "halves the factor on attention's scores", "architecture swap", _half_scale, in_blocks, 8
    ),
    "softcap ignored": Cheat("does not cap scores", "architecture swap", _capped, in_blocks, 8),
    "sink dropped": Cheat("leaves the sinks out of the softmax", "architecture swap", _sinks, in_blocks, 8),
    "norm variance replaced": Cheat(
        "multiplies by a constant instead of dividing by the root of the mean square",
        "norms",
        _norms(Unscaled),
        in_blocks,
        (8, 9),
    ),
    "norm left out": Cheat("passes rows by a norm", "norms", _norms(Identity), in_blocks, 8),
    "another epsilon": Cheat(
        "adds 1 to the mean square in norms",
        "norms",
        changed((RmsNorm, LayerNorm), "no norm", eps=_ONE),
        own=(8, 9),
    ),
    "wrong offset in RoPE": Cheat(
        "rotates keys as if they were one position further",
        "positions",
        _shifted,
        in_blocks,
        (8, 9),
    ),
    "another base of RoPE": Cheat(
        "halves the frequencies, as if positions were interpolated",
        "positions",
        _other_base,
        in_blocks,
        (8, 9),
    ),
    "rotation not scaled": Cheat(
        "leaves the factor of the rotation out",
        "positions",
        changed(Rope, "the rotation has no factor", scale=_ONE),
        in_blocks,
        (8, 9),
    ),
    "shortened context": Cheat(
        f"looks {WINDOW} tokens back only",
        "shortened context",
        lambda t: t.forge(runs=short_context(t.model, WINDOW)),
        in_blocks,
        8,
    ),
    "window widened": Cheat(
        "looks back further than the program's window", "shortened context", _wider, in_blocks, 8
    ),
    "window dropped": Cheat("looks back as far as it likes", "shortened context", _no_window, in_blocks, 8),
}
"""Cheats that run another program."""
