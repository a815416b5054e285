"""Lowers ensembles of decision trees: rounds of look-ups in constants, compares and choices, then a sum.

There are no products, so a verifier computes all of it again: an audit costs what running costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering.elements import is_nan
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant

__all__ = ["COMPARES", "MEMBER", "Trees"]

COMPARES: Final = ("leq", "lt", "gte", "gt", "eq", "neq")
"""How a node compares a feature with its threshold, by number."""
MEMBER: Final = len(COMPARES)
"""The number of nodes that ask whether a feature is in a set."""
_MOST_NODES: Final = 1 << 20
_DEEPEST: Final = 1 << 8


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees as arrays over all their nodes; the followers of a leaf are itself."""

    feature: Array
    """int64 [nodes]"""
    threshold: Array
    """float32 [nodes]"""
    mode: Array
    """int64 [nodes]: numbers of :data:`COMPARES`, or MEMBER."""
    yes: Array
    """int64 [nodes]: the node that follows where the compare holds."""
    no: Array
    missing: Array
    """bool [nodes]: whether a NaN follows ``yes``."""
    roots: Array
    """int64 [trees]"""
    values: Array
    """float32 [nodes, targets]: what a leaf adds."""
    members: Array | None = None
    """float32 [nodes, size]: the set of a MEMBER node, filled up with NaN."""

    def depth(self) -> int:
        """Return the most nodes between a root and a leaf. Raises RefusedError if these are no trees."""
        n = len(self.feature)
        sizes = {len(v) for v in (self.threshold, self.mode, self.yes, self.no, self.missing, self.values)}
        if not 1 <= n <= _MOST_NODES or sizes != {n} or not len(self.roots):
            raise RefusedError(f"trees of {n} nodes, or lists of different lengths")
        for v in (self.yes, self.no, self.roots):
            if v.min() < 0 or v.max() >= n:
                raise RefusedError("a tree names a node that is not there")
        level, depth, seen = self.roots, 0, 0
        while True:
            inner = level[(self.yes[level] != level) | (self.no[level] != level)]
            if not len(inner):
                return depth
            seen += len(inner)
            depth += 1
            if depth > _DEEPEST or seen > 2 * _MOST_NODES:
                raise RefusedError(f"trees deeper than {_DEEPEST}, or with a cycle")
            level = np.concatenate([self.yes[inner], self.no[inner]])

    def leaves(self, g: Graph, x: Value) -> Value:
        """Return what the leaf of each tree adds, [samples, trees, targets], for x [samples, features]."""
        samples, features = x.shape
        if self.feature.min() < 0 or self.feature.max() >= features:
            raise RefusedError(f"trees read features that rows of {features} do not have")
        flat = g.reshape(g.cast(x, "f32"), (samples * features,))
        start = constant(np.arange(samples).reshape(-1, 1) * features, "i64")
        node: Value = Constant(
            np.broadcast_to(self.roots, (samples, len(self.roots))).astype(np.int64), "i64"
        )
        for _ in range(self.depth()):
            v = g.take(flat, g.map("add", self._of(g, self.feature, node, "i64"), start))
            holds = self._holds(g, v, node)
            if self.missing.any():
                nan = g.map("and", is_nan(g, v), self._of(g, self.missing, node, "bool"))
                holds = g.map("or", nan, holds)
            node = g.select(holds, self._of(g, self.yes, node, "i64"), self._of(g, self.no, node, "i64"))
        return g.take(constant(self.values, "f32"), node)

    @staticmethod
    def _of(g: Graph, table: Array, node: Value, dtype: str) -> Value:
        """Return the entries of nodes."""
        return g.take(constant(table, dtype), node)

    def _holds(self, g: Graph, v: Value, node: Value) -> Value:
        t = self._of(g, self.threshold, node, "f32")
        found: Value | None = None
        inner = (self.yes != np.arange(len(self.yes))) | (self.no != np.arange(len(self.no)))
        for mode in np.unique(self.mode[inner]):
            one = self._compared(g, int(mode), v, t, node)
            if found is None:
                found = one
                continue
            here = self._of(g, self.mode == mode, node, "bool")
            found = g.select(here, one, found)
        if found is None:
            raise RefusedError("trees without compares")
        return found

    def _compared(self, g: Graph, mode: int, v: Value, t: Value, node: Value) -> Value:
        if mode == MEMBER and self.members is not None:
            wide = g.reshape(v, (*v.shape, 1))
            same = g.map("eq", wide, self._of(g, self.members, node, "f32"))
            return g.reduce("max", same, (2,))
        if mode >= MEMBER:
            raise RefusedError(f"a compare of number {mode}")
        kind = COMPARES[mode]
        if kind in ("eq", "neq"):
            same = g.map("eq", v, t)
            return same if kind == "eq" else g.map("not", same)
        first, second = (v, t) if kind in ("leq", "lt") else (t, v)
        return g.map("le" if kind in ("leq", "gte") else "lt", first, second)
