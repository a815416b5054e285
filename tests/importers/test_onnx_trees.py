"""Ensembles of trees from ONNX files: beside the reference of ONNX, audited, and hostile ones refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import proofcompute as pc
from importers import onnx_nets
from importers.test_onnx_nets import asked, compiled
from proofcompute.importers.lowering.trees import Trees
from proofcompute.importers.lowering.values import RefusedError

KINDS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")


@pytest.mark.parametrize("kind", KINDS)
def test_trees_give_what_the_reference_gives_and_are_audited(kind: str) -> None:
    data = onnx_nets.trees(kind)
    x = np.random.default_rng(1).standard_normal((7, 6)).astype(np.float32)
    wanted = ReferenceEvaluator(onnx_nets.parse(data)).run(None, {"x": x})
    model = compiled(data)
    node, request = asked(model, x)
    answer = node.answer(request)
    for name, right in zip(model.program.outputs, wanted, strict=True):
        np.testing.assert_allclose(answer.outputs[name], right, rtol=1e-5, atol=1e-6)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("numpy")), device="numpy")
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total
    values = next(w.name for w in model.program.weights if w.dtype == "f32" and len(w.shape) == 2)
    changed: Any = model.constant(values).copy()
    changed += np.float32(1)
    cheat = replace(model, weights={**model.weights, values: changed})
    node, request = asked(cheat, x)
    lie = node.answer(request)
    with pytest.raises(pc.VerificationError):
        auditor.audit(request, lie.receipt, lambda c: node.open(request, lie.receipt, c), "all")


def tree(**changes: Any) -> Trees:
    """Return a tree of one compare and two leaves, with changes."""
    whole = {
        "feature": np.zeros(3, np.int64), "threshold": np.zeros(3, np.float32), "mode": np.zeros(3, np.int64),
        "yes": np.array([1, 1, 2]), "no": np.array([2, 1, 2]), "missing": np.zeros(3, bool),
        "roots": np.array([0]), "values": np.ones((3, 1), np.float32),
    }  # fmt: skip
    return Trees(**{**whole, **changes})


def test_what_is_no_tree_is_refused() -> None:
    assert tree().depth() == 1
    for changes in (
        {"yes": np.array([1, 0, 2])},
        {"yes": np.array([1, 0, 2]), "no": np.array([2, 0, 2])},
        {"yes": np.array([3, 1, 2])},
        {"no": np.array([-1, 1, 2])},
        {"roots": np.array([5])},
        {"roots": np.zeros(0, np.int64)},
        {"threshold": np.zeros(2, np.float32)},
    ):
        with pytest.raises(RefusedError):
            tree(**changes).depth()
