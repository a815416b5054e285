"""Provides the networks of the comparison with zero-knowledge provers, with the same weights for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofcompute.arrays import F32

__all__ = [
    "CONVOLUTIONAL",
    "NETWORKS",
    "Convolutional",
    "Network",
    "convolutional_onnx",
    "far_from_floats",
    "onnx_model",
]


@dataclass(frozen=True)
class Network:
    """Linear layers with ReLU between them."""

    widths: tuple[int, ...]
    rows: int = 1
    """Samples of one request."""

    def weights(self) -> list[F32]:
        """Return one matrix [out, in] for each layer."""
        rng = np.random.default_rng(0)
        return [
            rng.standard_normal((m, d), np.float32) / np.float32(d**0.5)
            for d, m in zip(self.widths[:-1], self.widths[1:], strict=True)
        ]

    def samples(self) -> F32:
        """Return inputs [rows, widths[0]]."""
        return np.random.default_rng(1).standard_normal((self.rows, self.widths[0]), np.float32)


NETWORKS = {
    "MLP 16-32-10": Network((16, 32, 10)),
    "MLP 784-128-10": Network((784, 128, 10)),
    "MLP 512-512-512": Network((512, 512, 512)),
    "product 64x64x64": Network((64, 64), rows=64),
}


def onnx_model(network: Network) -> Any:
    """Return the network as an ONNX model; this needs the package onnx."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, x = [], [], "x"
    weights = network.weights()
    for i, w in enumerate(weights):
        last = i == len(weights) - 1
        constants.append(numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [x, f"w{i}"], ["y" if last else f"h{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"]))
        x = f"r{i}"

    def value(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [network.rows, width])

    graph = helper.make_graph(
        nodes, "mlp", [value("x", network.widths[0])], [value("y", network.widths[-1])], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@dataclass(frozen=True)
class Convolutional:
    """Two convolutions with ReLU, and a linear layer, over pictures of 28 x 28, as of digits."""

    channels: tuple[int, int] = (8, 16)
    classes: int = 10

    def weights(self) -> list[F32]:
        """Return the weights of the convolutions [out, in, 3, 3] and of the last layer [classes, in]."""
        rng = np.random.default_rng(0)
        first, second = self.channels
        shapes = [(first, 1, 3, 3), (second, first, 3, 3), (self.classes, 49 * second)]
        return [
            rng.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5) for shape in shapes
        ]

    def samples(self) -> F32:
        """Return a picture [1, 1, 28, 28]."""
        return np.random.default_rng(1).uniform(-1, 1, (1, 1, 28, 28)).astype(np.float32)


CONVOLUTIONAL = {"CNN 28x28, 8 and 16 channels": Convolutional()}
"""Networks that each system reads from the same ONNX file."""


def convolutional_onnx(network: Convolutional) -> Any:
    """Return the network as an ONNX model; this needs the package onnx."""
    from onnx import TensorProto, helper, numpy_helper

    weights = network.weights()
    named = {f"w{i}": w for i, w in enumerate(weights)} | {
        f"b{i}": np.zeros(len(w), np.float32) for i, w in enumerate(weights)
    }
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    window |= {"dilations": [1, 1], "group": 1}  # JSTprove wants all attributes in the file
    product: dict[str, Any] = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["h0"], name="conv0", **window),
        helper.make_node("Relu", ["h0"], ["r0"], name="relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["h1"], name="conv1", **window),
        helper.make_node("Relu", ["h1"], ["r1"], name="relu1"),
        helper.make_node("Flatten", ["r1"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="last", **product),
    ]

    def value(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "cnn",
        [value("x", 1, 1, 28, 28)],
        [value("y", 1, network.classes)],
        [numpy_helper.from_array(w, n) for n, w in named.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def far_from_floats(file: Any, samples: F32, outputs: F32) -> float:
    """Return the relative error (L2) of outputs beside ONNX's reference; this needs the package onnx."""
    from onnx.reference import ReferenceEvaluator

    results: Any = ReferenceEvaluator(file).run(None, {"x": samples})
    right = np.asarray(results[0])
    return float(np.linalg.norm(outputs.reshape(-1) - right.reshape(-1)) / np.linalg.norm(right))
