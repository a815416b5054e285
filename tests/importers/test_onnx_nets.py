"""Small ONNX networks from file to full audit."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import proofcompute as pc
from cli import driver
from importers import onnx_nets
from proofcompute.importers.onnx import RefusedError, compile_onnx, open_onnx
from proofcompute.importers.onnx.opening import parsed
from proofcompute.models.model import Model
from proofcompute.program.types import Spec

NETS = {"convolutional": onnx_nets.convolutional, "transformer": onnx_nets.transformer}
SHAPES = {"convolutional": (3, 3, 16, 16), "transformer": (3, 6, 32)}


def compiled(data: bytes, **options: Any) -> Model:
    return compile_onnx(parsed(data), pc.kernels_for("numpy"), **options)


def asked(model: Model, x: Any) -> tuple[pc.Node, pc.Request]:
    node = pc.Node(model, device="numpy")
    name, _ = model.program.inputs[0]
    rows = ((name, np.ascontiguousarray(x, "<f4").tobytes()),)
    return node, pc.Request(model.model_id, rows, secrets.token_bytes(32), node=node.public)


@pytest.mark.parametrize("name", NETS)
def test_rows_are_samples_and_close_to_floats(name: str) -> None:
    data = NETS[name]()
    x = np.random.default_rng(1).standard_normal(SHAPES[name]).astype(np.float32)
    wanted = ReferenceEvaluator(onnx_nets.parse(data)).run(None, {"x": x})
    model = compiled(data)
    node, request = asked(model, x)
    found = node.answer(request).outputs
    assert model.program.inputs[0][1].shape == x.shape[1:]
    for out, right in zip(model.program.outputs, wanted, strict=True):
        assert found[out].shape == np.shape(right)
        np.testing.assert_allclose(found[out], right, rtol=1e-3, atol=1e-3 * np.abs(right).max())


@pytest.mark.parametrize("name", NETS)
def test_an_audit_passes_and_one_changed_weight_is_caught(name: str) -> None:
    model = compiled(NETS[name]())
    x = np.random.default_rng(2).standard_normal(SHAPES[name]).astype(np.float32)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("numpy")), device="numpy")
    node, request = asked(model, x)
    answer = node.answer(request)
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total
    spec = next(w for w in model.program.weights if w.kind == "matrix")
    matrix = model.matrix(spec.name)
    q = matrix.q.copy()
    q[0, 0, 0] ^= 1
    cheat = replace(model, weights={**model.weights, spec.name: replace(matrix, q=q)})
    node, request = asked(cheat, x)
    answer = node.answer(request)
    with pytest.raises(pc.VerificationError):
        auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")


def test_the_model_id_is_the_same_each_time() -> None:
    first, second = (compiled(onnx_nets.convolutional()) for _ in range(2))
    assert first.model_id == second.model_id


def test_a_whole_batch_may_be_a_row() -> None:
    model = compiled(onnx_nets.transformer(), shapes={"x": (2, 6, 32)}, whole=True)
    assert model.program.inputs == (("x", Spec("f32", (2, 6, 32))),)


@pytest.mark.parametrize("axis", [0])
def test_what_mixes_samples_is_refused_by_node(axis: int) -> None:
    nodes = [
        onnx_nets.node("Relu", "x", "r"),
        onnx_nets.node("Softmax", "r", "s", axis=axis),
        onnx_nets.node("Neg", "s", "y"),
    ]
    with pytest.raises(RefusedError, match=r"node 's/Softmax' \(Softmax\) mixes the samples of a batch"):
        compiled(onnx_nets.model_of(nodes, {"x": ["n", 4]}, ["y"]))
    summed = [onnx_nets.node("ReduceMean", "x", "m", axes=[0]), onnx_nets.node("Sub", "x m", "y")]
    with pytest.raises(RefusedError, match="node 'm/ReduceMean'"):
        compiled(onnx_nets.model_of(summed, {"x": ["n", 4]}, ["y"]))


def test_an_input_without_a_batch_belongs_to_each_row() -> None:
    """As the state of a network that hears sound piece by piece: its first axis is no batch."""
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    nodes = [
        onnx_nets.node("Gather", "state first", "s"),
        onnx_nets.node("MatMul", "x w", "m"),
        onnx_nets.node("Add", "m s", "y"),
        onnx_nets.node("Neg", "state", "after"),
    ]
    weights = {"w": w, "first": np.array(0)}
    data = onnx_nets.model_of(nodes, {"x": ["n", 64], "state": [2, "n", 64]}, ["y", "after"], weights)
    model = compiled(data, shapes={"state": (2, 1, 64)})
    assert dict(model.program.inputs)["state"].shape == (2, 1, 64)
    rng = np.random.default_rng(1)
    x, state = (rng.standard_normal(s).astype(np.float32) for s in ((3, 64), (3, 2, 1, 64)))
    node = pc.Node(model, device="numpy")
    found = node.answer(pc.array_request(model, {"x": x, "state": state}, node=node.public)).outputs
    right = x @ w + state[:, 0, 0]
    np.testing.assert_allclose(found["y"], right, rtol=1e-3, atol=1e-3 * np.abs(right).max())
    assert np.array_equal(found["after"], -state)


def test_open_axes_must_be_given(tmp_path: Path) -> None:
    data = onnx_nets.model_of([onnx_nets.node("Relu", "x", "y")], {"x": ["n", 3, "h", "w"]}, ["y"])
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(pc.InputError, match="'x' is \\[n, 3, h, w\\]: give its shape"):
        compile_onnx(open_onnx(path), pc.kernels_for("numpy"))
    model = compile_onnx(open_onnx(path), pc.kernels_for("numpy"), shapes={"x": (1, 3, 2, 5)})
    assert model.program.inputs[0][1].shape == (3, 2, 5)
    with pytest.raises(pc.InputError, match="cannot be"):
        compile_onnx(open_onnx(path), pc.kernels_for("numpy"), shapes={"x": (1, 4, 2, 5)})
    with pytest.raises(pc.InputError, match="no input 'z'"):
        compile_onnx(open_onnx(path), pc.kernels_for("numpy"), shapes={"z": (1,)})


def test_cuts_commit_little_and_keep_every_output() -> None:
    """Between layers of 4096 numbers there are narrow places of 8; cuts stand there."""
    rng = np.random.default_rng(4)
    nodes, weights, name = [], {}, "x"
    for i in range(6):
        weights[f"up{i}"] = rng.standard_normal((64, 4096)).astype(np.float32) / 8
        weights[f"down{i}"] = rng.standard_normal((4096, 64)).astype(np.float32) / 64
        nodes += [
            onnx_nets.node("MatMul", f"{name} up{i}", f"u{i}"),
            onnx_nets.node("Relu", f"u{i}", f"r{i}"),
            onnx_nets.node("MatMul", f"r{i} down{i}", f"d{i}"),
        ]
        name = f"d{i}"
    model = compiled(onnx_nets.model_of(nodes, {"x": ["n", 64]}, ["d2", name], weights))
    program = model.program
    assert 2 <= len(program.segments) <= 6
    assert all(program.group_bytes(i) == 4 * 64 for i in range(len(program.committed)))
    assert program.outputs == ("d2", "d5")


def test_the_command_line_imports_a_network(tmp_path: Path) -> None:
    path, out = tmp_path / "net.onnx", tmp_path / "model"
    path.write_bytes(onnx_nets.transformer())
    found = driver.done("import", path, "-o", out)
    assert found["precision"] == "w16a16"
    assert Model.load(out).model_id == compiled(path.read_bytes()).model_id
    for shape in ("x", "=1", "x=a", "x=1,7,32", "z=1"):
        assert driver.call("import", path, "-o", out, "--force", "--shape", shape).status == 2
