"""Graphs that PyTorch exported are lowered where there is no PyTorch; ``aten.record`` wrote them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from aten.recording import read
from proofcompute.importers.aten.compiling import compile_graph
from proofcompute.importers.aten.graphs import AtenGraph, Operation, Ref, TensorType
from proofcompute.importers.aten.rows import evaluate, lowered
from proofcompute.importers.lowering.finishing import uniform
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.lowering.values import RefusedError

_FOLDER = Path(__file__).parents[1] / "data" / "aten"
_NETWORKS = ("mlp", "encoder", "mobilenet", "swin", "unet", "decoder", "recurrent")


@lru_cache
def _recorded(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("i", range(9))
def test_operators_give_what_pytorch_gave(i: int) -> None:
    assert len(_recorded("operators")) == 9
    graph, given, wanted = read(_recorded("operators")[i])
    for k, (found, right) in enumerate(zip(evaluate(graph, given), wanted, strict=True)):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=2e-5, err_msg=f"{graph.outputs[k]}")


@pytest.mark.parametrize("i", range(9))
def test_the_same_operators_are_lowered_for_rows(i: int) -> None:
    graph, given, wanted = read(_recorded("operators")[i])
    # as one row, whatever is in front of the shapes; what a network needs, not each number of it
    g, leaves = lowered(graph, uniform("w16a16"), device="numpy", whole=True)
    assert [v.shape for v in leaves] == [x.shape for x in wanted]
    assert set(given) == {name for name, _ in graph.inputs}
    assert g.builder.parts().nodes


@pytest.mark.parametrize("name", _NETWORKS)
def test_a_network_is_compiled_and_audited(name: str) -> None:
    graph, given, wanted = read(_recorded("networks")[name])
    kernels = pc.kernels_for("numpy")
    model, _ = compile_graph(graph, kernels, Recipe.uniform("w16a16"))
    node = pc.Node(model, device=kernels)
    request = pc.array_request(model, given, node=node.public)
    answer = node.answer(request)
    for found, right in zip(answer.outputs.values(), wanted, strict=True):
        assert np.linalg.norm(found - right) <= 1e-3 * np.linalg.norm(right)
    auditor = pc.Auditor(model, device=kernels)
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total > 0


# -- what cannot be lowered ------------------------------------------------------------------------------
def _graph(op: str, result: TensorType | None = None, **arguments: Any) -> AtenGraph:
    kind = TensorType("f32", (1, 4))
    operation = Operation(
        "node_1", op, arguments, (result or kind,), several=False, path="layers.0", line="net.py:7"
    )
    return AtenGraph("Net", (("x", kind),), {}, {}, (operation,), (Ref("node_1"),))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_graph("aten.linalg_inv.default", self=Ref("x")), "not supported"),
        (_graph("other.add.Tensor", self=Ref("x")), "not supported"),
        (_graph("aten.randn.default", size=[1, 4]), "random numbers"),
        (_graph("aten.nonzero.default", self=Ref("x")), "depends on the values"),
        (_graph("aten.relu.default", self=Ref("y")), "'y'"),
        (_graph("aten.relu.default"), "argument self is missing"),
        (_graph("aten.relu.default", TensorType("f32", (1, 5)), self=Ref("x")), "where PyTorch has"),
        (_graph("aten.relu.default", TensorType("i64", (1, 4)), self=Ref("x")), "where PyTorch has"),
        (_graph("aten.sum.dim_IntList", self=Ref("x"), dim=[7]), "no axis 7"),
        (_graph("aten.sum.dim_IntList", self=Ref("x"), dim=["a"]), "no known list"),
        (_graph("aten.dropout.default", input=Ref("x"), p=0.5, train=True), "random numbers"),
        (_graph("aten.cat.default", tensors=Ref("x"), dim=0), "no list of tensors"),
        (_graph("aten.view.default", TensorType("f32", (1 << 40,)), self=Ref("x")), "larger than"),
        (_graph("aten.zeros.default", TensorType("f32", (1 << 40,))), "larger than"),
        (_graph("getitem", self=[Ref("x")], index=3), "do not fit"),
    ],
)
def test_what_cannot_be_lowered_names_its_node(graph: AtenGraph, reason: str) -> None:
    with pytest.raises(
        RefusedError, match=r"'node_1' \((aten|other|getitem).* in layers.0 at net.py:7: "
    ) as found:
        lowered(graph, uniform("w16a16"), device="numpy")
    assert reason in str(found.value)
    assert found.value.node == "node_1"


def test_an_argument_without_samples_is_refused() -> None:
    graph = AtenGraph("Net", (("x", TensorType("f32", ())),), {}, {}, (), (Ref("x"),))
    with pytest.raises(RefusedError, match=r"'x' is .*no axis of samples"):
        lowered(graph, uniform("w16a16"), device="numpy")


def test_a_result_without_samples_is_refused() -> None:
    kind = TensorType("f32", (1, 4))
    total = Operation(
        "t", "aten.sum.dim_IntList", {"self": Ref("x"), "dim": [0]}, (TensorType("f32", (4,)),), False
    )
    graph = AtenGraph("Net", (("x", kind),), {}, {}, (total,), (Ref("t"),))
    with pytest.raises(RefusedError, match="no axis of samples in front"):
        compile_graph(graph, pc.kernels_for("numpy"), Recipe.uniform("w16a16"))
