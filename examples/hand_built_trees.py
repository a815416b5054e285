"""Builds an ensemble of decision trees, proves and audits it: `python examples/hand_built_trees.py`.

The trees are constants of the model, which every key holds. In each round a place in each tree takes its
feature and threshold, compares, and goes on to a child; a leaf is its own child. There are no products, so a
verifier computes everything again: **an audit of trees costs what the run costs**, and it pays by sampling.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import proofcompute as pc
from proofcompute.arrays import F32
from proofcompute.models.model import Model

FEATURES, TREES, DEPTH = 6, 10, 4
NODES = 2 ** (DEPTH + 1) - 1


class Trees(NamedTuple):
    """Nodes of all trees, one tree after the other; children are numbers in these arrays."""

    feature: npt.NDArray[np.int32]
    threshold: F32
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: F32


def grow(seed: int = 0) -> Trees:
    """Return random complete trees."""
    rng = np.random.default_rng(seed)
    at = np.arange(NODES)
    inner = at < NODES // 2
    first = np.arange(TREES)[:, np.newaxis] * NODES
    left, right = (first + np.where(inner, 2 * at + side, at) for side in (1, 2))
    total = TREES * NODES
    return Trees(
        rng.integers(0, FEATURES, total).astype(np.int32),
        rng.standard_normal(total).astype(np.float32),
        left.reshape(-1).astype(np.int32),
        right.reshape(-1).astype(np.int32),
        rng.standard_normal(total).astype(np.float32),
    )


def build(trees: Trees) -> Model:
    """Build the ensemble: one round of look-ups for each level; the places half-way down are committed."""
    b = pc.ProgramBuilder(context=256)
    x = b.input("features", FEATURES)
    feature, threshold, left, right, value = (
        b.constant(nodes, name=name) for name, nodes in trees._asdict().items()
    )
    place = b.constant(np.arange(TREES, dtype=np.int32) * NODES) + 0 * b.cast(x[0], "i32")
    for level in range(DEPTH):
        if level == DEPTH // 2:
            b.cut(place)
        here = b.take(x, b.take(feature, place)) <= b.take(threshold, place)
        place = b.select(here, b.take(left, place), b.take(right, place))
    b.output(b.reduce("sum", b.take(value, place), 0, name="score"))
    return b.model()


def reference(trees: Trees, x: F32) -> F32:
    """Return the scores, walking down the trees one by one."""
    scores = []
    for row in x:
        total = np.float32(0)
        for tree in range(TREES):
            at = tree * NODES
            for _ in range(DEPTH):
                small = row[trees.feature[at]] <= trees.threshold[at]
                at = int(trees.left[at] if small else trees.right[at])
            total += trees.value[at]
        scores.append(total)
    return np.array(scores, np.float32)


def run_and_audit(node_has: Model, auditor: pc.Auditor, x: F32) -> tuple[pc.Verified, F32]:
    """Make one request: the node answers with the model ``node_has``, the verifier audits every cell."""
    node = pc.Node(node_has)
    request = pc.array_request(auditor.card, x, node=node.public)
    answer = node.answer(request)
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    return verified, answer.outputs["score"]


def main() -> None:
    trees = grow()
    model = build(trees)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("auto")))
    x = np.random.default_rng(1).standard_normal((50, FEATURES), np.float32)

    result, scores = run_and_audit(model, auditor, x)
    assert np.allclose(scores, reference(trees, x), atol=1e-5)
    print(f"honest: {result.cells} of {result.total} cells right, all of them computed again")

    name = "threshold.value"
    threshold = model.constant(name).copy()
    threshold[::NODES] = -threshold[::NODES]
    other = replace(model, weights={**model.weights, name: threshold})
    try:
        run_and_audit(other, auditor, x)
    except pc.VerificationError as e:
        print(f"other branches at the roots: rejected ({e})")


if __name__ == "__main__":
    main()
