"""Small ONNX networks with random weights, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model_of(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: dict[str, Any] | None = None,
    *,
    opset: int = 17,
    functions: Sequence[Any] = (),
    dtypes: dict[str, int] | None = None,
) -> bytes:
    """Return a file with a graph of nodes."""
    kinds = dtypes or {}
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()],
    )
    domains = ["", "ai.onnx.ml", *(f.domain for f in functions)]
    imports = [helper.make_opsetid(d, opset if not d else 3 if d == "ai.onnx.ml" else 1) for d in domains]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    data: bytes = made.SerializeToString()
    return data


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """Return a node; names are separated by spaces, and it is named after its first output."""
    outs = outputs.split()
    return helper.make_node(op, inputs.split(), outs, name=f"{outs[0]}/{op}", **attributes)


def convolutional(seed: int = 0) -> bytes:
    """Return a network of every kind of convolution, a residual, pools and a softmax, over [n, 3, 16, 16]."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights = {
        "w1": weight(8, 3, 3, 3), "b1": weight(8), "gamma": 1 + weight(8), "beta": weight(8),
        "mean": weight(8), "var": np.abs(weight(8)) + 1, "w2": weight(8, 8, 3, 3), "w3": weight(8, 1, 3, 3),
        "w4": weight(16, 8, 1, 1), "w5": weight(16, 8, 2, 2), "w6": weight(5, 8), "b6": weight(5),
        "shape": np.array([0, -1]),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 gamma beta mean var", "n1"),
        node("Relu", "n1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "a2"),
        node("HardSwish", "a2", "h2"),
        node("Conv", "h2 w3", "c3", pads=[1, 1, 1, 1], strides=[2, 2], group=8),
        node("Sigmoid", "c3", "s3"),
        node("Mul", "c3 s3", "m3"),
        node("Conv", "m3 w4", "c4"),
        node("MaxPool", "c4", "p4", kernel_shape=[2, 2], strides=[2, 2]),
        node("ConvTranspose", "p4 w5", "t5", strides=[2, 2]),
        node("GlobalAveragePool", "t5", "g5"),
        node("Reshape", "g5 shape", "f5"),
        node("Gemm", "f5 w6 b6", "logits", transB=1),
        node("Softmax", "logits", "classes", axis=-1),
    ]
    return model_of(nodes, {"x": ["n", 3, 16, 16]}, ["logits", "classes"], weights)


def transformer(seed: int = 0, steps: int = 6, width: int = 32, heads: int = 4) -> bytes:
    """Return one block of an encoder over [n, steps, width], whose shapes are computed in the graph."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    each = width // heads
    weights = {
        "wqkv": weight(width, 3 * width), "bqkv": weight(3 * width), "wo": weight(width, width),
        "w1": weight(width, 2 * width),
        "w2": weight(2 * width, width), "g": 1 + weight(width), "b": weight(width),
        "split": np.array([width, width, width]), "tail": np.array([heads, each]), "flat": np.array([width]),
        "zero": np.array([0]), "two": np.array([2]), "scale": np.array(each**-0.5, np.float32),
    }  # fmt: skip
    nodes = [
        node("Shape", "x", "size"),
        node("Slice", "size zero two", "front"),
        node("Concat", "front tail", "apart", axis=0),
        node("Concat", "front flat", "whole", axis=0),
        node("MatMul", "x wqkv", "qkv0"),
        node("Add", "qkv0 bqkv", "qkv"),
        node("Split", "qkv split", "q k v", axis=2),
        *(
            made
            for part, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
            for made in (
                node("Reshape", f"{part} apart", f"{part}1"),
                node("Transpose", f"{part}1", f"{part}2", perm=perm),
            )
        ),
        node("MatMul", "q2 k2", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "shares", axis=-1),
        node("MatMul", "shares v2", "mixed"),
        node("Transpose", "mixed", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned whole", "joined"),
        node("MatMul", "joined wo", "out"),
        node("Add", "out x", "y"),
        node("LayerNormalization", "y g b", "normed", axis=-1),
        node("MatMul", "normed w1", "inner"),
        node("Relu", "inner", "inner1"),
        node("MatMul", "inner1 w2", "outer"),
        node("Add", "outer y", "result"),
    ]
    return model_of(nodes, {"x": ["batch", steps, width]}, ["result"], weights)


def parse(data: bytes) -> Any:
    """Return the parsed file."""
    return onnx.ModelProto.FromString(data)


def trees(kind: str, count: int = 5, depth: int = 4, features: int = 6, seed: int = 0) -> bytes:
    """Return an ensemble of random trees, ``TreeEnsembleRegressor`` or ``TreeEnsembleClassifier``."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, list[Any]] = {
        k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}

    def put(into: dict[str, list[Any]], **entry: Any) -> None:
        for key, value in entry.items():
            into[key].append(value)

    for tree in range(count):
        pending, at = [(0, 0)], 1
        while pending:
            number, level = pending.pop(0)
            if level == depth or (level > 1 and rng.random() < 0.3):
                put(nodes, treeids=tree, nodeids=number, featureids=0, values=0.0, modes="LEAF",
                    truenodeids=0, falsenodeids=0)  # fmt: skip
                put(
                    leaves,
                    treeids=tree,
                    nodeids=number,
                    ids=int(rng.integers(0, 3)),
                    weights=float(rng.random()),
                )
                continue
            mode = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT")[int(rng.integers(0, 3))]
            threshold, feature = float(np.float32(rng.standard_normal())), int(rng.integers(0, features))
            put(nodes, treeids=tree, nodeids=number, featureids=feature, values=threshold, modes=mode,
                truenodeids=at, falsenodeids=at + 1)  # fmt: skip
            pending += [(at, level + 1), (at + 1, level + 1)]
            at += 2
    attributes: dict[str, Any] = {f"nodes_{k}": v for k, v in nodes.items()}
    if kind == "TreeEnsembleRegressor":
        attributes |= {f"target_{k}": v for k, v in leaves.items()} | {"n_targets": 3}
        outputs = "y"
    else:
        attributes |= {f"class_{k}": v for k, v in leaves.items()}
        attributes |= {"classlabels_int64s": [10, 20, 30], "post_transform": "SOFTMAX"}
        outputs = "label y"
    made = node(kind, "x", outputs, domain="ai.onnx.ml", **attributes)
    kinds: dict[str, int] = {"label": TensorProto.INT64}
    return model_of([made], {"x": ["n", features]}, outputs.split(), dtypes=kinds)
