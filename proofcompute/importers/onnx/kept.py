"""Keeps what the nodes of an ONNX graph made, between evaluations for the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant
from proofcompute.importers.onnx.calls import Given

__all__ = ["Kept"]


@dataclass(frozen=True, eq=False)
class _Made:
    """What a node made in an evaluation."""

    inputs: tuple[Given, ...]
    outputs: tuple[Given, ...]
    names: frozenset[str]
    """Names that it took."""
    limbs: Mapping[str, tuple[int, int]]
    """The limbs to which its products were rounded."""


@dataclass
class Kept:
    """Evaluates a graph again and again for the same inputs, with products rounded otherwise.

    What the nodes made in an evaluation that keeps it is taken again where neither a node's inputs nor the
    limbs of its products differ.
    """

    given: Mapping[str, Given]
    """The inputs and initial values of the graph."""
    most: int
    """Bytes of results that may be kept."""
    _nodes: dict[int, _Made] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    """Arrays, by identity, whose bytes are kept: many results are views of others."""
    _bytes: int = 0

    def forget(self) -> None:
        """Keep nothing any more."""
        self._nodes.clear()
        self._held.clear()
        self._bytes = 0

    def outputs(self, g: Graph, place: int, inputs: Sequence[Given]) -> Sequence[Given] | None:
        """Return what the node in a place made from these inputs, if it would make the same now."""
        found = self._nodes.get(place)
        if found is None or g.study is None or len(inputs) != len(found.inputs):
            return None
        if any(a is not b for a, b in zip(inputs, found.inputs, strict=True)):
            return None
        if any(g.study.limbs(name) != limbs for name, limbs in found.limbs.items()):
            return None
        g.rename(g.names() | found.names)
        g.study.names.extend(found.names)
        return found.outputs

    def keep(
        self, g: Graph, place: int, inputs: Sequence[Given], outputs: Sequence[Given], names: set[str]
    ) -> None:
        """Keep what a node made, unless something of its place is kept or there is no room."""
        if place in self._nodes or g.study is None or not g.study.keep:
            return
        new = {id(a): a.nbytes for a in (_owner(x.array) for x in outputs if isinstance(x, Constant))}
        self._bytes += sum(size for owner, size in new.items() if owner not in self._held)
        if self._bytes <= self.most:
            self._held |= new.keys()
            taken = frozenset(g.names() - names)
            limbs = {name: g.study.limbs(name) for name in taken}
            self._nodes[place] = _Made(tuple(inputs), tuple(outputs), taken, limbs)


def _owner(array: Array) -> Array:
    """Return the array whose memory an array shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
