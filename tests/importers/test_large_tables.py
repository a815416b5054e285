"""Look-ups in tables that are larger than one constant may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import proofcompute as pc
from importers import onnx_nets
from proofcompute.importers.lowering import graph
from proofcompute.importers.onnx import RefusedError, compile_onnx, open_onnx
from proofcompute.importers.onnx.opening import parsed
from proofcompute.limits import MAX_WIDTH


def embedding(table: Any, axis: int = 0) -> bytes:
    return onnx_nets.model_of(
        [onnx_nets.node("Gather", "table x", "y", axis=axis)],
        {"x": ["n", 3]},
        ["y"],
        {"table": table},
        dtypes={"x": TensorProto.INT64},
    )


@pytest.mark.parametrize(("shape", "limit"), [((6, 10), 24), ((6, 2, 5), 24), ((6, 10), 59), ((6, 10), 6)])
def test_a_table_is_several_constants_of_some_columns(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], limit: int
) -> None:
    table = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    monkeypatch.setattr(graph, "MAX_WIDTH", limit)
    model = compile_onnx(parsed(embedding(table)), pc.kernels_for("numpy"))
    sizes = [int(np.prod(w.shape)) for w in model.program.weights]
    assert sum(sizes) == table.size
    assert max(sizes) <= limit
    x = np.array([[0, 5, 2], [3, 3, 1]])
    node = pc.Node(model, device="numpy")
    found = node.answer(pc.array_request(model, {"x": x}, node=node.public)).outputs["y"]
    np.testing.assert_array_equal(found, table[x])


def test_a_table_with_more_entries_than_a_constant_has_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_WIDTH", 5)
    with pytest.raises(RefusedError, match="a table of 6 entries"):
        compile_onnx(
            parsed(embedding(np.arange(60, dtype=np.float32).reshape(6, 10))), pc.kernels_for("numpy")
        )


@pytest.mark.slow
def test_a_vocabulary_of_100_mb_beside_its_file_is_proved_and_audited(tmp_path: Path) -> None:
    table = np.random.default_rng(1).standard_normal((70_000, 384)).astype(np.float32)
    assert table.size > MAX_WIDTH
    path = tmp_path / "net.onnx"
    onnx.save_model(
        onnx_nets.parse(embedding(table)),
        str(path),
        save_as_external_data=True,
        location="table.bin",
        size_threshold=1024,
    )
    assert path.stat().st_size < 4096
    kernels = pc.kernels_for("cpu")
    model = compile_onnx(open_onnx(path), kernels)
    model.save(tmp_path / "net.pc")
    model = pc.Model.load(tmp_path / "net.pc")
    node = pc.Node(model)
    x = np.array([[0, 69_999, 2], [31, 31, 40_000]])
    request = pc.array_request(model, {"x": x}, node=node.public)
    answer = node.answer(request)
    np.testing.assert_array_equal(answer.outputs["y"], table[x])
    key = pc.keygen(model, kernels)
    key.save(tmp_path / "key")
    auditor = pc.Auditor(pc.Key.load(tmp_path / "key"))
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total
